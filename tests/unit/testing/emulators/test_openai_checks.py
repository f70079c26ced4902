"""What OpenAI checks, in small."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retune.testing.emulators.curves import virtual_step
from retune.testing.emulators.ids import derived, fresh
from retune.testing.emulators.openai_data import examine
from retune.testing.emulators.openai_errors import body, named, wrong_key
from retune.testing.emulators.openai_graders import score
from retune.testing.emulators.openai_requests import method_of
from retune.testing.emulators.server import Refused

CHAT = {"messages": [{"role": "user", "content": "q" * 40}, {"role": "assistant", "content": "a"}]}


def test_blank_lines_are_no_examples() -> None:
    data = (json.dumps(CHAT).encode() + b"\n\n") * 10
    found = examine(data, "supervised")
    assert (found.examples, found.error) == (10, None)
    assert 100 <= found.tokens <= 130


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["supervised", "dpo", "reinforcement"]))
def test_no_file_whatever_breaks_the_examination(lines: list[bytes], method: str) -> None:
    found = examine(b"\n".join(lines), method)
    assert found.error and found.error["param"] == "training_file"


KEYS = st.sampled_from(["messages", "role", "content", "input"])
ROWS = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(ROWS)
@example({"messages": [{"role": ["user"], "content": "x"}]})
def test_no_row_whatever_breaks_the_examination(row: Any) -> None:
    for method in ("supervised", "dpo", "reinforcement"):
        assert examine(json.dumps(row).encode(), method).error


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({}, "supervised"),
        ({"hyperparameters": {"n_epochs": 50, "batch_size": "auto"}}, "supervised"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2}}}}, "dpo"),
    ],
)
def test_methods_are_told_apart(asked: dict[str, Any], kind: str) -> None:
    assert method_of(asked)[0] == kind


@pytest.mark.parametrize(
    "asked",
    [
        {"hyperparameters": {"n_epochs": True}},
        {"hyperparameters": {"n_epochs": 1.5}},
        {"hyperparameters": {"batch_size": 257}},
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.1}}}},
        {"method": "supervised"},
        {"method": {"type": "reinforcement", "reinforcement": {}}},
    ],
)
def test_a_method_out_of_range_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        method_of(asked)
    assert caught.value.status == 400


@given(st.text(max_size=60))
def test_a_wrong_key_is_never_said_in_full(key: str) -> None:
    before, after = wrong_key("").message.split("provided: ")
    shown = wrong_key(key).message.removeprefix(f"{before}provided: ").removesuffix(after)
    assert len(shown) == len(key)
    assert len(key) < 4 or set(key) == {"*"} or key not in shown


def test_errors_have_openais_four_fields() -> None:
    assert body(named("no_quota")) == {
        "error": {
            "message": named("no_quota").message,
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    }
    assert body(Refused(500, "x"))["error"]["type"] == "server_error"
    assert body(Refused(418, "x"))["error"]["type"] == "invalid_request_error"


def test_curves_fall_and_are_the_same_for_the_same_job() -> None:
    losses = [virtual_step("j", number, 30, True).valid_loss or 0 for number in range(1, 31)]
    assert losses[-1] < losses[9] < losses[0]
    assert virtual_step("j", 3, 30, True) == virtual_step("j", 3, 30, True) != virtual_step("k", 3, 30, True)
    assert virtual_step("j", 3, 30, False).valid_loss is None


def test_ids_are_fresh_or_derived() -> None:
    assert fresh("a-") != fresh("a-")
    assert derived("a-", "x", 1) == derived("a-", "x", 1) != derived("a-", "x", 2)
    assert len(derived("", "x", length=8)) == 8


@pytest.mark.parametrize(
    ("operation", "sample", "reward"),
    [("eq", "cat", 1), ("eq", "Cat", 0), ("ne", "dog", 1), ("like", "a cat!", 1), ("ilike", "A CAT!", 1)],
)
def test_texts_are_compared_as_the_grader_says(operation: str, sample: str, reward: float) -> None:
    grader = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{ item.label }}"}
    assert score({**grader, "operation": operation}, {"label": "cat"}, sample) == reward


def test_a_variable_that_is_not_there_is_refused() -> None:
    grader = {"type": "text_similarity", "input": "{{item.none}}", "reference": "x"}
    with pytest.raises(Refused, match=r"item\.none"):
        score(grader, {}, "x")
