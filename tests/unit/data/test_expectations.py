from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.data.expectations import RULES, register
from retune.data.expectations.rules import find
from tests.unit.data.tables import FLAWED, table_of

PLANTED: dict[int, dict[str, Any]] = {
    3: FLAWED,
    5: {"retune_roles_in_order": False},
    6: {"retune_ends_with_assistant": False, "retune_completion_chars": None},
    7: {"retune_prompt_chars": 0},
    8: {"retune_completion_chars": 0, "retune_label": ""},
    9: {"retune_tokens": 900},
    10: {"retune_label": "biling"},
    11: {"retune_language": "de"},
    12: {"retune_language": ""},
}
TWO = ["billing", "returns"]
# Type, arguments that are met, arguments that are not, rows that are judged; the bad ones' values and lines.
CASES: list[tuple[str, dict[str, Any], dict[str, Any], int, list[Any], list[int]]] = [
    ("conversations_to_be_well_formed", {"mostly": 0.9}, {}, 40, [FLAWED["retune_flaw"]], [3]),
    ("roles_to_be_in_order", {"mostly": 0.9}, {}, 39, [], [5]),
    ("conversations_to_end_with_assistant", {"mostly": 0.9}, {}, 39, [], [6]),
    ("prompts_to_not_be_empty", {"mostly": 0.9}, {"mostly": 0.99}, 39, [], [7]),
    ("completions_to_not_be_empty", {"mostly": 0.9}, {"mostly": 0.99}, 38, [], [8]),
    ("tokens_to_fit", {"max_tokens": 900}, {"max_tokens": 899}, 39, [900], [9]),
    ("labels_to_be_in_set", {"labels": TWO, "mostly": 0.9}, {"labels": TWO}, 38, ["biling"], [10]),
    (
        "language_share",
        {"language": "en", "min_share": 0.9},
        {"language": "en", "min_share": 1},
        38,
        ["de"],
        [11],
    ),
    ("labels_to_be_balanced", {"max_ratio": 40}, {"max_ratio": 10}, 38, ["biling"], []),
]
NAMES = [case[0] for case in CASES]
Results = dict[tuple[str, str], Any]


@pytest.fixture(scope="module")
def results() -> Results:
    """What Great Expectations itself says of each case, met and broken, and of no rows."""
    import great_expectations as gx

    register()
    context = gx.get_context(mode="ephemeral")
    batch = (
        context.data_sources.add_pandas("s")
        .add_dataframe_asset("a")
        .add_batch_definition_whole_dataframe("b")
    )
    found = {}
    for part, table in {"rows": table_of(40, PLANTED), "nothing": table_of(0)}.items():
        # What a suite's file holds, read by Great Expectations' own reader.
        written = [
            {
                "type": f"expect_{name}",
                "kwargs": kwargs,
                "severity": "warning",
                "meta": {"part": part, "ends": ends},
            }
            for name, meets, breaks, *_ in CASES
            for ends, kwargs in {"met": meets, "broken": breaks}.items()
        ]
        suite = context.suites.add(gx.ExpectationSuite(name=part, expectations=written))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=part, data=batch, suite=suite)
        )
        for item in definition.run(batch_parameters={"dataframe": table}).results:
            ends = item.expectation_config.meta["ends"] if part == "rows" else part
            found[item.expectation_config.type, ends] = item
    return found


def test_every_rule_is_an_expectation_and_has_a_case() -> None:
    from great_expectations.expectations.registry import get_expectation_impl

    register()
    assert {f"expect_{name}" for name in NAMES} == set(RULES)
    assert all(get_expectation_impl(name).expectation_type == name for name in RULES)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_passes_and_fails(results: Results, case: Any) -> None:
    name, _, _, judged, values, lines = case
    met, broken = (results[f"expect_{name}", ends] for ends in ("met", "broken"))
    assert met.success and not broken.success
    result = broken.result
    assert (result["element_count"], result["missing_count"], result["unexpected_count"]) == (
        40,
        40 - judged,
        1,
    )
    assert result["unexpected_percent"] == pytest.approx(100 / judged)
    assert result["partial_unexpected_list"] == values
    places = [{"retune_file": "rows.jsonl", "retune_line": line} for line in lines]
    assert result["partial_unexpected_index_list"] == places


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_never_pass(results: Results, name: str) -> None:
    item = results[f"expect_{name}", "nothing"]
    assert not item.success
    assert item.result["observed_value"] == "no rows that can be judged"


def test_rows_that_all_have_a_flaw_meet_nothing_but_break_it_once() -> None:
    table = table_of(4, dict.fromkeys(range(1, 5), FLAWED))
    found = {name: find(name, table, {"labels": TWO, "language": "en", "max_tokens": 1}) for name in RULES}
    assert [name for name, finding in found.items() if finding.broken] == [
        "expect_conversations_to_be_well_formed"
    ]
    assert {finding.judged for name, finding in found.items() if "well_formed" not in name} == {0}


def test_many_bad_rows_name_the_first() -> None:
    finding = find("expect_tokens_to_fit", table_of(1000), {"max_tokens": 1})
    assert (finding.broken, len(finding.values)) == (1000, 20)
    assert [place["retune_line"] for place in finding.places] == list(range(1, 21))


def test_balance_counts_the_task_s_labels_only() -> None:
    planted = {10: {"retune_label": "biling"}}
    arguments = {"max_ratio": 10, "labels": [*TWO, "refunds"]}
    finding = find("expect_labels_to_be_balanced", table_of(40, planted), arguments)
    assert finding.values == ["refunds"] and finding.judged == 39
    assert finding.observed == "'refunds' 0 (0.00%); most: 'billing' 20 (51.28%)"


def test_a_missing_column_is_named() -> None:
    with pytest.raises(LookupError, match="'retune_label' does not exist; only a classification has labels"):
        find("expect_labels_to_be_balanced", table_of(4).drop(columns="retune_label"), {"max_ratio": 2})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["", None, "a", "b", "c", "d"]), max_size=40), st.data())
def test_labels_as_counted_one_by_one(labels: list[str | None], data: Any) -> None:
    share, ratio = data.draw(st.floats(0.01, 1)), data.draw(st.floats(1, 20))
    table = table_of(len(labels), retune_label=labels)
    given_labels = [label for label in labels if label]
    counts = Counter(given_labels)
    most = max(counts.values(), default=0)
    rare = {
        name for name, count in counts.items() if count < share * len(given_labels) or count * ratio < most
    }
    balance = find("expect_labels_to_be_balanced", table, {"min_share": share, "max_ratio": ratio})
    assert set(balance.values) == rare and balance.judged == len(given_labels)
    listed = find("expect_labels_to_be_in_set", table, {"labels": ["a", "b"]})
    bad = [line for line, label in enumerate(labels, start=1) if label in ("c", "d")]
    assert (listed.judged, listed.broken) == (len(given_labels), len(bad))
    assert [place["retune_line"] for place in listed.places] == bad[:20]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.integers(0, 2**31 - 1), max_size=40), st.integers(1, 2**31 - 1))
def test_sizes_as_counted_one_by_one(sizes: list[int | None], limit: int) -> None:
    table = table_of(len(sizes), retune_tokens=sizes, retune_prompt_chars=sizes)
    known = [size for size in sizes if size is not None]
    tokens = find("expect_tokens_to_fit", table, {"max_tokens": limit})
    assert (tokens.judged, tokens.broken) == (len(known), sum(size > limit for size in known))
    empty = find("expect_prompts_to_not_be_empty", table, {})
    assert (empty.judged, empty.broken) == (len(known), known.count(0))
