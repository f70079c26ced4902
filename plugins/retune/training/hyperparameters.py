"""The hyperparameters of a job: their defaults, and what is refused before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from retune.errors import BackendError, Problem

TUNINGS = ("lora", "qlora", "full")
LORA: dict[str, Any] = {"r": 16, "alpha": 32, "dropout": 0.0}
DEFAULTS: dict[str, Any] = {
    "epochs": 3,
    "learning_rate": 2e-4,
    "batch_size": 8,
    "max_length": 1024,
    "patience": 3,
    "tuning": "lora",
    "packing": False,
    "gradient_accumulation": 1,
    "beta": 0.1,
    "lora": LORA,
}
"""What a job that leaves a hyperparameter out is trained with."""


@dataclass(frozen=True)
class Hyperparameters:
    """How a job is trained.

    Attributes:
        epochs: Passes over the training side.
        learning_rate: The highest, after the warm-up.
        batch_size: Rows (pairs for DPO, packed rows where they are packed) a process and step.
        max_length: Tokens that a conversation may have, and that a packed row is filled up to.
        patience: Validations without a better loss after which the training stops.
        tuning: lora, qlora (the base in 4 bits; needs CUDA and bitsandbytes) or full.
        packing: Several short conversations go into one row; none sees another.
        gradient_accumulation: Batches whose gradients make one step.
        beta: DPO only: how dear it is to move away from the starting model.
        r: Rank of the adapter.
        alpha: Its scale is alpha / r.
        dropout: Of the adapter's input.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    patience: int
    tuning: str
    packing: bool
    gradient_accumulation: int
    beta: float
    r: int
    alpha: float
    dropout: float


def read(given: Mapping[str, Any]) -> Hyperparameters:
    """Return a job's hyperparameters, with the defaults where it is silent.

    Args:
        given: What `job.json` holds.

    Raises:
        BackendError: Lists all that are unknown or out of range.
    """
    values = DEFAULTS | dict(given)
    nested = values.pop("lora")
    nested = nested if isinstance(nested, Mapping) else {"lora": nested}
    values = values | LORA | dict(nested)
    problems = [
        Problem(f"hyperparameter {name} is {values[name]!r}", f"give {wanted}")
        for name, (wanted, is_good) in _RULES.items()
        if not is_good(values[name])
    ]
    if unknown := sorted(values.keys() - _RULES.keys()):
        problems.append(
            Problem(
                f"unknown hyperparameters: {', '.join(unknown)}", f"known are {', '.join(sorted(_RULES))}"
            )
        )
    if problems:
        raise BackendError(problems)
    return Hyperparameters(**values)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(least: float, most: float) -> Callable[[Any], bool]:
    def is_good(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and least <= value <= most

    return is_good


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "epochs": ("a whole number from 1", _whole),
    "learning_rate": ("a number from 0 to 1", _number(0, 1)),
    "batch_size": ("a whole number from 1", _whole),
    "max_length": ("a whole number from 1", _whole),
    "patience": ("a whole number from 1", _whole),
    "tuning": (f"one of {', '.join(TUNINGS)}", lambda value: value in TUNINGS),
    "packing": ("true or false", lambda value: isinstance(value, bool)),
    "gradient_accumulation": ("a whole number from 1", _whole),
    "beta": ("a number from 0.001 to 10", _number(0.001, 10)),
    "r": ("a whole number from 1", _whole),
    "alpha": ("a number from 0.001 to 100,000", _number(0.001, 1e5)),
    "dropout": ("a number from 0 to 0.9", _number(0, 0.9)),
}
