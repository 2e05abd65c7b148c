"""The table of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(16), primary_key=True),
        sa.Column("user_email", sa.String(320), nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("structured_query", sa.Text),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("iteration", sa.Integer, nullable=False),
        sa.Column("max_iterations", sa.Integer),
        sa.Column("scores", sa.Text, nullable=False),
        sa.Column("control_strategy", sa.String(32)),
        sa.Column("control_strategy_effective", sa.String(32)),
        sa.Column("final_score", sa.Float),
        sa.Column("termination_reason", sa.String(32)),
        sa.Column("error_type", sa.String(128)),
        sa.Column("error_message", sa.Text),
        sa.Column("backend", sa.String(16), nullable=False),
        sa.Column("node", sa.String(64)),
        sa.Column("job_name", sa.Text),
        sa.Column("outputs", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("updated_at", time, nullable=False),
        sa.Column("submitted_at", time),
        sa.Column("started_at", time),
        sa.Column("finished_at", time),
        sa.Column("stopped_at", time),
        sa.Column("lease_until", time),
        sa.Column("events_read", sa.BigInteger, nullable=False),
        sa.Column("notification", sa.String(16), nullable=False),
        sa.Column("notification_attempts", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("runs_of_user", "runs", ["user_email", "created_at"])
    op.create_index("runs_by_status", "runs", ["status", "created_at"])
    op.create_index("runs_by_notification", "runs", ["notification"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("runs")
