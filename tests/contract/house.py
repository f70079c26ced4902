"""What the shared contract tests need of a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retune.artifacts import Artifacts
from retune.backends.base import Backend, Order


@dataclass(frozen=True)
class House:
    """A backend with orders to try it on."""

    connect: Callable[[], Backend]
    """A new instance, as another process would make it."""
    artifacts: Artifacts
    good: Order
    """Ends within a minute."""
    long: Order
    """Would run for many minutes."""
    refused: Order
    """The backend must refuse it before it costs anything."""
    failing: Order
    """Is accepted, and fails."""
