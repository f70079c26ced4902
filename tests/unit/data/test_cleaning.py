from __future__ import annotations

import random

from retune.data.cleaning import clean
from retune.data.intake import SourceRow
from tests.unit.data.conftest import Project


def rows(*pairs: tuple[str | None, str | None]) -> list[SourceRow]:
    return [
        SourceRow("a.jsonl", line, {"text": text, "queue": queue})
        for line, (text, queue) in enumerate(pairs, start=1)
    ]


def test_what_is_dropped_is_counted_by_reason(project: Project) -> None:
    spec = project.spec(labels=("billing", "shipping"))
    cleaned = clean(
        rows(
            ("where is it", "shipping"),
            ("where  is\nit ", " shipping"),  # a copy but for white space
            ("where is it", "shipping"),
            ("too much", "billing"),
            ("", "billing"),
            (None, "billing"),
            (" \n", "billing"),
            ("no label", None),
            ("stray", "Billing"),
            ("unclear", "billing"),
            ("unclear", "billing"),
            ("unclear ", "shipping"),
        ),
        spec,
    )
    assert sorted(row.prompt for row in cleaned.rows) == ["too much", "where  is\nit"]
    assert cleaned.dropped == {"empty": 4, "unlisted_label": 1, "duplicate": 3, "conflict": 2}


def test_without_listed_labels_all_count(project: Project) -> None:
    cleaned = clean(rows(("a", "x"), ("b", "y")), project.spec())
    assert {row.completion for row in cleaned.rows} == {"x", "y"}


def test_the_order_of_the_rows_does_not_matter(project: Project) -> None:
    given = rows(*[(f"{'  ' * (n % 3)}ticket {n % 7}", "ab"[n % 7 == 3 and n % 2]) for n in range(40)])
    first = clean(given, project.spec())
    for seed in range(5):
        shuffled = random.Random(seed).sample(given, len(given))
        assert clean(shuffled, project.spec()) == first
