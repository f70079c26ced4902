"""What was ever held out and how often it was used; whom rows are about, and who is forgotten."""

from alembic import op
from sqlalchemy import Column, Float, LargeBinary, PrimaryKeyConstraint, String

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    """Create the registry of held-out rows, its uses, and the tables on subjects."""
    op.create_table(
        "held_out",
        Column("pipeline", String(40), nullable=False),
        Column("fingerprint", String(64), nullable=False),
        Column("signature", LargeBinary),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "fingerprint"),
    )
    op.create_table(
        "held_out_uses",
        Column("pipeline", String(40), nullable=False),
        Column("set_digest", String(80), nullable=False),
        Column("used_by", String(250), nullable=False),
        Column("purpose", String(40), nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "set_digest", "used_by", "purpose"),
    )
    op.create_table(
        "subjects",
        Column("pipeline", String(40), nullable=False),
        Column("dataset_digest", String(80), nullable=False),
        Column("subject", String(64), nullable=False),
        Column("row_id", String(64), nullable=False),
        PrimaryKeyConstraint("pipeline", "dataset_digest", "subject", "row_id"),
    )
    op.create_index("ix_subjects_subject", "subjects", ["subject"])
    op.create_table(
        "forgotten",
        Column("subject", String(64), primary_key=True),
        Column("actor", String(250), nullable=False),
        Column("at", Float, nullable=False),
    )
    # Rows that were held out before the registry existed; their signatures come when they are seen again.
    op.execute(
        "insert into held_out (pipeline, fingerprint, at)"
        " select pipeline, row_id, at from splits where side = 'held_out'"
    )
