"""The tables of Retune's database. Migrations, not this file, create them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

# Times are seconds since the epoch, in UTC: SQLite has no time zones.

specs = Table(
    "specs",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("pipeline", String(40), nullable=False, index=True),
    Column("body", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("pipeline", String(40), primary_key=True),
    Column("record", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

splits = Table(
    "splits",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("row_id", String(64), primary_key=True),
    Column("side", String(16), nullable=False),
    Column("at", Float, nullable=False),
)

held_out = Table(
    "held_out",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("signature", LargeBinary),
    Column("at", Float, nullable=False),
)

held_out_uses = Table(
    "held_out_uses",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("set_digest", String(80), primary_key=True),
    Column("used_by", String(250), primary_key=True),
    Column("purpose", String(40), primary_key=True),
    Column("at", Float, nullable=False),
)

subjects = Table(
    "subjects",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("dataset_digest", String(80), primary_key=True),
    Column("subject", String(64), primary_key=True, index=True),
    Column("row_id", String(64), primary_key=True),
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("subject", String(64), primary_key=True),
    Column("actor", String(250), nullable=False),
    Column("at", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("pipeline", String(40), nullable=False, index=True),
    Column("backend", String(40), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("intent", JSON, nullable=False),
    Column("job", JSON),
    Column("model", JSON),
    Column("error", String, nullable=False, default=""),
    Column("at", Float, nullable=False),
    # When somebody last set out to post the request that may cost money; none: nobody, or it was refused.
    Column("posted_at", Float),
    Column("finished_at", Float),
)

releases = Table(
    "releases",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("model_digest", String(80), nullable=False),
    Column("dag_run_id", String(250), nullable=False),
    Column("record", JSON, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("pipeline", "dag_run_id", name="one_release_a_run"),
)

routes = Table(
    "routes",
    metadata,
    Column("alias", String(40), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("endpoint", String(250), nullable=False),
    Column("record", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

placements = Table(
    "placements",
    metadata,
    Column("endpoint", String(250), primary_key=True),
    Column("purpose", String(250), primary_key=True),
    Column("model_digest", String(80), nullable=False),
    Column("model", JSON, nullable=False),
    Column("until", Float),
    Column("at", Float, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    Column("agent", String(250), primary_key=True),
    Column("endpoint", String(250), nullable=False),
    Column("state", JSON, nullable=False),
    Column("heartbeat", Float, nullable=False),
)

drift = Table(
    "drift",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("pipeline", String(40), nullable=False),
    Column("record", JSON, nullable=False),
    Column("triggered", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Index("drift_by_pipeline", "pipeline", "id"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("pipeline", String(40), nullable=False, index=True),
    Column("event", String(40), nullable=False),
    Column("actor", String(250), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("at", Float, nullable=False),
    Column("previous", String(80), nullable=False),
    Column("hash", String(80), nullable=False, unique=True),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("record", JSON, nullable=False),
    Column("at", Float, nullable=False),
)

replaced = Table(
    "replaced",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("by", String(80)),
    Column("reason", String(250), nullable=False),
    Column("at", Float, nullable=False),
)

tainted_datasets = Table(
    "tainted_datasets",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("dataset_digest", String(80), primary_key=True),
    Column("at", Float, nullable=False),
)

retrain_wanted = Table(
    "retrain_wanted",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("reason", String(250), nullable=False),
    Column("at", Float, nullable=False),
    Column("raised_at", Float),
    Column("done_at", Float),
)

spending = Table(
    "spending",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("pipeline", String(40), nullable=False),
    # None: nobody knows.
    Column("usd", Float),
    Column("at", Float, nullable=False),
    Column("settled_at", Float),
    Index("spending_by_month", "pipeline", "at"),
)
