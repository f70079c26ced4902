"""What curves say: faults are named, healthy trainings are left alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.records import Curve
from retune.stats.training_curves import ALARMS, diagnose, headline, turning_point

Values = npt.NDArray[np.float64]
LOSS = st.floats(1e-4, 20) | st.sampled_from([math.nan, math.inf, -1.0, 0.0])


def curve(name: str, steps: Values, values: Values) -> Curve:
    points = tuple((int(step), float(value)) for step, value in zip(steps, values, strict=True))
    return Curve(name=name, points=points)


def shares(count: int) -> Values:
    return (np.arange(count) + 1) / count


def noisy(values: Values, noise: float, random: np.random.Generator) -> Values:
    found: Values = values * np.exp(noise * random.standard_normal(len(values)))
    return found


def training(values: Values) -> Curve:
    return curve("loss", np.arange(1.0, len(values) + 1), values)


def validation(values: Values, steps: int = 200) -> Curve:
    return curve("eval_loss", shares(len(values)) * steps, values)


def kinds(*curves: Curve) -> set[str]:
    return {finding.kind for finding in diagnose(curves)}


def healthy(random: np.random.Generator) -> Iterator[list[Curve]]:
    """Yield trainings that decay to a floor, over sizes and noises of all backends."""
    for steps in (8, 20, 60, 200):
        for noise in (0.02, 0.1, 0.3, 0.5):
            for validations, eval_noise in ((3, 0.01), (5, 0.03), (12, 0.03), (steps, 0.1), (steps, 0.4)):
                floor, rate = random.choice([0.02, 0.15, 0.5, 1.2]), random.choice([3, 6, 20])
                height = random.uniform(0.5, 2)
                # A logged loss is the mean of its steps.
                first = (np.exp(rate / steps) - 1) * steps / rate
                losses = floor + height * first * np.exp(-rate * shares(steps))
                unseen = 1.1 * (floor + height * np.exp(-rate * shares(validations)))
                yield [
                    training(noisy(losses, noise, random)),
                    validation(noisy(unseen, eval_noise, random), steps),
                ]


def test_healthy_trainings_seldom_raise_an_alarm() -> None:
    random = np.random.default_rng(3)
    trainings = [curves for _ in range(2) for curves in healthy(random)]
    alarms = sum(bool(kinds(*curves) & ALARMS) for curves in trainings)
    assert len(trainings) == 160
    # The docstring's 0.6%, and three standard errors.
    assert alarms / len(trainings) <= 0.006 + 3 * (0.006 / len(trainings)) ** 0.5


@pytest.mark.parametrize(("validations", "noise"), [(4, 0.01), (8, 0.01), (12, 0.03), (200, 0.1)])
def test_a_validation_loss_that_turns_is_overfitting(validations: int, noise: float) -> None:
    random = np.random.default_rng(5)
    found = 0
    for _ in range(50):
        at = shares(validations)
        unseen = np.where(at <= 0.5, 0.6 + 0.9 * np.exp(-6 * at), 0.645 * (1 + 0.6 * (at - 0.5)))
        losses = noisy(0.1 + 1.5 * np.exp(-4 * shares(200)), 0.1, random)
        findings = diagnose([training(losses), validation(noisy(unseen, noise, random))])
        turn = turning_point(findings)
        found += turn is not None and 50 <= turn <= 150
    assert found >= 40


def test_overfitting_is_said_with_its_numbers_and_what_became_of_the_model() -> None:
    curves = [training(np.linspace(1.0, 0.1, 40)), validation(np.array([0.9, 0.5, 0.6, 0.8]), 40)]
    (finding,) = diagnose(curves, keeps_best=True)
    assert (finding.kind, finding.step) == ("overfitting", 20)
    assert finding.sentence == (
        "Overfitting: the validation loss was best at step 20 (0.5000) and rose by 40% to 0.7000, while the"
        " training loss went from 0.5846 to 0.1231."
    )
    assert "did not suffer" in finding.action
    assert "checkpoint: best" in diagnose(curves, keeps_best=False)[0].action
    assert "fewer epochs" in diagnose(curves)[0].action


@pytest.mark.parametrize("name", ["loss", "eval_loss"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_divergence(name: str, value: float) -> None:
    other = [curve for curve in (training(np.ones(20)), validation(np.ones(5))) if curve.name != name]
    (finding,) = diagnose([*other, Curve(name=name, points=((1, 2.0), (2, value), (3, 1.0)))])
    assert (finding.kind, finding.step) == ("divergence", 2) and str(value) in finding.sentence


@pytest.mark.parametrize(("steps", "noise"), [(20, 0.03), (60, 0.1), (200, 0.3)])
def test_a_training_loss_that_climbs_back_is_divergence(steps: int, noise: float) -> None:
    random = np.random.default_rng(7)
    at = shares(steps)
    losses = np.where(at <= 0.5, 0.5 + 1.5 * np.exp(-6 * at), 0.575 + 8 * (at - 0.5))
    found = [diagnose([training(noisy(losses, noise, random))])[0] for _ in range(30)]
    assert {finding.kind for finding in found} == {"divergence"}
    assert all("above where it began" in finding.sentence for finding in found)


def test_a_diverged_training_is_not_called_overfitted_too() -> None:
    values = np.concatenate([np.linspace(1, 0.3, 20), np.linspace(0.4, 3, 20)])
    assert kinds(training(values), validation(values[::5], 40)) == {"divergence"}


def test_single_wild_steps_are_spikes() -> None:
    random = np.random.default_rng(9)
    losses = noisy(0.3 + np.exp(-4 * shares(100)), 0.05, random)
    assert kinds(training(losses)) == {"fine", "unseen"}
    losses[[40, 70]] = 4.0, 9.0
    spikes = diagnose([training(losses)])[0]
    assert (spikes.kind, spikes.step) == ("spikes", 71)
    assert "jumped 2 times" in spikes.sentence and "9.0000 at step 71" in spikes.sentence


@pytest.mark.parametrize(("steps", "noise"), [(8, 0.0), (20, 0.03), (200, 0.1), (800, 0.3)])
def test_a_loss_that_stays_where_it_was_is_flat(steps: int, noise: float) -> None:
    random = np.random.default_rng(11)
    found = [kinds(training(noisy(np.full(steps, 1.2), noise, random))) for _ in range(30)]
    assert sum("flat" in each for each in found) >= 27


def test_too_much_noise_is_not_taken_for_flat() -> None:
    random = np.random.default_rng(13)
    assert "flat" not in kinds(training(noisy(np.full(8, 1.2), 0.5, random)))


def test_a_loss_that_falls_to_the_end_could_go_on() -> None:
    steep = np.linspace(2, 0.4, 30)
    assert kinds(training(steep)) == {"still_falling", "unseen"}
    assert kinds(training(steep), validation(np.linspace(1.8, 0.5, 5))) == {"still_falling"}
    levelled = validation(np.array([0.9, 0.6, 0.5, 0.49, 0.485]))
    assert kinds(training(steep), levelled) == {"fine"}


def test_short_curves_say_so() -> None:
    (finding,) = diagnose([training(np.array([2.0, 1.0])), validation(np.array([1.5]))])
    assert finding.kind == "too_few" and "2 of the training loss and 1 of the validation" in finding.sentence
    assert [finding.kind for finding in diagnose([])] == ["too_few"]


def test_a_missing_validation_loss_is_said() -> None:
    found = {
        finding.kind: finding.sentence for finding in diagnose([training(0.3 + np.exp(-6 * shares(60)))])
    }
    assert found.keys() == {"fine", "unseen"} and "was not measured" in found["unseen"]


def test_of_two_validation_losses_the_one_of_all_rows_counts() -> None:
    whole = Curve(name="full_eval_loss", points=((20, 0.9), (40, 0.5), (60, 0.8), (80, 1.0)))
    batches = validation(np.full(80, 0.6), 80)
    losses = training(0.3 + np.exp(-6 * shares(80)))
    assert turning_point(diagnose([losses, batches, whole])) == 40
    two = whole.model_copy(update={"points": whole.points[:2]})
    assert turning_point(diagnose([losses, batches, two])) is None


def test_the_headline_fits_a_log() -> None:
    assert headline([]) == ""
    good = [training(0.3 + np.exp(-6 * shares(60))), validation(np.array([0.6, 0.5, 0.49]), 60)]
    assert headline(good) == "loss 1.2048 to 0.3025; validation loss 0.4900, best 0.4900 at step 60"
    bad = [good[0], validation(np.array([0.5, 0.6, 0.9]), 60)]
    assert "Overfitting: the validation loss was best at step 20" in headline(bad)
    assert "\n" not in headline(bad)


@settings(deadline=None)
@given(st.lists(LOSS, max_size=60), st.lists(LOSS, max_size=30))
def test_any_curves_are_answered(losses: list[float], unseen: list[float]) -> None:
    curves = [training(np.array(losses)), validation(np.array(unseen))]
    found = diagnose(curves)
    assert found and all(finding.sentence.endswith(".") for finding in found)
    assert len({finding.kind for finding in found}) == len(found)
    assert isinstance(headline(curves), str)
