"""The stage that a run is at, and a row that is written to see whether the database can be."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a column and a table."""
    op.add_column("runs", sa.Column("stage", sa.String(64)))
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("heartbeat")
    op.drop_column("runs", "stage")
