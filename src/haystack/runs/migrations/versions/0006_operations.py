"""Who did what, and the disk that a run takes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add a table and a column."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_email", sa.String(320), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("about", sa.String(320), nullable=False),
    )
    op.add_column("runs", sa.Column("size_bytes", sa.BigInteger))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("runs", "size_bytes")
    op.drop_table("audit")
