"""The metrics of texts agree with the packages that people quote."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from retune.evaluation.metrics import ScoresExamples, Task, load_metric
from tests.unit.evaluation.metrics.builders import measure, outcome, outcomes

TASK = Task(kind="generation")
REFERENCE = json.loads((Path(__file__).parent / "rouge_reference.json").read_text())
words = st.sampled_from(["the", "cat", "Cat,", "sat", "on", "mat.", "12.5", "日本", "é", "a"])
texts = st.lists(words, max_size=15).map(" ".join) | st.text(max_size=30)
pairs = st.lists(st.tuples(texts.filter(str.strip), texts), min_size=1, max_size=12)


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row["expected"][:20])
def test_rouge_is_that_of_googles_package(row: dict[str, str]) -> None:
    metric = load_metric("rouge")
    assert isinstance(metric, ScoresExamples)
    assert metric.score(outcome(row["expected"], row["answer"], TASK), TASK) == pytest.approx(row["f"])


def test_rouge_says_nothing_of_a_text_without_words_of_its_own() -> None:
    lines = outcomes([("日本語", "日本語"), ("a word", "a word")], TASK)
    assert measure("rouge", lines, TASK)["rouge"].n == 1
    assert measure("rouge", lines[:1], TASK) == {}


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_bleu_and_chrf_are_those_of_sacrebleu(rows: list[tuple[str, str]]) -> None:
    # What a file can hold is what is measured.
    found = outcomes(rows, TASK)
    expected, answered = [one.expected for one in found], [one.answer for one in found]
    bleu, chrf = measure("bleu", found, TASK), measure("chrf", found, TASK)
    theirs = BLEU().corpus_score(answered, [expected]).score / 100
    assert bleu["bleu"].value == pytest.approx(theirs)
    assert chrf["chrf_corpus"].value == pytest.approx(CHRF().corpus_score(answered, [expected]).score / 100)
    each = [CHRF().sentence_score(one.answer, [one.expected]).score / 100 for one in found]
    assert chrf["chrf"].value == pytest.approx(sum(each) / len(each))
    for value in (*bleu.values(), *chrf.values()):
        assert 0 <= value.low <= value.value <= value.high <= 1


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge"])
def test_equal_texts_are_1_and_empty_answers_0(name: str) -> None:
    same = outcomes([("the cat sat on the mat", "the cat sat on the mat")] * 3, TASK)
    empty = [outcome("the cat sat on the mat", "", TASK, error="timeout" * (n == 0)) for n in range(3)]
    assert measure(name, same, TASK)[name].value == pytest.approx(1)
    assert measure(name, empty, TASK)[name].value == 0


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge"])
def test_where_nothing_is_expected_nothing_is_measured(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(name, outcomes([(" ", "some"), ("", "")], TASK), TASK) == {}
    assert capsys.readouterr().out.count(f"{name} is not measured: ") == 1


@pytest.mark.parametrize("name", ["accuracy", "exact_match", "bleu", "chrf", "rouge"])
def test_an_answer_of_100_kb_is_measured(name: str) -> None:
    long = outcomes([("the cat sat on the mat", "the cat sat " * 9000), ("a", "a")], TASK)
    value = measure(name, long, TASK)[name]
    assert value.n == 2 and 0 <= value.low <= value.value <= value.high <= 1


def test_an_exact_match_is_to_the_letter_and_accuracy_is_not() -> None:
    found = outcomes([("yes", "yes"), ("yes", "yes\n"), ("yes", "Yes")], TASK)
    assert measure("exact_match", found, TASK)["exact_match"].value == pytest.approx(1 / 3)
    assert measure("accuracy", found, TASK)["accuracy"].value == pytest.approx(2 / 3)


def test_the_interval_widens_where_examples_belong_together() -> None:
    lone = [outcome("a b c d", "a b c d" if n % 5 else "a x y z", TASK) for n in range(100)]
    tied = [one.model_copy(update={"group": str(n // 25)}) for n, one in enumerate(sorted(lone, key=str))]
    for name, figure in (("chrf", "chrf"), ("chrf", "chrf_corpus"), ("rouge", "rouge"), ("bleu", "bleu")):
        apart, together = measure(name, lone, TASK)[figure], measure(name, tied, TASK)[figure]
        assert apart.value == pytest.approx(together.value)
        assert together.high - together.low > 1.5 * (apart.high - apart.low), figure


def test_the_interval_of_bleu_is_that_of_sacrebleu() -> None:
    draw = random.Random(4)
    vocabulary = "the quick brown fox jumps over a lazy dog and runs away".split()
    rows = []
    for _ in range(150):
        expected = draw.choices(vocabulary, k=draw.randint(5, 15))
        answer = [word if draw.random() < 0.8 else draw.choice(vocabulary) for word in expected]
        rows.append((" ".join(expected), " ".join(answer)))
    expected, answered = zip(*rows, strict=True)
    theirs = BLEU().corpus_score(answered, [expected], n_bootstrap=1000)
    ours = measure("bleu", outcomes(rows, TASK), TASK)["bleu"]
    middle, reach = theirs._mean / 100, theirs._ci / 100
    assert (ours.low, ours.high) == pytest.approx((middle - reach, middle + reach), abs=0.012)
