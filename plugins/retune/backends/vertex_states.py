"""What Vertex AI's words for a tuning job mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from retune.backends.base import TransientError, View
from retune.backends.vertex_errors import QUOTAS, Where, bucket_action
from retune.errors import Problem
from retune.records import JobStatus

if TYPE_CHECKING:
    from google.genai import types

STATES: dict[str, tuple[JobStatus | None, str]] = {
    "JOB_STATE_UNSPECIFIED": (None, ""),
    "JOB_STATE_QUEUED": (JobStatus.PENDING, "queued"),
    "JOB_STATE_PENDING": (JobStatus.PENDING, "being prepared"),
    "JOB_STATE_RUNNING": (JobStatus.RUNNING, ""),
    "JOB_STATE_SUCCEEDED": (JobStatus.SUCCEEDED, ""),
    "JOB_STATE_FAILED": (JobStatus.FAILED, ""),
    "JOB_STATE_CANCELLING": (JobStatus.RUNNING, "being cancelled"),
    "JOB_STATE_CANCELLED": (JobStatus.CANCELLED, ""),
    "JOB_STATE_PAUSED": (JobStatus.RUNNING, "paused"),
    "JOB_STATE_EXPIRED": (JobStatus.FAILED, "expired"),
    "JOB_STATE_UPDATING": (JobStatus.RUNNING, "being updated"),
    "JOB_STATE_PARTIALLY_SUCCEEDED": (JobStatus.SUCCEEDED, "only part of it succeeded"),
}
"""JobState -> what it is here, and what a person should know; None: it says nothing."""
_WORK = {
    "TUNING_JOB_STATE_WAITING_FOR_QUOTA": "waiting for quota",
    "TUNING_JOB_STATE_PROCESSING_DATASET": "the service checks the rows",
    "TUNING_JOB_STATE_WAITING_FOR_CAPACITY": "waiting for hardware",
    "TUNING_JOB_STATE_TUNING": "",
    "TUNING_JOB_STATE_POST_PROCESSING": "being finished",
}
_LINE = re.compile(r"\b(?:line|row|example)(?: number| index)?\s*[:#]?\s*(\d+)", re.IGNORECASE)
# google.rpc.Code
_INVALID, _UNREADABLE, _FORBIDDEN, _EXHAUSTED = 3, 5, 7, 8


def view_of(job: types.TuningJob, where: Where, now: float) -> View:
    """Return a job as the house sees it.

    Args:
        job: As Vertex AI has it.
        where: What to name where it failed.
        now: Seconds since 1970.

    Raises:
        TransientError: Its state is unspecified, or a word that nobody knows.
    """
    word, status = state_of(job), status_of(job)
    if status is None:
        raise TransientError(f"{job.name} has the state {word!r}", "see its console")
    note = STATES[word][1]
    if word == "JOB_STATE_RUNNING" and job.tuning_job_state is not None:
        note = _WORK.get(str(job.tuning_job_state.value), "")
    error, cost_usd = "", None
    if status is JobStatus.FAILED:
        error, cost_usd = str(failure(job, where)), 0.0
    elif status is JobStatus.CANCELLED:
        error = _words(job) or "cancelled"
    return View(status, error, note, seconds_of(job, now), cost_usd)


def state_of(job: types.TuningJob) -> str:
    """Return the state's name; the SDK makes members of words that it does not know."""
    return str(job.state.value) if job.state is not None else "JOB_STATE_UNSPECIFIED"


def status_of(job: types.TuningJob) -> JobStatus | None:
    """Return what a job's state is here; None where it is unspecified or unknown."""
    return STATES.get(state_of(job), (None, ""))[0]


def seconds_of(job: types.TuningJob, now: float) -> float:
    """Return the seconds since a job began to run, until its end."""
    if job.start_time is None:
        return 0.0
    end = job.end_time.timestamp() if job.end_time else now
    return max(0.0, end - job.start_time.timestamp())


def failure(job: types.TuningJob, where: Where) -> Problem:
    """Return why a job failed, in Google's words, and what to do."""
    words = _words(job) or (
        "it expired" if state_of(job) == "JOB_STATE_EXPIRED" else "Google does not say why"
    )
    code = job.error.code if job.error is not None else None
    text = words.lower()
    found = _LINE.search(words)
    action = "see the job's console; run again"
    if code == _EXHAUSTED or "quota" in text:
        action = f"wait, or ask for more of the quota at {QUOTAS}"
    elif code == _FORBIDDEN or "permission" in text or "storage.objects" in text:
        action = bucket_action(where)
    elif code == _UNREADABLE:
        action = f"leave the rows in {where.bucket} until the job has ended"
    elif code == _INVALID or found:
        action = "mend that row in the data" if found else "mend what Google names in the data or the recipe"
    return Problem(words, action, "train" if found else "", int(found[1]) if found else None)


def _words(job: types.TuningJob) -> str:
    return (job.error.message or "").strip() if job.error is not None else ""
