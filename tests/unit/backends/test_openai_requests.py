"""How OpenAI is asked, and what is made of its answers; no service is reached."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.backends.base import TransientError, View
from retune.backends.openai_client import Account, every
from retune.backends.openai_jobs import request_of
from retune.backends.openai_polls import view_of
from retune.backends.openai_refusals import Service, retry_after_s
from retune.records import JobStatus
from retune.settings import OpenAIAccount

KEY = "sk-canary-5f2a91d07c"
SERVICE = Service(OpenAIAccount("https://api.openai.com/v1", KEY), "openai_default")


def service_at(url: str) -> Service:
    return Service(OpenAIAccount(url, KEY), "c")


def entry(name: str) -> Any:
    return SimpleNamespace(id=name)


def job(status: str, **more: Any) -> Any:
    fields = {"id": "ftjob-1", "created_at": 100, "finished_at": None, "error": None}
    return SimpleNamespace(**{**fields, "status": status, **more})


@pytest.mark.parametrize(
    ("url", "host", "is_openai"),
    [
        ("https://api.openai.com/v1", "api.openai.com", True),
        ("https://eu.api.openai.com/v1/", "eu.api.openai.com", True),
        ("https://ours.openai.azure.com/openai/v1/", "ours.openai.azure.com", False),
        ("https://api.openai.com.evil.example/v1", "api.openai.com.evil.example", False),
        ("http://ann:secret@127.0.0.1:8400/v1", "127.0.0.1:8400", False),
    ],
)
def test_a_service_is_known_by_its_host(url: str, host: str, is_openai: bool) -> None:
    service = service_at(url)
    assert (service.host, service.is_openai) == (host, is_openai)
    assert Account(service).name == host
    assert "secret" not in service.address and service.address.startswith(url.split("//")[0])


def test_texts_of_the_service_lose_the_key_and_what_is_left_of_it() -> None:
    said = f"bad {KEY}, shown as sk-canar**********9d07c or *****\n  see the page"
    assert SERVICE.clean(said) == "bad ***, shown as *** or *** see the page"
    assert KEY not in repr(SERVICE)
    assert len(SERVICE.clean("long " * 1000)) == 600


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("0.25", 0.25), ("-3", 0.0), ("", None), ("soon", None), ("inf", None), ("nan", None)],
)
def test_a_retry_after_in_seconds(said: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": said}) == seconds


def test_a_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    seconds = retry_after_s({"retry-after": format_datetime(later, usegmt=True)})
    assert seconds is not None and 3500 < seconds <= 3600
    past = format_datetime(later - timedelta(days=1), usegmt=True)
    assert retry_after_s({"retry-after": past}) == 0.0


@given(st.text(max_size=40))
def test_no_retry_after_is_an_error(said: str) -> None:
    seconds = retry_after_s({"retry-after": said})
    assert seconds is None or seconds >= 0


@given(st.integers(0, 25), st.integers(1, 7))
def test_a_list_is_read_to_its_end_page_by_page(count: int, size: int) -> None:
    names = [f"job-{number}" for number in range(count)]

    def read(after: str) -> Any:
        start = names.index(after) + 1 if after else 0
        page = names[start : start + size]
        return SimpleNamespace(data=[entry(name) for name in page], has_more=start + size < count)

    assert [one.id for one in every(SERVICE, read)] == names
    assert len(list(every(SERVICE, read, 2))) == min(count, 2 * size)


@pytest.mark.parametrize("has_more", [True, None])
def test_a_service_that_does_not_heed_after_is_not_asked_for_ever(has_more: bool | None) -> None:
    asked: list[str] = []

    def read(after: str) -> Any:
        asked.append(after)
        return SimpleNamespace(data=[entry("a"), entry("b")], has_more=has_more)

    assert [one.id for one in every(SERVICE, read)] == ["a", "b"]
    assert asked == ["", "b"]


@pytest.mark.parametrize("page", [SimpleNamespace(), SimpleNamespace(data=None), "<html>busy</html>"])
def test_a_page_that_is_none_is_never_an_empty_list(page: Any) -> None:
    with pytest.raises(TransientError, match=r"api\.openai\.com gave no"):
        list(every(SERVICE, lambda _: page))


@pytest.mark.parametrize(
    ("status", "view"),
    [
        ("validating_files", View(JobStatus.PENDING)),
        ("queued", View(JobStatus.PENDING)),
        ("pending", View(JobStatus.PENDING)),
        ("running", View(JobStatus.RUNNING)),
        ("pausing", View(JobStatus.RUNNING)),
        ("paused", View(JobStatus.RUNNING, note="paused")),
        ("succeeded", View(JobStatus.SUCCEEDED)),
        ("cancelled", View(JobStatus.CANCELLED, "cancelled at api.openai.com")),
    ],
)
def test_every_status_has_its_name(status: str, view: View) -> None:
    assert view_of(job(status), SERVICE) == view
    if view.ended:
        assert view_of(job(status, finished_at=160), SERVICE).seconds == 60.0


@pytest.mark.parametrize("status", ["on_hold", "", None, "RUNNING"])
def test_an_unknown_status_is_not_running(status: Any) -> None:
    with pytest.raises(TransientError, match="unknown status"):
        view_of(job(status), SERVICE)


def test_a_failure_shows_the_services_words_and_what_to_do() -> None:
    error = SimpleNamespace(code="invalid_training_file", message=f"Line 3 {KEY}", param="training_file")
    said = view_of(job("failed", error=error), SERVICE).error
    assert said == "Line 3 *** (invalid_training_file, training_file) -> mend the rows"
    assert " -> " in view_of(job("failed"), SERVICE).error


@given(
    key=st.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
    pipeline=st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True),
    seed=st.integers(-(2**40), 2**40),
    attempt=st.integers(1, 10**6),
)
def test_a_request_stays_within_the_services_bounds(key: str, pipeline: str, seed: int, attempt: int) -> None:
    recipe = SimpleNamespace(base_model="m", method="sft", hyperparameters={"epochs": None}, seed=seed)
    order: Any = SimpleNamespace(
        key=key, attempt=attempt, recipe=recipe, dataset=SimpleNamespace(pipeline=pipeline)
    )
    request = request_of(order)
    assert request["metadata"]["retune_key"] == key and len(request["metadata"]) <= 16
    assert all(len(name) <= 64 and len(value) <= 512 for name, value in request["metadata"].items())
    assert 0 <= request["seed"] <= 2_147_483_647
    assert request["method"] == {"type": "supervised", "supervised": {"hyperparameters": {}}}
    assert "suffix" not in request
