"""What recipes will cost, said before anything is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from retune.backends.attempts import current
from retune.backends.base import Estimate, load_backend
from retune.backends.jobs import Site
from retune.records import Dataset, Recipe
from retune.state import spending


def estimate_costs(
    recipes: Sequence[Recipe], dataset: Dataset, site: Site, forced_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Say what recipes will cost before anything is submitted, as plain JSON.

    Args:
        recipes: What to train, resolved.
        dataset: What to train it on.
        site: This installation.
        forced_at: As `begin` takes it.

    Returns:
        For each recipe `{"title", "usd", "basis"}`; `usd` is None where a price is not known, and 0
        where the job was placed before, or its money set aside.

    Raises:
        BackendError: A backend cannot say it.
    """
    costs = []
    for recipe in recipes:
        backend = load_backend(recipe.backend, site.installation, recipe.place)
        artifacts = site.installation.artifacts
        order, row = current(recipe, dataset, backend, site.db, artifacts, lambda _: None, forced_at)
        if row is not None and (row.job is not None or row.posted_at is not None):
            done = "made its model before" if row.model else "is under way"
            estimate = Estimate(0.0, f"the same job {done}")
        elif _is_aside(order.key, site):
            estimate = Estimate(0.0, "the same job's money was set aside before")
        else:
            estimate = backend.estimate(order)
        costs.append({"title": recipe.title, "usd": estimate.usd, "basis": estimate.basis})
    return costs


def _is_aside(key: str, site: Site) -> bool:
    with site.db.read() as tx:
        return spending.get(tx, key) is not None
