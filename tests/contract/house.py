"""What the shared contract tests need of a backend, and how tests wait for a job of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from retune.artifacts import Artifacts
from retune.backends.base import Backend, Order, View
from retune.records import Job

WITHIN_S = 60.0
"""How long the job of an emulator may take on a busy machine."""


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


def until(backend: Backend, job: Job, reached: Callable[[View], bool]) -> View:
    """Poll a job of an emulator until it has come so far."""
    deadline = time.monotonic() + WITHIN_S
    while not reached(view := backend.poll(job)):
        assert time.monotonic() < deadline, f"still {view}"
        time.sleep(0.02)
    return view


def ended(backend: Backend, job: Job) -> View:
    """Poll a job of an emulator until it has ended."""
    return until(backend, job, lambda view: view.ended)
