"""Hyperparameters: defaults for what is left out, and every problem of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from retune.errors import BackendError
from retune.training.hyperparameters import DEFAULTS, read

OLD = {
    "lora": {"r": 8, "alpha": 16, "dropout": 0.1},
    "epochs": 5,
    "learning_rate": 0.005,
    "batch_size": 16,
    "max_length": 160,
    "patience": 2,
}


def test_a_job_of_an_older_version_is_read_as_it_was_meant() -> None:
    found = read(OLD)
    assert (found.r, found.alpha, found.dropout, found.epochs, found.max_length) == (8, 16, 0.1, 5, 160)
    assert (found.tuning, found.packing, found.gradient_accumulation) == ("lora", False, 1)


def test_what_is_left_out_has_its_default() -> None:
    assert read({}) == read(DEFAULTS)
    assert read({"lora": {"r": 4}}).alpha == DEFAULTS["lora"]["alpha"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", True),
        ("learning_rate", float("nan")),
        ("learning_rate", "high"),
        ("batch_size", 1.5),
        ("tuning", "prefix"),
        ("packing", "yes"),
        ("beta", 0),
        ("lora", {"dropout": 1.0}),
        ("lora", 16),
        ("epoch", 3),
    ],
)
def test_what_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(BackendError, match="hyperparameter"):
        read({name: value})


def test_all_problems_are_listed_together() -> None:
    with pytest.raises(BackendError) as caught:
        read({"epochs": -1, "tuning": "magic", "quantum": 1})
    assert len(caught.value.problems) == 3
