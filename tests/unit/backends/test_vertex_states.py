"""Google's words for a tuning job."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from retune.backends.base import TransientError
from retune.backends.vertex_errors import Where
from retune.backends.vertex_states import STATES, state_of, status_of, view_of
from retune.records import JobStatus

WHERE = Where("google_cloud_default", "p", "us-central1", "gs://rows", "gemini-2.5-flash")
ENDS = {
    "JOB_STATE_SUCCEEDED": JobStatus.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": JobStatus.SUCCEEDED,
    "JOB_STATE_FAILED": JobStatus.FAILED,
    "JOB_STATE_EXPIRED": JobStatus.FAILED,
    "JOB_STATE_CANCELLED": JobStatus.CANCELLED,
}
WAITS = {"JOB_STATE_QUEUED", "JOB_STATE_PENDING"}


def job(state: str | None, **given: Any) -> types.TuningJob:
    return types.TuningJob(name="projects/1/locations/l/tuningJobs/2", state=state, **given)


def test_every_state_that_the_sdk_names_is_mapped_and_no_other() -> None:
    assert set(STATES) == {state.value for state in types.JobState}
    assert len(STATES) == 12


@pytest.mark.parametrize("word", sorted(STATES))
def test_each_state_means_one_thing(word: str) -> None:
    if word == "JOB_STATE_UNSPECIFIED":
        assert status_of(job(word)) is None
        return
    expected = ENDS.get(word, JobStatus.PENDING if word in WAITS else JobStatus.RUNNING)
    view = view_of(job(word), WHERE, 0.0)
    assert view.status is expected
    assert bool(view.error) == (expected in (JobStatus.FAILED, JobStatus.CANCELLED))


@pytest.mark.parametrize("word", ["JOB_STATE_UNSPECIFIED", "JOB_STATE_ON_HOLD", None])
@pytest.mark.filterwarnings("ignore:.*is not a valid JobState")
def test_an_unknown_state_is_a_failed_poll(word: str | None) -> None:
    with pytest.raises(TransientError, match=word or "UNSPECIFIED"):
        view_of(job(word), WHERE, 0.0)


@pytest.mark.parametrize(
    ("word", "note"),
    [
        ("JOB_STATE_PAUSED", "paused"),
        ("JOB_STATE_UPDATING", "being updated"),
        ("JOB_STATE_CANCELLING", "being cancelled"),
        ("JOB_STATE_QUEUED", "queued"),
        ("JOB_STATE_RUNNING", ""),
    ],
)
def test_what_a_person_should_know_is_noted(word: str, note: str) -> None:
    assert view_of(job(word), WHERE, 0.0).note == note


def test_a_running_job_says_what_it_waits_for() -> None:
    waits = job("JOB_STATE_RUNNING", tuning_job_state="TUNING_JOB_STATE_WAITING_FOR_QUOTA")
    assert view_of(waits, WHERE, 0.0).note == "waiting for quota"


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (
            3,
            "Failed to validate gs://b/x.jsonl: Row: 7. Missing field 'contents'.",
            "train:7: Failed to validate",
        ),
        (3, "Invalid JSON in line 12 of the file", "train:12: "),
        (3, "The dataset has no examples.", "mend what Google names"),
        (
            7,
            "service-1@gcp-sa-vertex-tune does not have storage.objects.get access",
            "roles/storage.objectViewer",
        ),
        (8, "Quota exceeded for tuning jobs", "iam-admin/quotas"),
        (5, "Cannot find gs://b/x.jsonl", "leave the rows in gs://rows"),
        (13, "Internal error", "run again"),
    ],
)
def test_a_failure_says_what_google_said_and_what_to_do(code: int, message: str, said: str) -> None:
    failed = job("JOB_STATE_FAILED", error=types.GoogleRpcStatus(code=code, message=message))
    error = view_of(failed, WHERE, 0.0).error
    assert message in error
    assert said in error
    assert " -> " in error


def test_a_failed_job_without_a_reason_and_without_a_model_is_no_surprise() -> None:
    assert "does not say why -> " in view_of(job("JOB_STATE_FAILED"), WHERE, 0.0).error
    assert "expired -> " in view_of(job("JOB_STATE_EXPIRED"), WHERE, 0.0).error
    assert state_of(job(None)) == "JOB_STATE_UNSPECIFIED"


def test_seconds_count_from_the_start_of_the_run_to_its_end() -> None:
    started = "2026-11-01T00:00:00Z"
    running = job("JOB_STATE_RUNNING", start_time=started)
    assert running.start_time is not None
    now = running.start_time.timestamp() + 60
    assert view_of(running, WHERE, now).seconds == 60
    ended = job("JOB_STATE_SUCCEEDED", start_time=started, end_time="2026-11-01T00:00:30.5Z")
    assert view_of(ended, WHERE, now).seconds == 30.5
    assert view_of(job("JOB_STATE_CANCELLED"), WHERE, now).seconds == 0
