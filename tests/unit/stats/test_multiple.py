"""Holm's adjustment agrees with statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from retune.stats.multiple import holm


@pytest.mark.parametrize("tests", [1, 2, 9, 77])
def test_holm_agrees_with_statsmodels(tests: int) -> None:
    p_values = np.random.default_rng(tests).beta(0.3, 1, tests).round(2).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert len(adjusted) == len(p_values)
    assert all(value <= raised <= 1 for value, raised in zip(p_values, adjusted, strict=True))
    ranked = sorted(range(len(p_values)), key=lambda at: p_values[at])
    assert [adjusted[at] for at in ranked] == sorted(adjusted)


def test_holm_refuses_what_is_no_p_value() -> None:
    with pytest.raises(ValueError, match="not \\[1.2, nan\\]"):
        holm([0.5, 1.2, float("nan")])
