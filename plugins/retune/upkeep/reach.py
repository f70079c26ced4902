"""What must stay: all that a release kept, a route, a wish, a job or a run under way points at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from retune.artifacts import GRACE
from retune.records import Release, Route
from retune.spec import seconds
from retune.upkeep.view import View, digests_in


@dataclass(frozen=True)
class Reach:
    """What must stay."""

    digests: frozenset[str]
    datasets: frozenset[tuple[str, str]]
    """(pipeline, digest)."""
    releases: frozenset[tuple[str, int]]
    """(pipeline, number)."""


def reach(view: View, trees: Mapping[str, Iterable[str]], now: datetime) -> Reach:
    """Follow everything that the state points at.

    Args:
        view: The state.
        trees: Digest of a tree's manifest -> digests of its files.
        now: The time.
    """
    kept = {
        (pipeline, release.number): release
        for pipeline, found in view.releases.items()
        for release in kept_releases(view, pipeline, found)
    }
    datasets = _datasets(view, kept, now)
    digests = set(view.placed)
    for release in kept.values():
        # The evidence names the models that it beat as well; those do not stay for that.
        digests |= {*digests_in(release.to_json())} - view.trees | {release.model.digest}
    for some in view.routes.values():
        digests |= {target.model_digest for route in _in_force(some) for target in route.targets}
    for row in view.datasets:
        if (row.pipeline, row.digest) in datasets:
            digests |= {row.digest, *digests_in(row.record)}
    ours = {digest for _, digest in datasets}
    for job in view.jobs:
        recent = job.finished_at is None or now - job.finished_at <= GRACE
        # The model of another recipe on rows that stay: the next run adopts it and trains nothing.
        if recent or job.row.intent.get("dataset") in ours:
            digests.update(digests_in(job.row.intent))
            digests.update(digests_in(job.row.model.to_json() if job.row.model else None))
    digests |= _pages(view, now)
    return Reach(frozenset(_closed(digests, view, trees)), frozenset(datasets), frozenset(kept))


def kept_releases(view: View, pipeline: str, found: list[Release]) -> list[Release]:
    """Return the newest releases, those that answer, those before them, and those that agents hold."""
    newest = {one.number for one in found[-view.retention_of(pipeline).models.keep :]}
    versions = view.routes.get(pipeline, [])
    numbers = newest | {target.release for route in _in_force(versions) for target in route.targets}
    held = view.placed | {target.model_digest for route in _in_force(versions) for target in route.targets}
    return [one for one in found if one.number in numbers or one.model.digest in held]


def _in_force(versions: list[Route]) -> list[Route]:
    """Return each alias's route in force, and what a rollback would lead back to."""
    found: list[Route] = []
    for alias in {route.alias for route in versions}:
        mine = sorted((route for route in versions if route.alias == alias), key=lambda one: -one.version)
        found.append(mine[0])
        found += [route for route in mine if route.targets != mine[0].targets][:1]
    # A rollback goes by the numbers, over all aliases: to the newest route to an earlier release.
    live = {min((target.release for target in route.targets), default=0) for route in [*found, *versions[:1]]}
    for number in live:
        found += [route for route in versions if any(t.release < number for t in route.targets)][:1]
    return found


def _datasets(view: View, kept: Mapping[tuple[str, int], Release], now: datetime) -> set[tuple[str, str]]:
    found = {(pipeline, release.dataset_digest) for (pipeline, _), release in kept.items()}
    # The last one of each pipeline is the one that a run under way works on.
    latest = {row.pipeline: row.digest for row in sorted(view.datasets, key=lambda row: row.at)}
    found |= set(latest.items())
    busy = {
        job.row.intent.get("dataset")
        for job in view.jobs
        if job.finished_at is None or now - job.finished_at <= GRACE
    }
    for row in view.datasets:
        if row.digest in busy or now - row.at <= GRACE:
            found.add((row.pipeline, row.digest))
    return found


def _pages(view: View, now: datetime) -> set[str]:
    """Return the pages and answers that are young enough, and the newest of each kind."""
    newest = {(row.pipeline, row.kind): row.digest for row in sorted(view.index, key=lambda row: row.at)}
    found = set(newest.values())
    for row in view.index:
        age = timedelta(seconds=seconds(view.retention_of(row.pipeline).reports))
        if now - row.at <= max(age, GRACE):
            found.add(row.digest)
    return found


def _closed(digests: set[str], view: View, trees: Mapping[str, Iterable[str]]) -> set[str]:
    """Add what replaced a digest, and the files of trees."""
    found = view.today(digests)
    return found.union(*(trees.get(digest, ()) for digest in found))
