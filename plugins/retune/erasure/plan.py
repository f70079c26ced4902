"""What a person's rows reached: looked up, nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from retune import stored
from retune.artifacts import Artifacts
from retune.erasure import places
from retune.erasure.rows import Rows
from retune.records import Dataset, Exchange, JobStatus, Release, Split
from retune.settings import Settings
from retune.state import jobs, releases, replaced, retrains, subjects, tables
from retune.state.database import Database, stamp
from retune.state.jobs import JobRow
from retune.stored import Blob, Scratch

SIDES = ("train", "validation", "held_out")
SHOWS_NO_TEXT = ("drift", "outcomes", "attributes", "asked", "report", "model_card", "advice", "votes")
"""Kinds of artifacts that are no page with rows: of requests drift pages hold figures and labels only.

Answers and attributes are files of lines, out of which the person's are taken.
"""


@dataclass(frozen=True)
class ReachedDataset:
    """A dataset that held a person's rows."""

    pipeline: str
    digest: str
    rows: int
    trained_on: bool
    """Whether they stood where a training reads, on the train or validation side."""


@dataclass(frozen=True)
class ReachedFile:
    """Stored rows or answers to rewrite, or to remove where they are damaged or cut off."""

    blob: Blob
    rows: int
    title: str


@dataclass(frozen=True)
class ReachedPage:
    """A page, its figures, or rows that were left out, which may show the person's: it is removed."""

    pipeline: str
    kind: str
    digest: str


@dataclass(frozen=True)
class ReachedModel:
    """A model that a job made, or still makes, of a dataset with the rows."""

    pipeline: str
    digest: str
    """Empty while it trains."""
    job_key: str
    status: JobStatus
    releases: tuple[int, ...]


@dataclass(frozen=True)
class ReachedRelease:
    """A release whose model was trained, or else only judged, on the rows."""

    pipeline: str
    number: int
    trained_on: bool
    live: bool
    """Whether callers are answered by it."""


@dataclass(frozen=True)
class Erasure:
    """All that a person's rows reached."""

    subject: str
    rows: Rows
    datasets: tuple[ReachedDataset, ...]
    models: tuple[ReachedModel, ...]
    releases: tuple[ReachedRelease, ...]
    files: tuple[ReachedFile, ...]
    pages: tuple[ReachedPage, ...]
    copies: tuple[tuple[Path, int], ...]
    """Files of this host's job folders, with the rows in each."""
    local_texts: tuple[Path, ...]
    left: tuple[Scratch, ...]
    """Working files of preparations that were killed."""
    in_use: tuple[Scratch, ...]
    """Working files of preparations that may still run; they stay."""
    traffic: tuple[tuple[str, list[Exchange], int], ...]
    """Captured files: path, what stays, how many go."""
    retrains: tuple[str, ...]
    """Pipelines whose live or waiting release was trained on the rows."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to remove."""
        return not (self.files or self.pages or self.copies or self.local_texts or self.left or self.traffic)


@dataclass
class _Known:
    """What the state says of a person."""

    reached: dict[tuple[str, str], set[str]]
    held: dict[str, int]
    """Digest -> rows of the person in what lies there."""
    successors: dict[str, str | None]
    datasets: dict[tuple[str, str], Dataset] = field(default_factory=dict)
    jobs: list[JobRow] = field(default_factory=list)
    releases: dict[str, list[Release]] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    pages: list[ReachedPage] = field(default_factory=list)
    tainted: set[tuple[str, str]] = field(default_factory=set)

    def now_at(self, digest: str) -> str:
        """Return where a digest's bytes lie today."""
        while self.successors.get(digest):
            digest = str(self.successors[digest])
        return digest

    def rows_in(self, dataset: Dataset, *sides: str) -> int:
        """Return how many of the person's rows stand on sides of a dataset today."""
        places = (self.now_at(getattr(dataset, side).artifact.digest) for side in sides)
        return sum(self.held.get(place, 0) for place in places)


def plan(subject: str, *, settings: Settings, db: Database, artifacts: Artifacts, now: datetime) -> Erasure:
    """Look up all that a person's rows reached.

    Args:
        subject: The person's hash (`subjects.subject_hash`).
        settings: This installation; job folders and pages of `retune check` are this host's.
        db: The state.
        artifacts: The store; every file of rows or answers in it is read.
        now: The time.

    Raises:
        StateError: The state cannot be read.
        DataError: Captured traffic cannot be read.
    """
    with db.read() as tx:
        reached = subjects.reached(tx, subject)
    rows = Rows(subject, frozenset().union(*reached.values()))
    found = list(places.in_artifacts(artifacts, rows))
    held = {blob.digest: piece.rows for blob, piece in found if not blob.partial}
    with db.read() as tx:
        known = _known(tx, subject, _Known(reached, held, replaced.successors(tx)), now)
    titles = _titles(known)
    datasets = tuple(_datasets(known, artifacts))
    trained = {(one.pipeline, one.digest) for one in datasets if one.trained_on}
    pages = tuple(page for page in known.pages if artifacts.exists(page.digest))
    whole = {page.digest for page in pages}
    copies = list(places.in_job_folders(settings, rows))
    prompts = {prompt for _, piece in (*found, *copies) for prompt in piece.prompts}
    scratch = list(stored.scratch(settings.home))
    return Erasure(
        subject=subject,
        rows=rows,
        datasets=datasets,
        models=tuple(_models(known, trained)),
        releases=tuple(_releases(known, trained)),
        files=tuple(
            ReachedFile(blob, piece.rows, titles.get(blob.digest, "rows or answers that no record names"))
            for blob, piece in found
            if blob.partial or blob.digest not in whole
        ),
        pages=pages,
        copies=tuple((path, piece.rows) for path, piece in copies),
        local_texts=tuple(places.local_texts(settings)),
        left=tuple(one for one in scratch if one.is_left(now)),
        in_use=tuple(one for one in scratch if not one.is_left(now)),
        traffic=tuple(places.in_traffic(settings, prompts)) if prompts else (),
        retrains=tuple(_retrains(known, trained)),
    )


def _known(tx: Connection, subject: str, known: _Known, now: datetime) -> _Known:
    for row in tx.execute(select(tables.datasets)):
        dataset = Dataset.from_json(row.record)
        # The same rows may stand in a pipeline that does not say whom its rows are about.
        if (row.pipeline, row.digest) in known.reached or known.rows_in(dataset, *SIDES):
            known.datasets[row.pipeline, row.digest] = dataset
    keys = {*known.reached, *known.datasets}
    digests = {digest for _, digest in keys}
    known.jobs = [job for job, _ in jobs.list_all(tx) if job.intent.get("dataset") in digests]
    known.tainted = {key for key in keys if retrains.is_tainted(tx, key[1], key[0])}
    at = tx.execute(select(tables.forgotten.c.at).where(tables.forgotten.c.subject == subject)).scalar()
    held_by = tx.execute(select(tables.artifacts.c.pipeline, tables.artifacts.c.digest))
    pipelines = {pipeline for pipeline, digest in held_by if known.now_at(digest) in known.held}
    for pipeline in sorted(pipelines | {pipeline for pipeline, _ in keys}):
        known.releases[pipeline] = [
            one for one in releases.list_all(tx, pipeline) if one.dataset_digest in digests
        ]
        for place, release in (
            (known.live, releases.live(tx, pipeline)),
            (known.waiting, releases.waiting(tx, pipeline)),
        ):
            if release is not None:
                place[pipeline] = release.number
        until = _clean_since(tx, pipeline, stamp(now) if at is None else at)
        known.pages += _pages(tx, pipeline, until)
    return known


def _clean_since(tx: Connection, pipeline: str, forgotten_at: float) -> float:
    """Return from when on no page can show the person: a data stage began after they were forgotten.

    A page of a run that was under way then may be noted later.
    """
    index = tables.artifacts
    query = select(index.c.at).where(
        index.c.pipeline == pipeline, index.c.kind == "validation", index.c.at > forgotten_at
    )
    return tx.execute(query.order_by(index.c.at).limit(1)).scalar() or float("inf")


def _pages(tx: Connection, pipeline: str, until: float) -> Iterator[ReachedPage]:
    index = tables.artifacts
    query = select(index).where(index.c.pipeline == pipeline, index.c.kind.not_in(SHOWS_NO_TEXT))
    for row in tx.execute(query.where(index.c.at < until).order_by(index.c.at)):
        yield ReachedPage(pipeline, row.kind, row.digest)


def _datasets(known: _Known, artifacts: Artifacts) -> Iterator[ReachedDataset]:
    for pipeline, digest in sorted({*known.reached, *known.datasets}):
        dataset = known.datasets.get((pipeline, digest))
        trained_on = dataset is None or (pipeline, digest) in known.tainted
        if dataset is not None:
            sides = (dataset.train.artifact.digest, dataset.validation.artifact.digest)
            # What is no longer stored cannot be looked at, so the worse is taken.
            lost = not all(artifacts.exists(known.now_at(side)) for side in sides)
            trained_on |= lost or known.rows_in(dataset, "train", "validation") > 0
        ids = known.reached.get((pipeline, digest))
        count = len(ids) if ids else known.rows_in(dataset, *SIDES) if dataset else 0
        yield ReachedDataset(pipeline, digest, count, trained_on)


def _models(known: _Known, trained: set[tuple[str, str]]) -> Iterator[ReachedModel]:
    digests = {digest for _, digest in trained}
    for job in known.jobs:
        made = job.model.digest if job.model else ""
        if job.intent["dataset"] in digests and job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            numbers = [one.number for one in known.releases.get(job.pipeline, ()) if one.model.digest == made]
            yield ReachedModel(job.pipeline, made, job.key, job.status, tuple(numbers))


def _releases(known: _Known, trained: set[tuple[str, str]]) -> Iterator[ReachedRelease]:
    for pipeline, found in known.releases.items():
        for one in found:
            on = (pipeline, one.dataset_digest) in trained
            yield ReachedRelease(pipeline, one.number, on, known.live.get(pipeline) == one.number)


def _retrains(known: _Known, trained: set[tuple[str, str]]) -> Iterator[str]:
    for pipeline, found in known.releases.items():
        due = {known.live.get(pipeline), known.waiting.get(pipeline)}
        if any(one.number in due and (pipeline, one.dataset_digest) in trained for one in found):
            yield pipeline


def _titles(known: _Known) -> dict[str, str]:
    """Return what the state calls each digest."""
    titles: dict[str, str] = {}
    for pipeline, found in known.releases.items():
        for release in found:
            for name, report in release.decision.reports.items():
                place = known.now_at(report.outcomes.digest)
                titles[place] = f"answers of {name} for release {release.number} of {pipeline}"
    for (pipeline, digest), dataset in known.datasets.items():
        for side in SIDES:
            split: Split = getattr(dataset, side)
            title = f"{side.replace('_', '-')} side of dataset {digest[:19]} of {pipeline}"
            titles[known.now_at(split.artifact.digest)] = title
            if split.attributes:
                titles[known.now_at(split.attributes.digest)] = f"attributes of the {title}"
    return titles
