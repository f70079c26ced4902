"""Plots are the same bytes for the same figures, and show what they are given."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import replace

from retune.evaluation.comparison import SliceScore, differences, slice_scores
from retune.evaluation.contender_plots import MOST_SLICES, confusion, forest, slices
from retune.evaluation.evidence import LearningCurve
from retune.evaluation.plots import ORANGE, latency, learning_curve, short
from retune.records import Latency, MetricValue
from tests.unit.evaluation.page_builders import HOSTILE, answered, labels_of, rich


def words(svg: str) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_forest_has_a_row_a_contender_and_the_same_bytes_again() -> None:
    evidence = rich(4, 60)
    values = {name: report.metrics["accuracy"] for name, report in evidence.contenders}
    drawn = forest(values, differences(evidence), "accuracy", "candidate")
    assert set(values) <= set(words(drawn))
    assert drawn == forest(values, differences(evidence), "accuracy", "candidate")


def test_the_forest_leaves_out_what_is_no_number() -> None:
    good = MetricValue(value=0.5, low=0.4, high=0.6, n=9)
    bad = MetricValue(value=float("nan"), low=float("nan"), high=float("nan"), n=9)
    assert "bad" not in words(forest({"good": good, "bad": bad}, [], "accuracy", "good"))
    assert forest({"bad": bad}, [], "accuracy", "bad") == ""


def test_the_parts_with_the_largest_losses_are_drawn() -> None:
    parts = [SliceScore("label", f"part {n:03d}", 12, n / 100, 1.0, True, n / 100 - 1) for n in range(90)]
    drawn = words(slices(parts, "candidate", "champion"))
    assert f"part {MOST_SLICES - 1:03d}  n=12" in drawn or f"part {MOST_SLICES - 1:03d} n=12" in drawn
    assert not any("part 040" in text for text in drawn)
    assert slices(parts[:1], "candidate", "champion") == ""


def test_a_part_is_orange_where_it_is_worse_whichever_the_direction() -> None:
    parts = [SliceScore("label", name, 12, 0.2, 0.4, True, 0.2) for name in ("a", "b")]
    assert ORANGE not in slices(parts, "candidate", "base")
    worse = [replace(part, gain=-0.2) for part in parts]
    assert ORANGE in slices(worse, "candidate", "base")


def test_the_parts_of_a_page_are_drawn_without_a_rival_too() -> None:
    alone = [SliceScore("label", name, 12, 0.5, None, True) for name in ("a", "b")]
    assert "candidate" in words(slices(alone, "candidate", ""))
    assert slice_scores(rich(4, 60))


def test_names_and_limits_of_latency_are_drawn() -> None:
    one = Latency(concurrency=1, n=50, p50_s=0.1, p95_s=0.2, p95_low_s=0.15, p95_high_s=0.3)
    drawn = words(latency({"base": one, "candidate": one}, 0.25))
    assert {"base", "candidate", "limit", "milliseconds"} <= set(drawn)
    assert "limit" not in words(latency({"base": one}))
    assert latency({}) == ""


def test_an_interval_without_an_end_leaves_room_for_the_rest() -> None:
    open_end = Latency(concurrency=1, n=20, p50_s=0.1, p95_s=0.2, p95_low_s=0.15, p95_high_s=60.0)
    numbers = [int(text) for text in words(latency({"base": open_end})) if text.isdigit()]
    assert max(numbers) <= 500


def test_a_learning_curve_is_drawn_with_and_without_its_fit() -> None:
    points = ((100, 0.5, 60), (200, 0.6, 60))
    assert "fitted, with its band" not in words(learning_curve(LearningCurve(points), "accuracy"))
    fitted = LearningCurve(points, ((100, 0.5, 0.4, 0.6), (400, 0.7, 0.6, 0.8)))
    assert {"accuracy", "fitted, with its band"} <= set(words(learning_curve(fitted, "accuracy")))


def test_confusion_counts_wrong_answers_and_those_that_are_no_label() -> None:
    labels = labels_of(3)
    rows = [one for one in answered("base", labels, 30, 0.6) if not one.error]
    silent = rows[0].model_copy(update={"predicted": "", "answer": "who knows"})
    counts = Counter((one.expected, one.predicted) for one in (*rows, silent))
    drawn = words(confusion([*rows, silent], labels))
    assert sorted(text for text in drawn if text.isdigit()) == sorted(map(str, counts.values()))
    assert "(none)" in drawn


def test_text_of_users_stays_text_in_a_plot() -> None:
    drawn = confusion(answered("base", (HOSTILE, "$x$"), 4, 1.0), (HOSTILE, "$x$"))
    assert "<script" not in drawn and "$x$" in words(drawn)


def test_letters_that_matplotlib_has_no_font_for_are_drawn_without_a_word() -> None:
    labels = ("配送", "🔥")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = confusion(answered("base", labels, 4, 1.0), labels)
    assert set(labels) <= set(words(drawn))


def test_long_names_keep_both_ends() -> None:
    assert short("a" * 28) == "a" * 28
    cut = short("transfer_not_received_by_recipient_07")
    assert len(cut) == 28 and cut.startswith("transfer_not_r") and cut.endswith("recipient_07")
