"""What was replaced, which trainings saw a forgotten person's rows, which must follow."""

from alembic import op
from sqlalchemy import Column, Float, PrimaryKeyConstraint, String

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Create the tables of erasure."""
    op.create_table(
        "replaced",
        Column("digest", String(80), primary_key=True),
        Column("by", String(80)),
        Column("reason", String(250), nullable=False),
        Column("at", Float, nullable=False),
    )
    op.create_table(
        "tainted_datasets",
        Column("pipeline", String(40), nullable=False),
        Column("dataset_digest", String(80), nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "dataset_digest"),
    )
    op.create_table(
        "retrain_wanted",
        Column("pipeline", String(40), primary_key=True),
        Column("reason", String(250), nullable=False),
        Column("at", Float, nullable=False),
        Column("raised_at", Float),
        Column("done_at", Float),
    )
