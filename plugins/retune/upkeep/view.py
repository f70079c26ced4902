"""What the state points at, read at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from retune.artifacts import TREE
from retune.records import Release, Route
from retune.spec.retention import Retention
from retune.state import jobs, releases, replaced, routes, specs, tables
from retune.state.database import stamp, when
from retune.state.jobs import JobRow

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class DatasetRow:
    """A dataset of the state."""

    pipeline: str
    digest: str
    record: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class IndexRow:
    """An artifact that a pipeline's pages may serve."""

    pipeline: str
    digest: str
    kind: str
    at: datetime
    is_tree: bool = False


@dataclass(frozen=True)
class JobEnd:
    """A job with when it ended; None while it has not."""

    row: JobRow
    finished_at: datetime | None


@dataclass
class View:
    """All of the state that points at artifacts."""

    retention: dict[str, Retention] = field(default_factory=dict)
    """By pipeline, as the spec that was frozen last has it."""
    releases: dict[str, list[Release]] = field(default_factory=dict)
    """By pipeline, oldest first."""
    routes: dict[str, list[Route]] = field(default_factory=dict)
    """By pipeline, every version, newest first."""
    placed: set[str] = field(default_factory=set)
    """Digests of the models that endpoints should hold."""
    jobs: list[JobEnd] = field(default_factory=list)
    datasets: list[DatasetRow] = field(default_factory=list)
    reached: list[tuple[str, str]] = field(default_factory=list)
    """(pipeline, digest) of the datasets, and parts of some, of which it is noted whom rows are about."""
    index: list[IndexRow] = field(default_factory=list)
    successors: dict[str, str | None] = field(default_factory=dict)
    """What was replaced -> by what."""

    def retention_of(self, pipeline: str) -> Retention:
        """Return how long a pipeline keeps things."""
        return self.retention.get(pipeline, Retention())

    def today(self, digests: Iterable[str]) -> set[str]:
        """Return digests and all that stands for them today."""
        found: set[str] = set()
        todo = list(digests)
        while todo:
            digest = todo.pop()
            if digest not in found:
                found.add(digest)
                todo += [by for by in [self.successors.get(digest)] if by]
        return found

    @property
    def trees(self) -> set[str]:
        """Digests that name a tree of files: models, and what a page's record calls one."""
        found = {row.digest for row in self.index if row.is_tree} | self.placed
        found |= {job.row.model.digest for job in self.jobs if job.row.model}
        found |= {one.model.digest for some in self.releases.values() for one in some}
        found |= {target.model_digest for some in self.routes.values() for r in some for target in r.targets}
        return found


def read(tx: Connection, now: datetime) -> View:
    """Read all that points at artifacts, in one transaction."""
    view = View(successors=replaced.successors(tx))
    for pipeline in specs.pipelines(tx):
        spec = specs.latest(tx, pipeline)
        if spec is not None:
            view.retention[pipeline] = spec.retention
    named = tx.execute(select(tables.releases.c.pipeline).distinct()).scalars()
    for pipeline in sorted({*view.retention, *named}):
        view.releases[pipeline] = releases.list_all(tx, pipeline)
        view.routes[pipeline] = routes.of_pipeline(tx, pipeline)
    # An expired wish counts for nothing: agents have let go of it.
    for row in tx.execute(select(tables.placements)):
        if row.until is None or row.until > stamp(now):
            view.placed.add(row.model_digest)
    view.jobs = [JobEnd(row, ended) for row, ended in jobs.list_all(tx)]
    view.datasets = [
        DatasetRow(row.pipeline, row.digest, row.record, when(row.at))
        for row in tx.execute(select(tables.datasets).order_by(tables.datasets.c.at))
    ]
    about = select(tables.subjects.c.pipeline, tables.subjects.c.dataset_digest).distinct()
    view.reached = [(pipeline, digest) for pipeline, digest in tx.execute(about)]
    view.index = [
        IndexRow(row.pipeline, row.digest, row.kind, when(row.at), row.record.get("media_type") == TREE)
        for row in tx.execute(select(tables.artifacts).order_by(tables.artifacts.c.at))
    ]
    return view


def digests_in(value: Any) -> Iterator[str]:
    """Yield every digest in a record's plain JSON, so that no field is forgotten that comes later."""
    if isinstance(value, str):
        if _DIGEST.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from digests_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from digests_in(part)
