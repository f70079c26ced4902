"""Which checkpoint is the best one."""

from __future__ import annotations

from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from retune.backends.base import Point
from retune.backends.vertex_curves import best_checkpoint


def points(*losses: tuple[int, float]) -> list[Point]:
    return [Point(step, 0.0, {"eval_loss": loss}) for step, loss in losses]


def checkpoints(*steps: int) -> list[types.TunedModelCheckpoint]:
    return [
        types.TunedModelCheckpoint(checkpoint_id=str(number), step=step, endpoint=f"e{step}")
        for number, step in enumerate(steps, 1)
    ]


def test_the_best_checkpoint_is_where_the_validation_loss_was_least() -> None:
    best = best_checkpoint(checkpoints(10, 20, 30), points((9, 0.9), (20, 0.4), (30, 0.7)))
    assert best is not None and best.endpoint == "e20"


def test_a_loss_that_was_measured_after_a_checkpoint_says_nothing_of_it() -> None:
    best = best_checkpoint(checkpoints(10, 20), points((5, 0.9), (15, 0.1), (19, 0.8)))
    assert best is not None and best.endpoint == "e20"


def test_a_loss_that_is_no_number_is_never_the_least() -> None:
    best = best_checkpoint(checkpoints(10, 20), points((10, float("nan")), (20, 0.8)))
    assert best is not None and best.endpoint == "e20"


def test_of_equals_the_earliest_is_taken() -> None:
    best = best_checkpoint(checkpoints(10, 20), points((10, 0.5), (20, 0.5)))
    assert best is not None and best.endpoint == "e10"


def test_without_losses_or_endpoints_there_is_no_best() -> None:
    assert best_checkpoint(checkpoints(10), [Point(10, 0.0, {"loss": 0.1})]) is None
    assert best_checkpoint([types.TunedModelCheckpoint(step=10)], points((10, 0.1))) is None
    assert best_checkpoint([], points((10, 0.1))) is None


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 9)), min_size=1, unique_by=lambda one: one[0]))
def test_no_other_checkpoint_has_a_lower_loss(measured: list[tuple[int, float]]) -> None:
    measured.sort()
    best = best_checkpoint(checkpoints(*(step for step, _ in measured)), points(*measured))
    assert best is not None
    assert dict(measured)[int(best.step or 0)] == min(loss for _, loss in measured)
