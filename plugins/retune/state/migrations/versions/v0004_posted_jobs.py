"""When a job's billable request was last sent."""

from alembic import op
from sqlalchemy import Column, Float

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", Column("posted_at", Float))
