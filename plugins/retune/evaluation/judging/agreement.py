"""How far those who judge agree with one another."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from retune.stats.intervals import wilson


@dataclass(frozen=True)
class Agreement:
    """How often one said what another said of the same things.

    Attributes:
        same: How often both said the same.
        n: Things that were judged.
        low: Lower end of the share's interval.
        high: Its upper end.
        kappa: Cohen's: 0 is chance, 1 is one mind; None where all said one thing, which leaves no chance.
    """

    same: int
    n: int
    low: float
    high: float
    kappa: float | None

    @property
    def share(self) -> float:
        """Share of the things of which both said the same."""
        return self.same / self.n


def agreement(said: Sequence[str], meant: Sequence[str], confidence: float) -> Agreement:
    """Return how often two agree.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales", Educational and Psychological
    Measurement 20:37-46, by statsmodels; the interval is Wilson's.

    Args:
        said: What the one said, at least one thing.
        meant: What the other said of the same, in order.
        confidence: Two-sided coverage.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    words = sorted({*said, *meant})
    counts = Counter(zip(said, meant, strict=True))
    table = [[counts[row, column] for column in words] for row in words]
    same = sum(counts[word, word] for word in words)
    low, high = wilson(same, len(said), confidence)
    kappa = _finite(lambda: cohens_kappa(_array(table), return_results=False))
    return Agreement(same, len(said), low, high, kappa)


def among(ratings: Sequence[Sequence[str]]) -> tuple[float | None, float | None]:
    """Return how far several agree: the share of equal votes, and Fleiss' kappa.

    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters", Psychological Bulletin
    76:378-382, by statsmodels. It wants as many votes on each thing: those with the most are taken.

    Args:
        ratings: What was said of each thing, one entry a voter.

    Returns:
        Of two votes on the same thing the share that are equal, None where nothing has two; and kappa,
        None where it has no meaning.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa

    shared = [Counter(votes) for votes in ratings if len(votes) > 1]
    if not shared:
        return None, None
    equal = sum(count * (count - 1) for votes in shared for count in votes.values())
    share = equal / sum(votes.total() * (votes.total() - 1) for votes in shared)
    most = max(votes.total() for votes in shared)
    words = sorted(set().union(*shared))
    table = [[votes[word] for word in words] for votes in shared if votes.total() == most]
    return share, _finite(lambda: fleiss_kappa(_array(table)))


def _array(table: list[list[int]]) -> Any:
    import numpy as np

    return np.array(table)


def _finite(figure: Callable[[], Any]) -> float | None:
    """Return a figure; None where it is no number, as kappa where all said the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = float(figure())
    return found if isfinite(found) else None
