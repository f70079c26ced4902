"""The connection to Retune's database: SQLite (WAL) on one host, PostgreSQL otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from retune.errors import StateError

_BUSY_S = 30


def serialise(tx: Connection, name: str) -> None:
    """Let one transaction of this name run at a time; on SQLite every writer is alone anyway."""
    if tx.dialect.name == "postgresql":
        lock = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")
        tx.execute(lock, {"name": f"retune {name}"})


class Database:
    """Retune's database.

    Args:
        url: A SQLAlchemy URL. Nothing is opened before the first use.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine; made on first use."""
        if self._engine is None:
            self._engine = _engine(self.url)
        return self._engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; on SQLite it takes the write lock at once.

        Raises:
            StateError: The database cannot be reached, or the transaction failed.
        """
        with self._transaction("BEGIN IMMEDIATE") as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that sees a single moment; raises StateError as `write` does."""
        with self._transaction("BEGIN") as tx:
            yield tx

    def migrate(self) -> None:
        """Bring the schema to this version's; does nothing where it is there."""
        from alembic import command

        if self.engine.dialect.name == "sqlite" and self.engine.url.database:
            Path(self.engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.engine.connect() as connection:
                connection = connection.execution_options(retune_begin="BEGIN IMMEDIATE")
                with connection.begin():
                    config = _alembic()
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise StateError(f"cannot migrate {self}: {error}", "see `retune doctor`") from error

    def check(self) -> None:
        """Raise StateError unless the database answers and has this version's schema."""
        from alembic.script import ScriptDirectory

        file = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        if file and not Path(file).exists():  # opening it would make an empty one
            raise StateError(f"{self} does not exist", "run `retune migrate`")
        head = ScriptDirectory.from_config(_alembic()).get_current_head()
        with self.read() as tx:
            if not inspect(tx).has_table("alembic_version"):
                raise StateError(f"{self} has no tables", "run `retune migrate`")
            found = tx.execute(text("select version_num from alembic_version")).scalar()
        if found != head:
            raise StateError(f"{self} has schema {found}, not {head}", "run `retune migrate`")

    def __str__(self) -> str:
        return make_url(self.url).render_as_string(hide_password=True)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                connection = connection.execution_options(retune_begin=begin)
                with connection.begin():
                    yield connection
        except SQLAlchemyError as error:
            raise StateError(f"Retune's database {self} failed: {error}", "see `retune doctor`") from error


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins the transactions (below); the driver's own BEGIN comes too late.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("retune_begin", "BEGIN"))

    return engine


def _alembic() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def stamp(now: datetime) -> float:
    """Return a time as the tables keep it; it must carry a time zone."""
    if now.tzinfo is None:
        raise ValueError("a time without a zone")
    return now.timestamp()


def when(at: float) -> datetime:
    """Return a time of the tables as UTC."""
    return datetime.fromtimestamp(at, UTC)
