from __future__ import annotations

from retune.text.labels import match_label

LABELS = ("billing", "returns")


def test_an_answer_names_a_label_exactly_or_not_at_all() -> None:
    assert match_label(" billing\n", LABELS) == "billing"
    for answer in ("Billing", "billing.", "billing returns", "bill", ""):
        assert match_label(answer, LABELS) == ""
