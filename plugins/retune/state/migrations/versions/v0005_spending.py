"""What jobs may cost and have cost."""

from alembic import op
from sqlalchemy import Column, Float, String

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Create the table of spending."""
    op.create_table(
        "spending",
        Column("key", String(80), primary_key=True),
        Column("pipeline", String(40), nullable=False),
        Column("usd", Float),
        Column("at", Float, nullable=False),
        Column("settled_at", Float),
    )
    op.create_index("spending_by_month", "spending", ["pipeline", "at"])
