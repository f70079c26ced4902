"""Labels are named exactly, or in the form that the spec declares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import SpecError
from retune.spec.data import Normalise
from retune.text.labels import Labels, match_label, normalised

LABELS = ("billing", "Returns", "C++")
FOLD, STRIP = Normalise(case="fold"), Normalise(punctuation="strip")
BOTH = Normalise(case="fold", punctuation="strip")
forms = st.sampled_from([Normalise(), FOLD, STRIP, BOTH])


def test_an_answer_names_a_label_exactly_or_not_at_all() -> None:
    assert match_label(" billing\n", LABELS) == "billing"
    for answer in ("Billing", "billing.", "billing returns", "bill", ""):
        assert match_label(answer, LABELS) == ""


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Billing", [FOLD, BOTH]),
        ("billing.", [STRIP, BOTH]),
        (' "billing" ', [STRIP, BOTH]),
        ("**`billing`**!", [STRIP, BOTH]),
        ("BILLING.", [BOTH]),
        ("bil-ling", []),
        ("billing, returns", []),
        ("label: billing", []),
    ],
)
def test_only_what_the_spec_declares_is_forgiven(answer: str, named: list[Normalise]) -> None:
    for form in (Normalise(), FOLD, STRIP, BOTH):
        assert match_label(answer, LABELS, form) == ("billing" if form in named else "")


def test_a_label_is_returned_as_the_spec_writes_it() -> None:
    assert match_label("RETURNS!", LABELS, BOTH) == "Returns"
    assert match_label("c++", LABELS, BOTH) == "C++"


def test_labels_that_become_one_are_named_in_pairs() -> None:
    with pytest.raises(SpecError) as caught:
        Labels(["Billing", "billing.", "Straße", "STRASSE", "other"], BOTH)
    said = [problem.what for problem in caught.value.problems]
    assert said == [
        "labels 'Billing' and 'billing.' are one under task.normalise",
        "labels 'Straße' and 'STRASSE' are one under task.normalise",
    ]
    assert "rename one" in caught.value.problems[0].action
    assert Labels(["Billing", "billing."], FOLD).match("BILLING") == "Billing"


def test_marks_that_are_all_of_a_text_stay() -> None:
    assert Labels(["?", "!"], BOTH).match(" ? ") == "?"
    assert match_label("...", ["?", "!"], BOTH) == ""


@given(st.text(), forms)
def test_a_normalised_text_is_in_its_form_already(text: str, form: Normalise) -> None:
    once = normalised(text, form)
    assert normalised(once, form) == once
    assert normalised(f" {text}\n", form) == once


@given(st.sets(st.text(), min_size=1), forms)
def test_every_label_names_itself(names: set[str], form: Normalise) -> None:
    ordered = sorted(names)
    try:
        labels = Labels(ordered, form)
    except SpecError:
        assert len({normalised(name, form) for name in ordered}) < len(ordered)
    else:
        assert [labels.match(name) for name in ordered] == ordered
