"""What a data card's figures say about a training before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retune.advice.rows import label_finding, row_findings
from retune.data.drops import Drops
from retune.data.figures import Found, describe
from retune.data.label_errors import LabelErrors, Suspect
from retune.records.advice import Finding
from tests.unit.advice.builders import advised, dataset, finding, outcomes, right, spec
from tests.unit.data import card_rows


def suspects(found: int, judged: int, policy: str = "report") -> dict[str, Any]:
    return {"label_errors": {"found": found, "judged": judged, "policy": policy}}


def balance(**train: int) -> dict[str, Any]:
    return {"labels": {"labels": [{"label": label, "train": rows} for label, rows in train.items()]}}


def rare(**train: int) -> Finding:
    return row_findings(spec(), dataset(), balance(**train))[2]


def test_the_figures_of_a_data_card_are_understood(tmp_path: Path) -> None:
    examples, spool = card_rows.spooled(tmp_path / "spool", card_rows.tickets(["parcel", "invoice"], 8))
    errors = LabelErrors([Suspect(0, "parcel", "invoice", 0.9)], rows=16, judged=16)
    found = Found({"rows.jsonl": 16}, label_errors=errors, judged=examples)
    figures = describe(card_rows.with_sides(examples), Drops(), spool, card_rows.spec(), found)
    spool.close()
    advice = advised({}, figures=figures)
    assert finding(advice, "rare_labels").value == 2
    assert finding(advice, "wrong_labels").value == pytest.approx(0.51 / 16)


def test_labels_of_which_most_are_rare_lack_rows() -> None:
    few = rare(billing=3, shipping=9, returns=40)
    assert few.speaks_for == "collect_more_data"
    assert few.sentence == ("2 of 3 labels have fewer than 10 rows to train on, the fewest billing with 3.")
    assert few.action == "add rows of billing, shipping"
    some = rare(billing=9, shipping=10, returns=40)
    assert (some.value, some.speaks_for, some.action) == (1, None, "add rows of billing")
    assert rare(billing=10, shipping=10).action == ""


def test_a_task_without_labels_has_no_rare_ones() -> None:
    texts = spec(task={"kind": "generation"})
    found = row_findings(texts, dataset(), {"labels": None, "label_errors": None})
    assert [one.what for one in found] == ["rows", "held_out_rows"]
    assert label_finding({"labels": None, "label_errors": None}, 0.9) is None


def test_half_of_the_suspected_labels_cap_what_can_be_reached() -> None:
    capped = label_finding(suspects(20, 100), 0.9)
    assert capped is not None and capped.speaks_for == "collect_more_data"
    assert capped.sentence == (
        "20 of 100 judged labels are suspected to be wrong, about half of them rightly: no model is likely to"
        " score above 0.898, and 0.900 must be reached."
    )
    within = label_finding(suspects(20, 100), 0.89)
    assert within is not None and (within.speaks_for, within.action) == (None, "")
    assert label_finding(suspects(0, 0), 0.9) is None
    dropped = label_finding(suspects(20, 100, "drop"), 0.99)
    assert dropped is not None and (dropped.value, dropped.speaks_for) == (0.0, None)


def test_labels_are_mended_first_where_they_hide_what_a_training_could_gain() -> None:
    measured = {"base": outcomes(right(0.3)), "few_shot": outcomes(right(0.88))}
    assert advised(measured, figures=suspects(2, 100)).verdict == "fine_tune"
    noisy = advised(measured, figures=suspects(20, 100))
    assert noisy.verdict == "collect_more_data"
    assert noisy.reason.startswith("20 of 100 judged labels are suspected to be wrong")
    assert advised(measured, figures=suspects(20, 100), target=0.88).verdict == "prompt_is_enough"
    assert advised(measured, figures=suspects(20, 100), target=0.91).verdict == "collect_more_data"
    assert advised(measured, figures=suspects(20, 100), target=0.89).verdict == "fine_tune"
