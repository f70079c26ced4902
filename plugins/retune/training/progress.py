"""What the trainer says while it works."""

from __future__ import annotations

import math
import time
from typing import Any

from retune.errors import BackendError
from retune.training.job import JobFolder

_MEASURES = (
    "loss",
    "eval_loss",
    "learning_rate",
    "grad_norm",
    "eval_mean_token_accuracy",
    "eval_preference_accuracy",
)


class Stopwatch:
    """Seconds spent on a job, over all restarts.

    Args:
        folder: Its progress says what earlier processes spent.
    """

    def __init__(self, folder: JobFolder) -> None:
        earlier = folder.read_progress()
        self._spent = float(earlier[-1]["seconds"]) if earlier else 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent until now."""
        return round(self._spent + time.monotonic() - self._started, 3)


def writer(folder: JobFolder, stopwatch: Stopwatch) -> Any:
    """Return a callback that writes progress.jsonl and stops at the first loss that is no number."""
    from transformers import TrainerCallback

    class ProgressWriter(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            shown = {name: float(given["logs"][name]) for name in _MEASURES if name in given["logs"]}
            for name in ("loss", "eval_loss"):
                if not math.isfinite(shown.get(name, 0.0)):
                    raise BackendError(
                        f"{name} became {shown[name]} at step {state.global_step}",
                        "lower the learning rate, or look for damaged rows",
                    )
            if not state.is_world_process_zero or not shown.keys() & {"loss", "eval_loss"}:
                return
            folder.append_progress(
                {
                    "step": state.global_step,
                    "total_steps": state.max_steps,
                    "epoch": round(float(state.epoch or 0), 4),
                    "seconds": stopwatch.seconds,
                    **{name: value for name, value in shown.items() if math.isfinite(value)},
                }
            )

    return ProgressWriter()
