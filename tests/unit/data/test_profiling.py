from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data import profiling
from retune.data.column_guesses import Column
from retune.data.first_spec import write_spec, write_suite
from retune.data.profiling import Profile, profile
from retune.errors import DataError
from retune.spec import PipelineSpec

START = datetime(2026, 1, 1, tzinfo=UTC)


def tickets(count: int = 200, **more: Any) -> list[dict[str, Any]]:
    queues = ("billing", "shipping", "returns")
    return [{"text": f"ticket {n} of today", "queue": queues[n % 3], **more} for n in range(count)]


def said(found: Profile) -> dict[str, str]:
    return {guess.what: guess.value for guess in found.guesses}


MESSAGES = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]
PARTS = [{"role": "user", "parts": [{"text": "How?"}]}, {"role": "model", "parts": [{"text": "So."}]}]
SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"messages": MESSAGES, "tools": []}),
    ("prompt_completion", {"prompt": "How?", "completion": "So."}),
    ("prompt_completion", {"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}),
    ("preference", {"prompt": "How?", "chosen": "So.", "rejected": "No."}),
    ("preference", {"chosen": MESSAGES, "rejected": MESSAGES}),
    (
        "preference",
        {
            "input": {"messages": MESSAGES[:1]},
            "preferred_output": MESSAGES[1:],
            "non_preferred_output": MESSAGES[1:],
        },
    ),
    ("gemini", {"contents": PARTS}),
    ("columns", {"question": "How?", "answer": "So."}),
]


@pytest.mark.parametrize(("shape", "row"), SHAPES)
def test_the_shape_is_known_by_its_keys(shape: str, row: dict[str, Any]) -> None:
    found = profile([{**row, "customer_id": f"c{n % 30}"} for n in range(60)])
    assert found.format == shape
    assert (found.group, found.columns.subject) == ("customer_id", "customer_id")
    # Whatever it is, the spec that is written for it must be one.
    spec = written(found)
    assert (spec.data.format, spec.data.split.group_by) == (shape, "customer_id")
    assert bool(spec.data.columns.prompt) == (shape == "columns")


def test_a_few_odd_rows_do_not_change_the_shape() -> None:
    found = profile([{"messages": MESSAGES}] * 95 + [{"text": "x"}] * 5)
    assert found.format == "chat"
    assert said(found)["rows that cannot be read"] == "5"


@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"text": "a long text", "category": "x"}, "text", "category"),
        ({"category": "x", "Text": "a long text"}, "Text", "category"),
        ({"id": 7, "output": "o", "Instruction": "i"}, "Instruction", "output"),
        ({"answer": "a", "question": "q"}, "question", "answer"),
        ({"userMessage": "asked at length", "label": "x"}, "userMessage", "label"),
        ({"foo": "short", "bar": "a much longer text"}, "foo", "bar"),
    ],
)
def test_columns_are_chosen_by_name_and_by_length(row: dict[str, Any], prompt: str, completion: str) -> None:
    found = profile([row] * 20)
    assert (found.columns.prompt, found.columns.completion) == (prompt, completion)


def test_without_names_few_different_texts_are_the_answer() -> None:
    rows = [{"a": f"row {n} says something long", "b": "yn"[n % 2], "c": f"note {n}"} for n in range(100)]
    found = profile(rows)
    assert (found.columns.prompt, found.columns.completion) == ("a", "b")
    assert said(found)["not used"] == "c"


@pytest.mark.parametrize(
    "rows",
    [[{"text": "x"}] * 10, [{"a": 1, "b": 2}] * 10, [{"text": "x", "label": 3}] * 10, [{}] * 10],
)
def test_rows_without_two_texts_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="no two columns hold text"):
        profile(rows)


def test_no_row_and_rows_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(DataError, match="hold no row"):
        profile([])
    with pytest.raises(DataError, match=r"no row can be read as a conversation: messages\[0\].role"):
        profile([{"messages": [{"role": "bot", "content": "x"}]}] * 10)


def test_labels_are_counted_and_rare_ones_left_out() -> None:
    found = profile(
        [
            *tickets(),
            *tickets(3, queue="todo"),
            {"text": "x", "queue": " billing "},
            {"text": "y", "queue": None},
        ]
    )
    assert found.labels == {"billing": 68, "shipping": 67, "returns": 66}
    assert found.rare == {"todo": 3}
    spec = written(found)
    assert spec.task.kind == "classification"
    assert spec.task.labels == ("billing", "shipping", "returns")


@pytest.mark.parametrize(
    "answers",
    [
        [f"answer {n}" for n in range(200)],
        ["a label\nof two lines", "b"] * 100,
        ["long " * 30, "b"] * 100,
        ["only one"] * 200,
    ],
    ids=["all different", "lines", "long", "one"],
)
def test_free_answers_are_generation(answers: list[str]) -> None:
    found = profile([{"prompt": f"p{n}", "completion": answer} for n, answer in enumerate(answers)])
    assert found.labels == {} and said(found)["task"] == "generation"
    assert written(found).task.kind == "generation"


def test_pairs_are_generation_though_their_answers_repeat() -> None:
    rows = [{"prompt": f"p{n}", "chosen": "yn"[n % 2], "rejected": "ny"[n % 2]} for n in range(100)]
    assert written(profile(rows)).task.kind == "generation"


def test_labels_beyond_the_rows_that_are_read_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "COUNTED", 100)
    monkeypatch.setattr(profiling, "HEAD", 50)
    taken: list[int] = []

    def rows() -> Any:
        for number, row in enumerate(tickets(10_000)):
            taken.append(number)
            yield row

    found = profile(rows())
    assert len(taken) == 101 and found.rows == 100 and not found.whole
    spec = written(found)
    assert spec.task.kind == "classification" and spec.task.labels == ()


@pytest.mark.parametrize(
    ("name", "values", "group", "subject"),
    [
        ("customer_id", [f"c{n % 40}" for n in range(200)], True, True),
        ("customerId", [n % 40 for n in range(200)], True, True),
        ("user", [f"u{n % 40}" for n in range(200)], True, True),
        ("session_id", [f"s{n % 40}" for n in range(200)], True, False),
        ("customer_id", [f"c{n}" for n in range(200)], False, True),
        ("customer_id", ["c1"] * 200, False, True),
        ("customer_id", [f"c{n % 40}" if n % 2 else None for n in range(200)], False, False),
        ("customer_id", [{"id": n} for n in range(200)], False, False),
        ("shade_id", [f"c{n % 40}" for n in range(200)], False, False),
    ],
)
def test_groups_and_subjects(name: str, values: list[Any], group: bool, subject: bool) -> None:
    found = profile([{**row, name: value} for row, value in zip(tickets(), values, strict=True)])
    assert found.group == (name if group else "")
    assert found.columns.subject == (name if subject else "")


@pytest.mark.parametrize(
    ("name", "value", "is_time"),
    [
        ("created_at", lambda n: (START + timedelta(hours=n)).isoformat(), True),
        ("date", lambda n: (START + timedelta(days=n)).date().isoformat(), True),
        ("timestamp", lambda n: 1.7e9 + n, True),
        ("ts", lambda n: str(1_700_000_000 + n), True),
        ("created_at", lambda n: "yesterday" if n == 199 else START.isoformat(), False),
        ("created_at", lambda n: None if n == 199 else START.isoformat(), False),
        ("time", lambda n: n, False),
        ("born", lambda n: START.isoformat(), False),
        ("at", lambda n: {"day": n}, False),
    ],
)
def test_times(name: str, value: Any, is_time: bool) -> None:
    found = profile([{**row, name: value(n)} for n, row in enumerate(tickets())])
    assert found.time == (name if is_time else "")


def test_a_group_is_no_answer() -> None:
    rows = [{"body": f"long text number {n}", "user": f"u{n % 20}", "queue": "ab"[n % 2]} for n in range(100)]
    found = profile(rows)
    assert (found.columns.prompt, found.columns.completion, found.group) == ("body", "queue", "user")


def test_names_are_compared_without_their_writing() -> None:
    assert Column("Customer ID ", 1, []).plain == Column("customerId", 1, []).plain == "customer_id"


def written(found: Profile) -> PipelineSpec:
    text = write_spec("some-name", ["rows.jsonl"], "include/expectations/some_name.json", found)
    spec = PipelineSpec.model_validate(yaml.safe_load(text))
    suite = json.loads(write_suite(spec, found))
    assert {"type", "kwargs"} <= set(suite["expectations"][0])
    return spec


odd = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(max_examples=50)
@given(st.lists(odd, min_size=2, max_size=4, unique_by=lambda text: text.strip()), odd, odd, odd)
def test_whatever_stands_in_a_file_the_spec_can_be_read(
    labels: list[str], first: str, second: str, source: str
) -> None:
    if first == second:
        second = first + "x"
    rows = [{first: f"a text {n} that is long", second: labels[n % len(labels)]} for n in range(100)]
    try:
        found = profile(rows)
    except DataError:
        return
    text = write_spec("x", [source], "s.json", found)
    spec = PipelineSpec.model_validate(yaml.safe_load(text))
    assert spec.data.sources == (source,)
    assert {spec.data.columns.prompt, spec.data.columns.completion} <= {first, second, ""}
    assert spec.task.labels == tuple(found.labels)
    json.loads(write_suite(spec, found))
