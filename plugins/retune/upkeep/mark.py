"""Marks what may go. Pure: the state and a listing in, a plan out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from retune.artifacts import GRACE
from retune.records import JobStatus
from retune.spec import seconds
from retune.stored import Blob, Scratch
from retune.upkeep.listing import Folder, Listing
from retune.upkeep.reach import Reach, reach
from retune.upkeep.view import JobEnd, View, digests_in


@dataclass(frozen=True)
class Plan:
    """What a cleanup would remove. Each thing comes with why."""

    blobs: tuple[tuple[Blob, str], ...] = ()
    traffic: tuple[tuple[Folder, str], ...] = ()
    jobs: tuple[tuple[Folder, str], ...] = ()
    scratch: tuple[tuple[Scratch, str], ...] = ()
    answers: tuple[tuple[Folder, str], ...] = ()
    pages: tuple[tuple[str, str], ...] = ()
    """(pipeline, digest) of pages that are no longer served."""
    datasets: tuple[tuple[str, str], ...] = ()
    """(pipeline, digest) of datasets, and parts of some, of which nothing is left: whom their rows were
    about goes too."""

    @property
    def size(self) -> int:
        """Bytes that become free."""
        parts = (self.blobs, self.traffic, self.jobs, self.scratch, self.answers)
        return sum(thing.size for part in parts for thing, _ in part)


def mark(view: View, listing: Listing, trees: Mapping[str, Iterable[str]], now: datetime) -> Plan:
    """Mark what nothing points at and no `retention` keeps.

    Args:
        view: The state.
        listing: What lies where.
        trees: Digest of a tree's manifest -> digests of its files, of every tree in the view.
        now: The time.
    """
    kept = reach(view, trees, now)
    return Plan(
        blobs=tuple(_blobs(view, listing, kept, trees)),
        traffic=tuple(_traffic(view, listing, now)),
        jobs=tuple(_jobs(view, listing, kept, now)),
        scratch=tuple(
            (one, "left by a process that was killed") for one in listing.scratch if one.is_left(now)
        ),
        answers=tuple(_answers(view, listing, now)),
        pages=tuple((row.pipeline, row.digest) for row in view.index if row.digest not in kept.digests),
        datasets=tuple(_emptied(view, listing, kept, now)),
    )


def _blobs(
    view: View, listing: Listing, kept: Reach, trees: Mapping[str, Iterable[str]]
) -> Iterable[tuple[Blob, str]]:
    reasons = _reasons(view, trees)
    # Manifests first: a tree that is named and lacks a file would pass for a model that is stored.
    for blob in sorted(listing.blobs, key=lambda one: one.digest not in view.trees):
        if blob.partial:
            yield blob, "rest of a write that was cut off"
        elif blob.digest not in kept.digests:
            yield blob, reasons.get(blob.digest, "nothing points at it")


def _reasons(view: View, trees: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return why a digest of the state may go, if it may."""
    found: dict[str, str] = {}
    for row in view.datasets:
        found |= dict.fromkeys((row.digest, *digests_in(row.record)), "dataset that no kept release needs")
    for index in view.index:
        found[index.digest] = f"{index.kind} older than {view.retention_of(index.pipeline).reports}"
    for digest in view.trees:
        found |= dict.fromkeys((digest, *trees.get(digest, ())), "model that no kept release needs")
    return found


def _traffic(view: View, listing: Listing, now: datetime) -> Iterable[tuple[Folder, str]]:
    for folder in listing.traffic:
        if folder.name not in view.retention or folder.day is None:
            continue  # not a pipeline of this installation: not ours to remove
        age = view.retention[folder.name].captured
        if _is_over(folder.day, age, now):
            yield folder, f"captured traffic older than {age}"


def _answers(view: View, listing: Listing, now: datetime) -> Iterable[tuple[Folder, str]]:
    for file in listing.answers:
        age = view.retention_of(file.name).reports
        if file.day is not None and _is_over(file.day, age, now):
            yield file, f"answers older than {age}"


def _is_over(day: date, age: str, now: datetime) -> bool:
    """Say whether the end of a day is longer ago than an age, and than an evaluation may take."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return now - end > max(timedelta(seconds=seconds(age)), GRACE)


def _jobs(view: View, listing: Listing, kept: Reach, now: datetime) -> Iterable[tuple[Folder, str]]:
    jobs = {job.row.key: job for job in view.jobs}
    there = {blob.digest for blob in listing.blobs if not blob.partial}
    for folder in listing.jobs:
        job = jobs.get(folder.name)
        if job is not None and (reason := _job_is_over(job, kept, there, now)):
            yield folder, reason


def _job_is_over(job: JobEnd, kept: Reach, there: set[str], now: datetime) -> str:
    """Say why a job's folder may go; empty where it may not."""
    if job.finished_at is None or now - job.finished_at <= GRACE:
        return ""
    if job.row.status is JobStatus.SUCCEEDED:
        model = job.row.model
        # A model that must stay and is not stored: the folder is all that is left of it.
        if model is None or (model.digest in kept.digests and model.digest not in there):
            return ""
        return "job that ended; its model is stored, or no longer needed"
    return f"job that ended: {job.row.status.value}"


def _emptied(view: View, listing: Listing, kept: Reach, now: datetime) -> Iterable[tuple[str, str]]:
    there = {blob.digest for blob in listing.blobs}
    folders = {folder.name for folder in listing.jobs}
    copied = {job.row.intent.get("dataset") for job in view.jobs if job.row.key in folders}
    yield from _emptied_parts(view, kept.digests | there, copied)
    for row in view.datasets:
        # Answers to its rows stay as long as reports, and `retune forget` finds them by the rows' ids.
        age = 2 * timedelta(seconds=seconds(view.retention_of(row.pipeline).reports))
        needed = (row.pipeline, row.digest) in kept.datasets or now - row.at <= max(age, GRACE)
        # As long as a file of its own is stored, also after a crash, a person in it must be found.
        its_own = view.today(digests_in(row.record)) - kept.digests
        if not needed and row.digest not in copied and there.isdisjoint(its_own):
            yield row.pipeline, row.digest


def _emptied_parts(view: View, left: Set[str], copied: Set[str | None]) -> Iterable[tuple[str, str]]:
    """Yield parts of datasets, cut for learning curves: the state knows them by whom their rows are about.

    Args:
        view: The state.
        left: Digests that must stay, or are stored; a part stays as long as its manifest does.
        copied: Datasets of which a job's folder holds a copy.
    """
    whole = {(row.pipeline, row.digest) for row in view.datasets}
    trained = {
        job.row.intent.get("dataset") for job in view.jobs if job.row.model and job.row.model.digest in left
    }
    for pipeline, digest in sorted(set(view.reached) - whole):
        if digest not in left and digest not in copied and digest not in trained:
            yield pipeline, digest
