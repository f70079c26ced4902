"""Jobs that are cancelled from here: by a clear, by a mark, or by a person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from retune.backends.attempts import current, job_key
from retune.backends.base import ENDED, Backend, Order, View, load_backend
from retune.backends.cancelling import cancel, close, sightings
from retune.backends.jobs import CLEARED, Site
from retune.backends.patience import patiently
from retune.errors import BackendError, RetuneError
from retune.records import Dataset, Job, JobStatus, Recipe
from retune.state import dataset_records, jobs


def cancel_job(recipe: Recipe, dataset: Dataset, site: Site, forced_at: datetime | None = None) -> bool:
    """Cancel the running job of a recipe and a dataset, and say whether there was one.

    One that had succeeded by then stays, for the next run to take.

    Raises:
        BackendError: It cannot be cancelled from here.
    """
    backend = load_backend(recipe.backend, site.installation, recipe.place)
    artifacts = site.installation.artifacts
    order, row = current(recipe, dataset, backend, site.db, artifacts, lambda _: None, forced_at)
    if row is None or row.model is not None:
        return False
    if row.job is not None and row.job.place != recipe.place:
        backend = load_backend(row.backend, site.installation, row.job.place)
    found = {one.job.provider_id: one.job for one in patiently(lambda: backend.find(order), site.report)}
    if row.job is not None:
        found[row.job.provider_id] = row.job
    views = {name: cancel(job, backend, site.report) for name, job in found.items()}
    cancelled = _close(order.key, views, CLEARED, site)
    return cancel_job(recipe, dataset, site, forced_at) if cancelled is None else cancelled


def cancel_stored(key: str, site: Site, why: str = "cancelled") -> bool:
    """Cancel the job of a key that has not ended, and say whether there was one.

    One without a handle, whose request was cut off, is looked for as long as it may still appear.

    Args:
        key: The job's.
        site: This installation.
        why: A few words; CLEARED where the next try shall make the job anew.

    Raises:
        BackendError: It cannot be cancelled from here.
    """
    with site.db.read() as tx:
        row = jobs.get(tx, key)
    if row is None or row.status in ENDED:
        return False
    _note(key, why, site)  # before it, so that who waits for the job knows why it ended
    try:
        views = {job.provider_id: cancel(job, there, site.report) for job, there in _placed(row, site)}
        cancelled = _close(key, views, why, site)
    except RetuneError:
        _note(key, "", site)
        raise
    if cancelled is None:
        return cancel_stored(key, site, why)
    if not cancelled:
        _note(key, "", site)
    return cancelled


def _placed(row: jobs.JobRow, site: Site) -> list[tuple[Job, Backend]]:
    """Return what the provider has of a job, each with the backend that reaches it."""
    if row.job is not None:
        return [(row.job, load_backend(row.backend, site.installation, row.job.place))]
    if row.posted_at is None:
        return []
    recipe = Recipe.from_json(row.intent["recipe"])
    with site.db.read() as tx:
        dataset = dataset_records.get(tx, row.intent["dataset"])
    backend = load_backend(row.backend, site.installation, recipe.place)
    if job_key(dataset, recipe, backend.name, backend.account, row.attempt) != row.key:
        raise BackendError(
            f"job {row.key[:12]} belongs to another account of {row.backend} than is reached here",
            "give this command the account's own key and project",
        )
    order = Order(row.key, row.attempt, recipe, dataset)
    return [(one.job, backend) for one in sightings(order, row, backend, site.clock, site.report)]


def _close(key: str, seen: Mapping[str, View], why: str, site: Site) -> bool | None:
    """Write down how a cancelled job ended, and say whether it was cancelled.

    Where one had made its model nothing is written. One that had failed by itself has failed.

    Args:
        key: The job's.
        seen: Provider's id of all that it has of the job -> how that stands after the cancel.
        why: A few words.
        site: This installation.

    Returns:
        None where a worker has stored another handle meanwhile: nothing was written, and that runs.
    """
    views = list(seen.values())
    if any(view.status is JobStatus.SUCCEEDED for view in views):
        return False
    failed = [view for view in views if view.status is JobStatus.FAILED]
    if failed and len(failed) == len(views):
        end = failed[0]
    else:
        costs = [view.cost_usd for view in views if view.cost_usd is not None]
        known = bool(costs) and len(costs) == len(views)
        end = View(JobStatus.CANCELLED, why, cost_usd=sum(costs) if known else None)
    with site.db.write() as tx:
        row = jobs.get(tx, key)
        if row is not None and row.job is not None and row.job.provider_id not in seen:
            return None
        close(tx, key, end, None, site.clock())
    return end.status is JobStatus.CANCELLED


def _note(key: str, why: str, site: Site) -> None:
    with site.db.write() as tx:
        jobs.noted(tx, key, why)
