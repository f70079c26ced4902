"""What training on hardware by the hour costs: the worker, a host by SSH, a cluster."""

from __future__ import annotations

from collections.abc import Mapping

from retune.backends.base import Estimate
from retune.prices import OWN_PRICES, dated, load_prices
from retune.settings import Settings


def estimate(settings: Settings, backend: str, place: Mapping[str, str]) -> Estimate:
    """Say what a job on hardware by the hour will cost: how long it takes is not known before."""
    price = load_prices(settings).hour(backend, place.get("queue", ""))
    if price is None:
        return Estimate(None, f"{backend}: the price of an hour is not known; put it into {OWN_PRICES}")
    basis = f"{backend}: {price.usd_per_hour} USD an hour on {price.as_of} ({price.source})"
    return Estimate(0.0 if price.usd_per_hour == 0 else None, dated(basis, price))


def cost(settings: Settings, backend: str, place: Mapping[str, str], seconds: float) -> float | None:
    """Return the US dollars of an ended job, or None where no price is known.

    Args:
        settings: Where the project's prices lie.
        backend: Who trained it.
        place: The job's; its `gpus` counts, as the price is of one.
        seconds: Spent training.
    """
    price = load_prices(settings).hour(backend, place.get("queue", ""))
    return None if price is None else price.cost(seconds) * max(int(place.get("gpus", "1")), 1)
