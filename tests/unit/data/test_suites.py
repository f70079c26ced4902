from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retune.data.suites import Suite, needs, read_suite, suite_for
from retune.errors import DataError
from retune.spec import PipelineSpec


def spec_of(*max_lengths: int, **task: Any) -> PipelineSpec:
    return PipelineSpec.model_validate(
        {
            "version": 1,
            "pipeline": "tickets",
            "data": {"sources": ["rows.jsonl"], "format": "chat"},
            "task": task,
            "recipes": [{"base_model": "b", "max_length": length} for length in max_lengths or (512,)],
            "evaluation": {"endpoint": "e"},
            "deploy": {"endpoint": "e", "alias": "tickets"},
        }
    )


def written(path: Path, *expectations: dict[str, Any]) -> Path:
    file = path / "suite.json"
    file.write_text(json.dumps({"expectations": list(expectations)}))
    return file


def short(suite: Suite) -> list[tuple[str, Any]]:
    return [
        (
            item["type"].removeprefix("expect_"),
            {**item["kwargs"], "severity": item.get("severity", "critical")},
        )
        for item in suite.expectations
    ]


COUNTED = ("table_row_count_to_be_between", {"min_value": 1, "severity": "critical"})
WELL_FORMED = ("conversations_to_be_well_formed", {"severity": "critical"})
GENERATION = [
    COUNTED,
    WELL_FORMED,
    ("roles_to_be_in_order", {"severity": "critical"}),
    ("conversations_to_end_with_assistant", {"severity": "critical"}),
    ("prompts_to_not_be_empty", {"mostly": 0.9, "severity": "critical"}),
    ("completions_to_not_be_empty", {"mostly": 0.9, "severity": "critical"}),
    ("tokens_to_fit", {"max_tokens": 512, "severity": "warning"}),
]


def test_the_default_of_each_kind() -> None:
    assert short(suite_for(spec_of(kind="generation"))) == GENERATION
    balanced = ("labels_to_be_balanced", {"max_ratio": 10, "severity": "warning"})
    assert short(suite_for(spec_of())) == [*GENERATION, balanced]
    assert short(suite_for(spec_of(labels=["a", "b"])))[-2:] == [
        ("labels_to_be_in_set", {"mostly": 0.9, "labels": ["a", "b"], "severity": "critical"}),
        ("labels_to_be_balanced", {"max_ratio": 10, "labels": ["a", "b"], "severity": "warning"}),
    ]


def test_a_row_must_fit_every_recipe() -> None:
    suite = suite_for(spec_of(2048, 256, 1024))
    assert ("tokens_to_fit", {"max_tokens": 256, "severity": "warning"}) in short(suite)


def test_a_user_s_suite_replaces_all_but_what_is_always_checked(tmp_path: Path) -> None:
    file = written(
        tmp_path, {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "severity": "info"}
    )
    suite = suite_for(spec_of(), file)
    assert short(suite) == [COUNTED, WELL_FORMED, ("column_to_exist", {"column": "a", "severity": "info"})]
    assert suite.file == str(file)


def test_a_user_s_suite_may_set_how_many_are_well_formed(tmp_path: Path) -> None:
    own = {
        "type": "expect_conversations_to_be_well_formed",
        "kwargs": {"mostly": 0.99},
        "severity": "warning",
    }
    suite = suite_for(spec_of(), written(tmp_path, own))
    assert short(suite) == [COUNTED, (WELL_FORMED[0], {"mostly": 0.99, "severity": "warning"})]


def test_severity_is_critical_where_none_is_given(tmp_path: Path) -> None:
    plain = {"type": "expect_column_to_exist", "kwargs": {"column": "a"}}
    read = read_suite(written(tmp_path, plain, plain | {"severity": None}, plain | {"severity": "warning"}))
    assert [item["severity"] for item in read] == ["critical", "critical", "warning"]


def test_what_cannot_be_used_is_told_together(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "severity": "high"},
        {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 3}},
        {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["a"]}},
        {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["a"], "exact_match": False}},
        {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "severity": 3},
    )
    with pytest.raises(DataError) as caught:
        read_suite(file)
    assert {problem.file for problem in caught.value.problems} == {str(file)}
    assert [problem.what for problem in caught.value.problems] == [
        "expectation 1 (expect_column_to_exist): severity 'high' is none",
        "expectation 2 (expect_table_column_count_to_equal):"
        " the table that is judged has other columns than the sources",
        "expectation 3 (expect_table_columns_to_match_set):"
        " the table that is judged has other columns than the sources",
        "expectation 5 (expect_column_to_exist): severity 3 is none",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '{"expectations": 3}',
        '{"expectations": [3]}',
        '{"expectations": [{"type": "expect_column_to_exist"}]}',
        '{"expectations": [{"type": 3, "kwargs": {}}]}',
        '{"expectations": [{"type": "expect_column_to_exist", "kwargs": []}]}',
        "\xff",
    ],
)
def test_no_suite(tmp_path: Path, text: str) -> None:
    file = tmp_path / "suite.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="not a Great Expectations suite") as caught:
        suite_for(spec_of(), file)
    assert caught.value.problems[0].file == str(file)


def test_a_suite_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        suite_for(spec_of(), tmp_path / "none.json")


def test_what_a_suite_must_see(tmp_path: Path) -> None:
    default = needs(suite_for(spec_of()))
    assert default.columns == frozenset()
    assert "retune_tokens" in default.features and "retune_language" not in default.features
    condition = {"type": "comparison", "column": {"name": "tier"}, "operator": ">", "parameter": 3}
    file = written(
        tmp_path,
        {"type": "expect_column_to_exist", "kwargs": {"column": "a"}},
        {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "b", "column_B": "c"}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["d", "e"]}},
        {
            "type": "expect_table_columns_to_match_set",
            "kwargs": {"column_set": ["f", "g"], "exact_match": False},
        },
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": "a", "row_condition": condition},
        },
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {
                "column": "a",
                "row_condition": 'col("two words") == "x"',
                "condition_parser": "pandas",
            },
        },
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "retune_turns", "max_value": 9}},
        {"type": "expect_language_share", "kwargs": {"language": "en", "min_share": 1}},
        {"type": "expect_column_to_exist", "kwargs": {"column": 3}},
    )
    found = needs(suite_for(spec_of(), file))
    assert {"a", "b", "c", "d", "e", "f", "g", "tier", "two words"} <= found.columns
    assert found.features == {"retune_flaw", "retune_turns", "retune_language"}
