"""What Google's refusals turn into."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from google.auth.exceptions import RefreshError, TransportError
from google.genai.errors import ClientError, ServerError
from hypothesis import given
from hypothesis import strategies as st

from retune.backends.base import InDoubtError, TransientError
from retune.backends.vertex_errors import Refusal, Where, refused, translated
from retune.errors import BackendError

WHERE = Where("google_cloud_default", "acme", "europe-west3", "gs://rows", "gemini-2.5-flash")
INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def said(error: Exception, submitting: bool = False) -> BackendError:
    return translated(error, "the tuning job could not be made", WHERE, submitting)


def api(
    code: int, message: str, details: list[Any] | None = None, **headers: str
) -> ClientError | ServerError:
    body = {"error": {"code": code, "message": message, "status": "X", "details": details or []}}
    kind = ClientError if code < 500 else ServerError
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return kind(code, body, httpx.Response(code, headers=sent))


@pytest.mark.parametrize(
    ("code", "message", "action"),
    [
        (400, "Base model gemini-1.0-pro is not supported.", "may be retired"),
        (404, "Publisher Model gemini-9 was not found.", "may be retired"),
        (400, "Tuning is not supported in region europe-west3.", "tune in a region that"),
        (400, "Base model x does not support global endpoint tuning.", "tune in a region that"),
        (400, "List of found errors: 1.Field: tuning_job.adapter_size; Message: bad", "`adapter_size`"),
        (400, "Cannot find the Google Cloud Storage object gs://rows/x.jsonl.", "make gs://rows"),
        (400, "Something else", "mend what Google names"),
        (401, "Request had invalid authentication credentials.", "key that is valid"),
        (403, "Permission 'aiplatform.tuningJobs.create' denied on resource", "roles/aiplatform.user"),
        (403, "agent does not have storage.objects.get access to gs://rows", "roles/storage.objectViewer"),
        (
            403,
            "Vertex AI API has not been used in project 1 before or it is disabled.",
            "gcloud services enable",
        ),
        (403, "This API method requires billing to be enabled.", "turn on billing"),
    ],
)
def test_a_final_refusal_says_what_google_said_and_what_to_do(code: int, message: str, action: str) -> None:
    for submitting in (True, False):
        error = said(api(code, message), submitting)
        assert type(error) is BackendError
        assert message in str(error)
        assert action in error.problems[0].action


@pytest.mark.parametrize("code", [408, 409, 499, 500, 502, 503, 504])
def test_a_submit_that_was_not_answered_is_in_doubt_and_a_read_may_be_repeated(code: int) -> None:
    assert isinstance(said(api(code, "no"), submitting=True), InDoubtError)
    read = said(api(code, "no"))
    assert isinstance(read, TransientError) and not isinstance(read, InDoubtError)


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut"), ValueError("no JSON")]
)
def test_an_answer_that_did_not_come_leaves_a_submit_in_doubt(error: Exception) -> None:
    assert isinstance(said(error, submitting=True), InDoubtError)
    assert type(said(error)) is TransientError


def test_what_was_never_sent_is_not_in_doubt() -> None:
    assert type(said(httpx.ConnectError("refused"), submitting=True)) is TransientError


def test_a_quota_is_waited_for_as_long_as_google_says() -> None:
    by_header = said(api(429, "Quota exceeded", retry_after="17"), submitting=True)
    by_detail = said(api(429, "Quota exceeded", [{"@type": "x/google.rpc.RetryInfo", "retryDelay": "2.5s"}]))
    by_date = said(
        api(
            429,
            "Quota exceeded",
            retry_after="Thu, 26 Nov 2026 10:01:00 GMT",
            date="Thu, 26 Nov 2026 10:00:00 GMT",
        )
    )
    for error, seconds in ((by_header, 17.0), (by_detail, 2.5), (by_date, 60.0)):
        assert type(error) is TransientError
        assert error.retry_after_s == seconds
        assert "iam-admin/quotas" in str(error)


def test_a_quota_of_zero_is_not_waited_for() -> None:
    details = [{"@type": INFO, "reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit_value": "0"}}]
    error = said(api(429, "Quota exceeded", details))
    assert type(error) is BackendError
    assert "the quota is zero" in str(error)


def test_a_project_that_google_still_sets_up_is_waited_for() -> None:
    message = "Service agents are being provisioned. So please try again in a few minutes."
    error = said(api(400, message), submitting=True)
    assert type(error) is TransientError
    assert error.retry_after_s == 60


def test_credentials_that_fail_are_told_from_a_token_server_that_does_not_answer() -> None:
    broken = said(RefreshError("invalid_grant: Invalid JWT Signature.", {"error": "invalid_grant"}))
    assert type(broken) is BackendError
    assert "invalid_grant" in str(broken) and "google_cloud_default" in str(broken)
    assert type(said(TransportError("no route"))) is TransientError
    assert type(said(RefreshError("busy", retryable=True), submitting=True)) is TransientError


@given(
    code=st.integers(400, 599),
    message=st.text(max_size=80),
    header=st.one_of(st.none(), st.text(max_size=40)),
    submitting=st.booleans(),
)
def test_whatever_google_answers_becomes_one_error_that_shows_it(
    code: int, message: str, header: str | None, submitting: bool
) -> None:
    headers = {} if header is None else {"Retry-After": header}
    error = refused(Refusal(code, message, headers=headers), "doing", WHERE, submitting)
    assert message in error.problems[0].what
    assert error.problems[0].action
    # Only a submit can be in doubt, and a server's failure of one always is.
    assert isinstance(error, InDoubtError) <= submitting
    assert not (submitting and code >= 500) or isinstance(error, InDoubtError)
    seconds = getattr(error, "retry_after_s", None)
    assert seconds is None or seconds >= 0
