"""The first tables."""

from alembic import op
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Integer,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
)

revision = "v0001"
down_revision = None


def upgrade() -> None:
    """Create every table of the first version."""
    op.create_table(
        "specs",
        Column("digest", String(80), primary_key=True),
        Column("pipeline", String(40), nullable=False),
        Column("body", JSON, nullable=False),
        Column("at", Float, nullable=False),
    )
    op.create_index("ix_specs_pipeline", "specs", ["pipeline"])
    op.create_table(
        "datasets",
        Column("digest", String(80), nullable=False),
        Column("pipeline", String(40), nullable=False),
        Column("record", JSON, nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("digest", "pipeline"),
    )
    op.create_table(
        "splits",
        Column("pipeline", String(40), nullable=False),
        Column("row_id", String(64), nullable=False),
        Column("side", String(16), nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "row_id"),
    )
    op.create_table(
        "jobs",
        Column("key", String(80), primary_key=True),
        Column("pipeline", String(40), nullable=False),
        Column("backend", String(40), nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("status", String(16), nullable=False),
        Column("intent", JSON, nullable=False),
        Column("job", JSON),
        Column("model", JSON),
        Column("error", String, nullable=False),
        Column("at", Float, nullable=False),
        Column("finished_at", Float),
    )
    op.create_index("ix_jobs_pipeline", "jobs", ["pipeline"])
    op.create_table(
        "releases",
        Column("pipeline", String(40), nullable=False),
        Column("number", Integer, nullable=False),
        Column("model_digest", String(80), nullable=False),
        Column("dag_run_id", String(250), nullable=False),
        Column("record", JSON, nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "number"),
        UniqueConstraint("pipeline", "dag_run_id", name="one_release_a_run"),
    )
    op.create_table(
        "routes",
        Column("alias", String(40), nullable=False),
        Column("version", Integer, nullable=False),
        Column("endpoint", String(250), nullable=False),
        Column("record", JSON, nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("alias", "version"),
    )
    op.create_table(
        "placements",
        Column("endpoint", String(250), nullable=False),
        Column("purpose", String(250), nullable=False),
        Column("model_digest", String(80), nullable=False),
        Column("model", JSON, nullable=False),
        Column("until", Float),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("endpoint", "purpose"),
    )
    op.create_table(
        "replicas",
        Column("agent", String(250), primary_key=True),
        Column("endpoint", String(250), nullable=False),
        Column("state", JSON, nullable=False),
        Column("heartbeat", Float, nullable=False),
    )
    op.create_table(
        "drift",
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("pipeline", String(40), nullable=False),
        Column("record", JSON, nullable=False),
        Column("triggered", Boolean, nullable=False),
        Column("at", Float, nullable=False),
    )
    op.create_index("drift_by_pipeline", "drift", ["pipeline", "id"])
    op.create_table(
        "ledger",
        Column("seq", Integer, primary_key=True, autoincrement=False),
        Column("pipeline", String(40), nullable=False),
        Column("event", String(40), nullable=False),
        Column("actor", String(250), nullable=False),
        Column("detail", JSON, nullable=False),
        Column("at", Float, nullable=False),
        Column("previous", String(80), nullable=False),
        Column("hash", String(80), nullable=False, unique=True),
    )
    op.create_index("ix_ledger_pipeline", "ledger", ["pipeline"])
    op.create_table(
        "artifacts",
        Column("pipeline", String(40), nullable=False),
        Column("digest", String(80), nullable=False),
        Column("kind", String(40), nullable=False),
        Column("record", JSON, nullable=False),
        Column("at", Float, nullable=False),
        PrimaryKeyConstraint("pipeline", "digest"),
    )
