"""How a job at OpenAI stands: one job by its ID, or the many of an account by its list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from retune.backends.base import JobGoneError, TransientError, View
from retune.backends.openai_client import PAGE, Account, given
from retune.backends.openai_refusals import NotThereError, Service, asked_async
from retune.errors import BackendError
from retune.records import Job, JobStatus

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_PAUSED = "paused"
# The description of August 2026 has neither `paused` nor `pausing`, later pages do; `pending` is Azure's.
_STATUSES = {
    "validating_files": JobStatus.PENDING,
    "queued": JobStatus.PENDING,
    "pending": JobStatus.PENDING,
    "running": JobStatus.RUNNING,
    "pausing": JobStatus.RUNNING,
    _PAUSED: JobStatus.RUNNING,
    "succeeded": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}
_LEAST_PAGES, _SPARE = 5, 3
_AT_ONCE = 8


class Seen(Protocol):
    """What is looked at of a job: the SDK's object has it, and what is read of a list."""

    id: Any
    status: Any
    created_at: Any
    finished_at: Any
    error: Any


# Not for the garbage collector: they hold no cycles, and a list of thousands would set it going.
class _Why(msgspec.Struct, gc=False):
    code: str | None = None
    message: str | None = None
    param: str | None = None


class _Listed(msgspec.Struct, gc=False):
    id: str
    status: str
    created_at: float
    finished_at: float | None = None
    error: _Why | None = None


class _Page(msgspec.Struct):
    data: list[_Listed]
    has_more: bool | None = None


_read_page = msgspec.json.Decoder(_Page, strict=False).decode


def status_of(job: Seen) -> JobStatus:
    """Return a job's status; raises TransientError where it is an unknown word."""
    word = getattr(job, "status", None)
    status = _STATUSES.get(word) if isinstance(word, str) else None
    if status is None:
        raise TransientError(f"job {job.id} has the unknown status {word!r}", "look at the job's page")
    return status


def view_of(job: Seen, service: Service) -> View:
    """Return how a job stands; raises TransientError where its status is an unknown word.

    Its seconds run from its creation to its end: how long it stood in the queue is not told.
    """
    status = status_of(job)
    seconds = float(max(0, job.finished_at - job.created_at)) if job.finished_at else 0.0
    if status is JobStatus.FAILED:
        return View(status, _failure(job, service), seconds=seconds, cost_usd=0.0)
    if status is JobStatus.CANCELLED:
        return View(status, f"cancelled at {service.host}", seconds=seconds)
    if status is JobStatus.SUCCEEDED:
        return View(status, seconds=seconds)
    return _underway(status, _PAUSED if job.status == _PAUSED else "")


@cache
def _underway(status: JobStatus, note: str) -> View:
    """Return the one view of all jobs that stand so: of thousands, each look would make as many objects."""
    return View(status, note=note)


def _failure(job: Seen, service: Service) -> str:
    """Return why a job failed, in the service's words, which name the line where there is one."""
    error = job.error
    if error is None or not error.message:
        return "the service does not say why -> look at the job's page"
    said = service.clean(error.message)
    marks = ", ".join(mark for mark in (error.code, error.param) if mark)
    action = "mend the rows" if (error.param or "").endswith("_file") else "look at the job's page"
    return f"{said}" + (f" ({marks})" if marks else "") + f" -> {action}"


def gone(name: str, service: Service) -> JobGoneError:
    """Return the error for a job that the service does not know."""
    return JobGoneError(f"{service.host} does not know job {name}", "look whether somebody deleted it")


async def poll_many(jobs: Sequence[Job], account: Account) -> Mapping[str, View | BackendError]:
    """Look at many jobs by list calls; the few that the first pages do not show are asked for one by one.

    Whether a job rests is not told: that takes a look at its events, which `poll` does.

    Args:
        jobs: All of one account.
        account: That account.

    Returns:
        Key -> how its job stands, or why that cannot be said.

    Raises:
        BackendError: The list cannot be read; as TransientError with the time that the service asks for.
    """
    client = await account.client_of_loop()
    wanted = {job.provider_id: job.key for job in jobs}
    views = await _listed(wanted, client, account.service)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            views[wanted[name]] = await _retrieved(name, client, account.service)

    await asyncio.gather(*(one(name) for name, key in wanted.items() if key not in views))
    return views


async def _listed(
    wanted: Mapping[str, str], client: AsyncOpenAI, service: Service
) -> dict[str, View | BackendError]:
    """Return what the list says of the wanted jobs, newest first, on so many pages as they may well fill."""
    views: dict[str, View | BackendError] = {}
    after = ""
    for _ in range(max(_LEAST_PAGES, _SPARE * -(-len(wanted) // PAGE))):
        page = await _page(client, after, service)
        # Page by page: thousands of views at once would stop the event loop.
        views |= {wanted[job.id]: _view(job, service) for job in page.data if job.id in wanted}
        if len(views) == len(wanted) or not page.has_more or not page.data or page.data[-1].id == after:
            break
        after = page.data[-1].id
    return views


async def _page(client: AsyncOpenAI, after: str, service: Service) -> _Page:
    # Read by msgspec: the SDK's own objects of a hundred jobs would stop the event loop for longer.
    ask = client.fine_tuning.jobs.with_raw_response.list
    answer = await asked_async(service, lambda: ask(**given(after)))
    try:
        return _read_page(answer.content)
    except msgspec.MsgspecError as error:
        problem = TransientError(f"{service.host} gave no list of jobs: {service.clean(str(error))}")
    raise problem


async def _retrieved(name: str, client: AsyncOpenAI, service: Service) -> View | BackendError:
    try:
        return _view(await asked_async(service, lambda: client.fine_tuning.jobs.retrieve(name)), service)
    except NotThereError:
        return gone(name, service)
    except BackendError as error:
        return error


def _view(job: Seen, service: Service) -> View | BackendError:
    try:
        return view_of(job, service)
    except BackendError as error:
        return error
