"""Planted trainings: one that memorised, a base model too small, one too large, and a sound one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from retune.advice.diagnosis import Peer, diagnose_model, parameters_of
from retune.errors import DataError
from retune.records import Curve, MetricValue
from retune.records.advice import Finding
from retune.spec import PipelineSpec
from retune.stats.intervals import wilson
from tests.unit.advice.builders import right, spec


def score(value: float, n: int = 200) -> MetricValue:
    low, high = wilson(round(value * n), n, 0.95)
    return MetricValue(value=value, low=low, high=high, n=n)


def loss(*values: float) -> tuple[Curve, ...]:
    return (Curve(name="loss", points=tuple(enumerate(values, start=1))),)


AT_REST = loss(2.0, 1.6, 1.3, 1.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
FALLING = loss(*[2.4 - step / 5 for step in range(10)])


def peer(title: str, base_model: str, scores: Sequence[float], **more: object) -> Peer:
    return Peer(title, base_model, {str(place): one for place, one in enumerate(scores)}, {}, **more)  # type: ignore[arg-type]


CANDIDATE = peer("#1", "Qwen/Qwen3-8B", right(0.9, 300))


def diagnosed(
    train: float,
    validation: float,
    curves: tuple[Curve, ...] = AT_REST,
    *others: Peer,
    candidate: Peer = CANDIDATE,
    by: PipelineSpec | None = None,
) -> tuple[Finding, ...]:
    return diagnose_model(by or spec(), score(train), score(validation, 100), curves, candidate, others)


def test_a_sound_training_is_left_in_peace() -> None:
    assert diagnosed(0.97, 0.92) == ()


def test_nothing_is_said_by_a_metric_of_which_less_is_better() -> None:
    train, validation = (
        one.model_copy(update={"higher_is_better": False}) for one in (score(0.95), score(0.5))
    )
    smaller = peer("#2", "Qwen/Qwen3-0.6B", right(1.0, 300))
    assert diagnose_model(spec(), train, validation, AT_REST, CANDIDATE, [smaller]) == ()


def test_a_model_that_only_knows_its_rows_has_memorised_them() -> None:
    (found,) = diagnosed(1.0, 0.4)
    assert (found.what, found.threshold) == ("memorised", 0.1)
    assert found.value == pytest.approx(0.6)
    assert found.low is not None and 0.4 < found.low < 0.6
    assert found.sentence == (
        "Memorised: 1.000 on 200 examples that it was trained on, and only 0.400 on 100 that it was not."
    )


@pytest.mark.parametrize(("train", "validation"), [(0.99, 0.9), (0.85, 0.6), (0.4, 0.9)])
def test_a_small_gap_or_a_model_that_does_not_know_its_rows_is_no_memory(
    train: float, validation: float
) -> None:
    assert not [one for one in diagnosed(train, validation, FALLING) if one.what == "memorised"]


def test_a_gap_that_few_examples_cannot_show_is_not_told() -> None:
    few = diagnose_model(spec(), score(1.0, 10), score(0.8, 10), AT_REST, CANDIDATE, ())
    assert few == ()


def test_a_model_that_cannot_learn_its_rows_is_too_small_once_its_loss_rests() -> None:
    (found,) = diagnosed(0.5, 0.45)
    assert (found.what, found.threshold) == ("too_small", 0.8)
    assert found.sentence.startswith("Too small: 0.500 on 200 examples that it was trained on")
    # It may only need more steps, a higher learning rate, or nobody knows.
    for curves in (FALLING, loss(*[2.0] * 12), loss(2.0, 1.0), ()):
        assert diagnosed(0.5, 0.45, curves) == ()


def test_free_texts_are_not_expected_to_the_letter() -> None:
    assert diagnosed(0.5, 0.45, by=spec(task={"kind": "generation"})) == ()


def test_a_smaller_model_that_is_not_worse_makes_the_larger_one_too_large() -> None:
    same = peer("#2", "Qwen/Qwen3-0.6B", right(0.9, 300))
    middle = peer("#3", "Qwen/Qwen3-4B", right(0.9, 300))
    larger = peer("#4", "Qwen/Qwen3-32B", right(0.9, 300))
    (found,) = diagnosed(0.95, 0.9, AT_REST, larger, middle, same)
    assert found.what == "too_large"
    assert found.sentence == (
        "Larger than needed: #2 is smaller and not more than 0.05 worse (+0.000 on 300 examples)."
    )
    assert "Qwen/Qwen3-0.6B" in found.action
    worse = peer("#2", "Qwen/Qwen3-0.6B", right(0.8, 300))
    assert diagnosed(0.95, 0.9, AT_REST, worse, larger) == ()


def test_few_examples_do_not_show_that_a_smaller_model_will_do() -> None:
    candidate = peer("#1", "Qwen/Qwen3-8B", right(0.9, 30))
    small = peer("#2", "Qwen/Qwen3-0.6B", right(0.9, 30))
    assert diagnosed(0.95, 0.9, AT_REST, small, candidate=candidate) == ()


def test_where_names_say_no_size_the_price_of_answers_does() -> None:
    candidate = peer("#1", "gpt-4.1", right(0.9, 300), cost_per_1000_usd=2.0)
    mini = peer("#2", "gpt-4.1-mini", right(0.9, 300), cost_per_1000_usd=0.4)
    unpriced = peer("#3", "gpt-4.1-nano", right(0.9, 300))
    (found,) = diagnosed(0.95, 0.9, AT_REST, unpriced, mini, candidate=candidate)
    assert "#2 is smaller" in found.sentence
    assert diagnosed(0.95, 0.9, AT_REST, unpriced, candidate=candidate) == ()


def test_models_that_answered_other_examples_are_not_compared() -> None:
    with pytest.raises(DataError, match="#2 answered other examples than #1"):
        diagnosed(0.95, 0.9, AT_REST, peer("#2", "Qwen/Qwen3-0.6B", right(0.9, 299)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen3-0.6B", 0.6e9),
        ("meta-llama/Llama-3.2-1B-Instruct", 1e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
        ("google/gemma-3-27b-it", 27e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9),
        ("models/70b/tiny/", None),
        ("gpt-4.1-mini-2025-04-14", None),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("mistralai/Mixtral-8x7B-v0.1", None),
    ],
)
def test_the_size_is_read_from_the_name(name: str, parameters: float | None) -> None:
    assert parameters_of(name) == parameters
