"""What a backend is: five verbs over a fine-tuning job, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, Protocol

from retune.artifacts import Artifacts
from retune.errors import BackendError
from retune.records import Dataset, Job, JobStatus, Recipe
from retune.settings import Settings

GROUP = "retune.backends"
# Also reachable where the package is a folder without metadata.
_BUILT_IN = {"local": "retune.backends.local_jobs:LocalBackend"}


class JobLostError(BackendError):
    """The job ended without a result and may be submitted again under its key at no further cost."""


@dataclass(frozen=True)
class Order:
    """A job to be done: the same order is the same job."""

    key: str
    attempt: int
    recipe: Recipe
    dataset: Dataset


class Point(NamedTuple):
    """What was measured at one step."""

    step: int
    seconds: float
    """Spent training until then."""
    values: Mapping[str, float]
    """Metric -> value: loss, eval_loss, ..."""


@dataclass(frozen=True)
class View:
    """A job as its backend sees it now."""

    status: JobStatus
    points: tuple[Point, ...] = ()
    """All that was measured so far, by step."""
    total_steps: int = 0
    """0 while it is not known."""
    seconds: float = 0.0
    """Spent training; final once the job has ended."""
    error: str = ""
    """Why it failed: a sentence for people."""


@dataclass(frozen=True)
class Trained:
    """Where a finished job's model lies."""

    kind: Literal["adapter", "weights", "hosted"]
    digest: str
    uri: str
    cost_usd: float = 0.0


class Backend(Protocol):
    """A place that fine-tunes models. Every method may raise BackendError."""

    name: str
    """As a recipe's `backend` names it."""
    poll_every_s: float
    """Seconds between two looks at a running job."""

    @property
    def account(self) -> str:
        """Who pays: part of the job's key. Empty where nobody does."""
        ...

    def validate(self, order: Order) -> None:
        """Refuse, before anything is submitted, what the backend would refuse later."""
        ...

    def submit(self, order: Order) -> Job:
        """Start the job and return its handle."""
        ...

    def find(self, order: Order) -> Job | None:
        """Return the job that an earlier submit of this order left behind, running or ended."""
        ...

    def poll(self, job: Job) -> View:
        """Look at the job once; raises JobLostError where it is gone and costs nothing to repeat."""
        ...

    def cancel(self, job: Job) -> None:
        """Stop the job for good; does nothing where it has ended."""
        ...

    def fetch(self, job: Job) -> Trained:
        """Store a succeeded job's model and say where it lies."""
        ...


def load_backend(name: str, settings: Settings, artifacts: Artifacts) -> Backend:
    """Return the backend of that name, built in or from the entry-point group `retune.backends`.

    Raises:
        BackendError: No such backend is installed, or it cannot be loaded.
    """
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)} | _BUILT_IN
    if name not in found:
        raise BackendError(
            f"no backend is called {name!r}; installed are {', '.join(sorted(found))}",
            f"install the package that brings it (entry point {GROUP})",
        )
    module, _, attribute = found[name].partition(":")
    try:
        make: Callable[[Settings, Artifacts], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BackendError(f"backend {name!r} cannot be loaded: {error}", "install it again") from error
    backend: Backend = make(settings, artifacts)
    return backend
