"""How often a run was killed, and the key of the request that made it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two columns."""
    op.add_column("runs", sa.Column("killed", sa.Integer, nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("request_key", sa.String(200)))
    op.create_index("runs_by_request", "runs", ["user_email", "request_key"], unique=True)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("runs_by_request", "runs")
    op.drop_column("runs", "request_key")
    op.drop_column("runs", "killed")
