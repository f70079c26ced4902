"""What an answer is worth, however bad it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.artifacts import Artifacts
from retune.evaluation.measuring import summarise
from retune.evaluation.metrics import Task
from retune.evaluation.outcomes import outcome_of, read_outcomes
from retune.evaluation.respondents import Answer
from retune.records import Contender, Outcome, Split
from retune.spec.data import Normalise
from retune.text.conversations import conversation
from tests.unit.evaluation.builders import SPEC, blob

LABELS = ("billing", "Returns")
FOLDED = Task(labels=LABELS, normalise=Normalise(case="fold", punctuation="strip"))


def worth(expected: str, answer: Answer | str, task: Task) -> Outcome:
    found = answer if isinstance(answer, Answer) else Answer(answer, "", 0.5)
    return outcome_of(conversation("Pick.", "where is it?", expected), found, task)


@pytest.mark.parametrize("answer", ["", " ", "bill", "Billing", "billing.", "billing " * 12_500, '"billing"'])
def test_what_names_no_label_is_wrong(answer: str) -> None:
    found = worth("billing", answer, Task(labels=LABELS))
    assert (found.predicted, found.correct, found.answer) == ("", False, answer)


def test_a_label_in_another_form_is_right_where_the_spec_declares_it() -> None:
    found = worth("Returns", "RETURNS.", FOLDED)
    assert (found.predicted, found.correct, found.answer) == ("Returns", True, "RETURNS.")
    assert not worth("Returns", "billing", FOLDED).correct


def test_a_text_is_compared_in_the_form_that_the_spec_declares() -> None:
    folded = Task(kind="generation", normalise=FOLDED.normalise)
    for answer, plain, normal in [("Yes", False, True), ("yes.", False, True), (" yes", True, True)]:
        assert worth("yes", answer, Task(kind="generation")).correct is plain
        assert worth("yes", answer, folded).correct is normal
    assert worth("yes", " Yes. ", folded).predicted == "Yes."


@pytest.mark.parametrize("task", [FOLDED, Task(kind="generation"), Task(kind="extraction")])
def test_a_failed_call_is_wrong_also_where_its_text_would_be_right(task: Task) -> None:
    found = worth("billing", Answer("billing", "timeout", 0.5), task)
    assert (found.correct, found.error) == (False, "timeout")


def test_what_a_call_took_is_kept_and_a_cut_answer_is_judged_as_it_stands() -> None:
    answer = Answer("bil", "", 0.5, prompt_tokens=7, completion_tokens=1, cut=True)
    found = worth("billing", answer, FOLDED)
    assert (found.cut, found.correct, found.predicted) == (True, False, "")
    assert (found.latency_s, found.prompt_tokens, found.completion_tokens) == (0.5, 7, 1)


def test_halves_of_characters_are_replaced_and_pairs_joined() -> None:
    found = worth("x", "a\ud83d\ude00b\udce9c", Task(kind="generation"))
    assert found.answer == "a\U0001f600b\ufffdc"


KINDS = ["classification", "generation", "extraction"]
anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(anything, min_size=1, max_size=5),
    st.sampled_from(["classification", "generation", "extraction"]),
)
def test_any_answer_can_be_kept_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, answers: list[str], kind: str
) -> None:
    artifacts = Artifacts((tmp_path_factory.getbasetemp() / "kept").as_uri())
    spec = SPEC.model_copy(update={"task": SPEC.task.model_copy(update={"kind": kind})})
    contender = Contender(spec_digest=spec.digest, name="base", model_name="base", model_digest="d")
    task = Task(kind=spec.task.kind, labels=LABELS if kind == "classification" else ())
    found = [worth("billing", answer, task) for answer in answers]
    split = Split(artifact=blob("3"), rows=len(found))
    report = summarise(
        contender, split, "held_out", found, spec=spec, artifacts=artifacts, elapsed_s=1.0, task=task
    )
    kept = read_outcomes(report, artifacts)
    assert [one.answer for one in kept] == [one.answer for one in found]
    for value in report.metrics.values():
        assert 0 <= value.low <= value.value <= value.high <= 1
