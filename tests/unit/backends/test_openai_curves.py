"""What OpenAI's events, result files and checkpoints say."""

from __future__ import annotations

import base64
import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from retune.backends.openai_curves import Checkpoint, Told, best, measured, parse_results

CSV = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,1.5,0.4,,\n2,0.9,0.6,1.1,0.5\n"
STEPS = {
    1: {"loss": 1.5, "mean_token_accuracy": 0.4},
    2: {"loss": 0.9, "mean_token_accuracy": 0.6, "eval_loss": 1.1, "eval_mean_token_accuracy": 0.5},
}


def metrics(number: int, at: int, **data: Any) -> Any:
    return SimpleNamespace(id=f"event-{number}", created_at=at, type="metrics", data=data)


def test_a_result_file_is_read_as_csv_and_in_base64() -> None:
    assert parse_results(CSV.encode()) == STEPS
    assert parse_results(base64.b64encode(CSV.encode())) == STEPS
    assert parse_results(base64.encodebytes(CSV.encode())) == STEPS  # in lines


@given(st.binary(max_size=300))
def test_any_result_file_brings_finite_numbers_or_nothing(content: bytes) -> None:
    for tried in (content, b"step,train_loss\n" + content):
        for step, values in parse_results(tried).items():
            assert isinstance(step, int)
            assert all(math.isfinite(value) for value in values.values())


def test_a_field_beyond_the_parsers_limit_ends_the_reading_without_an_error() -> None:
    assert parse_results(CSV.encode() + b"3," + b"9" * 200_000 + b",,,\n") == STEPS


@given(
    st.dictionaries(
        st.text(max_size=12),
        st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.floats(), st.integers()),
    )
)
def test_only_numbers_are_measures(data: dict[str, Any]) -> None:
    found = measured({**data, "step": 3, "total_steps": 9, "train_loss": 0.5, "valid_loss": float("nan")})
    assert found["loss"] == 0.5
    assert not {"step", "total_steps", "eval_loss", "train_loss"} & (found.keys() - data.keys())
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_events_make_the_same_curves_in_any_order_and_in_any_portions(order: list[int], cut: int) -> None:
    events = [metrics(n, 100 + n, step=n, train_loss=1.0 / n, total_steps=8) for n in order]
    told = Told()
    told.take(events[:cut])
    told.take(events[cut:])
    curves = told.curves(100.0)
    assert curves.total_steps == 8
    assert [(point.step, point.seconds) for point in curves.points] == [(n, float(n)) for n in range(1, 9)]
    assert [point.values for point in curves.points] == [{"loss": 1.0 / n} for n in range(1, 9)]


def test_two_events_of_a_step_are_one_point_and_other_events_none() -> None:
    told = Told()
    message = SimpleNamespace(id="m", created_at=1, type="message", data=None)
    odd = SimpleNamespace(id="o", created_at=1, type="metrics", data=None)
    rewarded = metrics(3, 12, step=5, train_reward_mean=0.7)
    told.take([message, odd, metrics(1, 10, step=5, train_loss=0.4), rewarded])
    (point,) = told.curves(4.0).points
    assert point == (5, 6.0, {"loss": 0.4, "train_reward_mean": 0.7})
    assert told.curves(4.0).total_steps == 0  # nobody said how many there will be


def test_the_best_checkpoint_has_the_least_loss_and_of_equals_is_the_earliest() -> None:
    made = [
        Checkpoint(step, f"ft:{step}", loss) for step, loss in ((30, 0.5), (10, 0.7), (20, 0.5), (40, None))
    ]
    assert best(made) == made[2]
    assert best([made[3]]) is None and best([]) is None
