"""What the Vertex AI backend makes of refusals and of requests that were cut off."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from retune.backends.base import InDoubtError, TransientError
from retune.backends.posting import place_order
from retune.errors import BackendError
from retune.records import JobStatus
from retune.settings import GoogleAccount
from retune.testing.emulators.process import Running
from tests.contract.house import ended
from tests.contract.vertex_house import CANARY, CREATE, LIST, PROJECT, Desk, made_of, submit

CUT_OFF: list[dict[str, Any]] = [
    {"do": "lose_answer"},
    {"do": "late_commit", "after_s": 0.5},
    {"do": "error", "act": True},
    {"do": "refuse", "refusal": "unavailable"},
    {"do": "hang"},
]


def test_a_list_that_cannot_be_read_is_no_empty_list(desk: Desk, emulator: Running) -> None:
    emulator.set_faults([{"on": LIST, "do": "refuse", "refusal": "unavailable", "times": None}])
    with pytest.raises(TransientError):
        desk.backend().find(desk.order())


@pytest.mark.parametrize("rule", CUT_OFF, ids=lambda rule: str(rule.get("refusal", rule["do"])))
def test_a_request_that_was_cut_off_is_in_doubt(desk: Desk, emulator: Running, rule: dict[str, Any]) -> None:
    emulator.set_faults([{"on": CREATE, **rule}])
    posted: list[int] = []
    with pytest.raises(InDoubtError):
        desk.backend().submit(desk.order(), lambda: posted.append(1))
    assert posted == [1]


@pytest.mark.parametrize("rule", CUT_OFF, ids=lambda rule: str(rule.get("refusal", rule["do"])))
def test_an_order_whose_request_was_cut_off_is_done_by_one_job(
    desk: Desk, emulator: Running, rule: dict[str, Any]
) -> None:
    emulator.set_faults([{"on": CREATE, **rule}])
    order, told = desk.order(), list[str]()
    job = place_order(order, desk.backend(), desk.bench.db, lambda: datetime.now(UTC), told.append)
    assert [one["id"] for one in made_of(desk, order)] == [job.provider_id]
    assert any("looking whether the job is there" in line for line in told)


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        ({"refusal": "no_quota", "retry_after": 7}, TransientError, "iam-admin/quotas"),
        ({"refusal": "no_permission"}, BackendError, "roles/aiplatform.user on project retune"),
        ({"status": 400, "message": "Row 3 is odd."}, BackendError, "mend what Google names"),
        ({"status": 401, "message": "Invalid credentials."}, BackendError, "'google_cloud_default'"),
        ({"status": 404, "message": "Publisher Model gone."}, BackendError, "may be retired"),
    ],
    ids=["no quota", "no permission", "bad request", "bad token", "unknown model"],
)
def test_a_refused_submit_says_what_to_do_and_leaves_no_doubt(
    desk: Desk, emulator: Running, rule: dict[str, Any], kind: type[BackendError], words: str
) -> None:
    emulator.set_faults([{"on": CREATE, "do": "refuse", **rule}])
    order = desk.order()
    with pytest.raises(BackendError) as caught:
        desk.backend().submit(order, lambda: None)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert getattr(caught.value, "retry_after_s", None) == rule.get("retry_after")
    assert made_of(desk, order) == []


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"base_model": "gemini-1.0-pro-002"}, {}, ["gemini-1.0-pro-002 is not supported", "may be retired"]),
        (
            {"base_model": "gemini-3.5-flash"},
            {"location": "asia-south1"},
            ["region asia-south1", "`location`"],
        ),
        ({"adapter_size": 32}, {}, ["adapter size is not supported", "`adapter_size`"]),
        ({}, {"bucket": "gs://nobodys-rows"}, ["bucket does not exist", "gcloud storage buckets create"]),
    ],
    ids=["model", "region", "adapter", "bucket"],
)
def test_what_google_does_not_have_is_refused_in_its_words(
    desk: Desk, given: dict[str, Any], place: dict[str, str], words: list[str]
) -> None:
    order = desk.order(**given)
    with pytest.raises(BackendError) as caught:
        desk.backend(**place).submit(order, lambda: None)
    assert not caught.value.may_pass
    assert all(word in str(caught.value) for word in words)
    assert made_of(desk, order) == []


def test_a_bucket_that_may_not_be_used_says_who_needs_what(desk: Desk) -> None:
    desk.make_bucket("not-ours", retune_denies="caller")
    desk.make_bucket("not-theirs", retune_denies="tuning")
    posted: list[int] = []
    with pytest.raises(BackendError, match=r"roles/storage.objectUser on gs://not-ours") as ours:
        desk.backend(bucket="gs://not-ours").submit(desk.order(), lambda: posted.append(1))
    assert posted == []  # nothing that costs was asked for
    with pytest.raises(BackendError, match=r"roles/storage.objectViewer to service-") as theirs:
        desk.backend(bucket="gs://not-theirs").submit(desk.order(), lambda: None)
    assert not ours.value.may_pass and not theirs.value.may_pass


def test_a_wrong_token_is_a_wrong_connection(desk: Desk) -> None:
    wrong = GoogleAccount(PROJECT, Credentials(token="ya29.wrong"), desk.emulator.url)
    with pytest.raises(BackendError, match="connection 'google_cloud_default'") as caught:
        desk.backend(account=wrong).find(desk.order())
    assert not caught.value.may_pass
    assert "ya29.wrong" not in str(caught.value)


def test_a_row_that_google_refuses_is_named_by_its_line(desk: Desk, emulator: Running) -> None:
    emulator.set_faults(
        [{"on": CREATE, "do": "bad_file", "message": "Row: 5. Missing 'contents'.", "line": 5}]
    )
    backend, job = submit(desk, desk.order())
    view = ended(backend, job)
    assert view.status is JobStatus.FAILED
    assert view.error.startswith("train:5: Failed to validate")
    assert "mend that row" in view.error
    with pytest.raises(BackendError, match="JOB_STATE_FAILED"):
        backend.fetch(job)


def test_the_token_is_nowhere(
    desk: Desk, emulator: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    backend, job = submit(desk, desk.order())
    ended(backend, job)
    found = [
        repr(backend),
        backend.account,
        repr(desk.account),
        job.model_dump_json(),
        repr(backend.fetch(job)),
    ]
    rules: list[dict[str, Any]] = [
        {"do": "refuse", "status": 401, "message": "no"},
        {"do": "lose_answer"},
        {"do": "error"},
    ]
    for rule in rules:
        emulator.set_faults([{"on": LIST, **rule}, {"on": CREATE, **rule}])
        for call in (lambda: backend.find(desk.order()), lambda: backend.submit(desk.order(), lambda: None)):
            with pytest.raises(BackendError) as caught:
                call()
            found += [str(caught.value), repr(caught.value)]
    out, err = capfd.readouterr()
    assert CANARY not in "\n".join([*found, caplog.text, out, err])
