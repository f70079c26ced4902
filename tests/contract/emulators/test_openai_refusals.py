"""What OpenAI refuses, and what it finds fault with, in its own words and shapes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from retune.testing.emulators.process import Running
from tests.contract.emulators.conftest import Start
from tests.contract.emulators.openai_client import (
    MODEL,
    chats,
    client_of,
    create,
    ended,
    lines,
    messages,
    upload,
)

BAD_FILES = {
    "too few": (lines(chats(7)), "invalid_n_examples", "has 7 example(s), but must have at least 10"),
    "no JSON": (
        lines([*chats(4), b"{oops", *chats(9)]),
        "invalid_training_file",
        "Line 5 is not a dictionary",
    ),
    "no role": (
        lines([*chats(11), {"messages": [{"content": "x"}]}]),
        "invalid_training_file",
        "Example 12, message 1 Discriminator 'role' is missing in value",
    ),
    "no answer": (
        lines([*chats(11), {"messages": [{"role": "user", "content": "x"}]}]),
        "invalid_training_file",
        "Example 12 must have at least one message from the assistant",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used_fails_its_job_in_validation(openai_emulator: Running, name: str) -> None:
    data, code, words = BAD_FILES[name]
    client = client_of(openai_emulator)
    job = ended(client, create(client, training_file=upload(client, data)).id)
    assert (job.status, job.error and job.error.code, job.error and job.error.param) == (
        "failed",
        code,
        "training_file",
    )
    assert job.error and words in job.error.message
    assert messages(client, job.id)[-1] == job.error.message
    [counted] = [one for one in openai_emulator.jobs() if one["id"] == job.id]
    assert (counted["survives"], counted["billed"]) == (False, None)


def test_a_validation_file_is_examined_too(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    job = ended(client, create(client, validation_file=upload(client, lines([b"[1]"]))).id)
    assert job.error and (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")


def test_preferences_and_prompts_have_their_methods_shape(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    asks = {"messages": [{"role": "user", "content": "q"}]}
    pair = {
        "input": asks,
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    pairs, prompts = upload(client, lines([pair] * 10)), upload(client, lines([asks] * 10))
    grader = {
        "type": "string_check",
        "name": "g",
        "input": "a",
        "reference": "a",
        "operation": "eq",
    }
    dpo: Any = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 1}}}
    reinforcement: Any = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    for file, method, status in [
        (pairs, dpo, "succeeded"),
        (prompts, dpo, "failed"),
        (prompts, reinforcement, "succeeded"),
        (pairs, reinforcement, "failed"),
    ]:
        job = ended(client, create(client, training_file=file, method=method).id)
        assert (job.status, job.method and job.method.type) == (status, method["type"])


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "integer_above_max_value"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 0}}}},
            "method.supervised.hyperparameters.batch_size",
            "integer_below_min_value",
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "decimal_below_min_value",
        ),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "object_above_max_properties"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k", "string_above_max_length"),
        ({"suffix": "s" * 65}, "suffix", "string_above_max_length"),
        ({"model": "gpt-9"}, None, "model_not_available"),
        ({"training_file": "file-none"}, "training_file", None),
        ({"method": {"type": "magic"}}, "method.type", "invalid_value"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_before_anything_is_made(
    openai_emulator: Running, given: dict[str, Any], param: str | None, code: str | None
) -> None:
    client = client_of(openai_emulator)
    before = len(openai_emulator.jobs())
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, **given)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert len(openai_emulator.jobs()) == before


def test_a_wrong_key_is_refused_and_never_said_in_full(start: Start) -> None:
    emulator = start(api_key="sk-right")
    wrong = "sk-wrong-0123456789abcdefghijklmnop-tail"
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(emulator, api_key=wrong).models.list()
    assert caught.value.code == "invalid_api_key"
    assert "sk-wrong" in str(caught.value) and wrong not in str(caught.value)
    client_of(emulator, api_key="sk-right").models.list()
    kept = b"".join(path.read_bytes() for path in emulator.folder.rglob("*") if path.is_file())
    assert b"sk-right" not in kept and wrong.encode() not in kept


def test_a_model_that_was_shut_down_can_neither_be_tuned_nor_asked(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    today = datetime.now(UTC).date()
    dates = {"gone": str(today), "going": str(today + timedelta(days=2)), "staying": None}
    openai_emulator.set_options(models=dates)
    shown = {model.id: (model.model_extra or {}).get("shutdown_date") for model in client.models.list()}
    assert "gone" not in shown and shown["going"] == dates["going"] and shown["staying"] is None
    with pytest.raises(openai.NotFoundError, match="`gone` has been deprecated"):
        create(client, model="gone")
    with pytest.raises(openai.NotFoundError, match="has been deprecated"):
        client.chat.completions.create(model="gone", messages=[{"role": "user", "content": "hi"}])
    tuned = ended(client, create(client, model="going").id).fine_tuned_model
    openai_emulator.set_options(models={**dates, "going": str(today)})
    with pytest.raises(openai.NotFoundError, match="has been deprecated"):
        client.chat.completions.create(model=tuned or "", messages=[{"role": "user", "content": "hi"}])


def test_a_file_that_is_being_processed_cannot_be_used_yet(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    openai_emulator.set_options(file_s=60)
    file = upload(client)
    assert client.files.retrieve(file).status == "uploaded"
    with pytest.raises(openai.BadRequestError, match="still being processed"):
        create(client, training_file=file)


def test_a_wrong_file_name_or_purpose_is_refused(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        upload(client, name="rows.csv")
    with pytest.raises(openai.BadRequestError, match="Supported values are"):
        client.files.create(file=("a.jsonl", b"{}"), purpose="magic")  # type: ignore[arg-type]


def test_what_is_not_there_is_said_to_be_not_there(openai_emulator: Running) -> None:
    client = client_of(openai_emulator)
    with pytest.raises(openai.NotFoundError, match="Could not find fine tune: ftjob-none"):
        client.fine_tuning.jobs.retrieve("ftjob-none")
    with pytest.raises(openai.NotFoundError, match="The model `none` does not exist"):
        client.chat.completions.create(model="none", messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.NotFoundError, match=r"Invalid URL \(GET /v1/none\)"):
        client.get("/none", cast_to=object)
    assert MODEL in [model.id for model in client.models.list()]
