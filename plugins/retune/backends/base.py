"""What a backend is: a few verbs over a fine-tuning job, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from retune.artifacts import Artifacts
from retune.errors import BackendError
from retune.records import Dataset, Job, JobStatus, Recipe
from retune.settings import Connections, Settings

GROUP = "retune.backends"
# Also reachable where the package is a folder without metadata.
BUILT_IN = {
    "local": "retune.backends.local_jobs:LocalBackend",
    "openai": "retune.backends.openai_jobs:OpenAIBackend",
    "vertex": "retune.backends.vertex_jobs:VertexBackend",
    "ssh": "retune.backends.ssh_jobs:SSHBackend",
    "kubernetes": "retune.backends.kubernetes_jobs:KubernetesBackend",
}


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
"""What a job stays."""


class JobLostError(BackendError):
    """The job ended without a result and may be submitted again under its key at no further cost."""


class TransientError(BackendError):
    """The provider did not answer as it should; nothing was made or changed, and later it may.

    Args:
        problems: As for every RetuneError.
        action: What to do next.
        retry_after_s: How long the provider asks to wait; None where it does not say.
    """

    may_pass = True

    def __init__(self, problems: Any, action: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(problems, action)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> Any:
        return type(self), (self.problems, "", self.retry_after_s)


class InDoubtError(TransientError):
    """A submit was cut off: the provider may have made the job, or may still make it."""


class JobGoneError(TransientError):
    """The provider does not know a job that it had made; it may be a list that lags."""


@dataclass(frozen=True)
class Order:
    """A job to be done: the same order is the same job."""

    key: str
    attempt: int
    recipe: Recipe
    dataset: Dataset

    def handle(self, backend: str, provider_id: str, url: str, place: Mapping[str, str]) -> Job:
        """Return the handle of the job that does it.

        Args:
            backend: Its name.
            provider_id: What the provider calls the job.
            url: Where a person can look at it.
            place: How the backend is reached.
        """
        return Job(
            spec_digest=self.recipe.spec_digest,
            key=self.key,
            backend=backend,
            attempt=self.attempt,
            provider_id=provider_id,
            url=url,
            place=dict(place),
        )


class Point(NamedTuple):
    """What was measured at one step."""

    step: int
    seconds: float
    """Spent training until then."""
    values: Mapping[str, float]
    """Metric -> value, by the names that all backends share: loss, eval_loss, mean_token_accuracy, ..."""


@dataclass(frozen=True)
class View:
    """A job as its backend sees it now."""

    status: JobStatus
    error: str = ""
    """Why it failed: a sentence for people."""
    note: str = ""
    """What else a person should know of it, such as `paused` or what it waits for."""
    seconds: float = 0.0
    """Spent training; final once the job has ended."""
    cost_usd: float | None = None
    """What a job that ended without a model has cost; None where nobody can say: it counts as much as was
    set aside for it."""

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed or was cancelled."""
        return self.status in ENDED


@dataclass(frozen=True)
class Curves:
    """What was measured so far, by step."""

    points: tuple[Point, ...] = ()
    total_steps: int = 0
    """0 while it is not known."""


@dataclass(frozen=True)
class Sighting:
    """A job with an order's key, as the provider lists it."""

    job: Job
    status: JobStatus
    created_at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Estimate:
    """What a job will cost."""

    usd: float | None
    """None where a price is not known."""
    basis: str
    """One line: tokens, epochs, price and its date."""


@dataclass(frozen=True)
class Trained:
    """Where a finished job's model lies."""

    kind: Literal["adapter", "weights", "hosted"]
    digest: str
    uri: str
    cost_usd: float | None = 0.0
    """None where a price is not known."""
    served_as: str = ""
    """What the provider calls a hosted model in a request."""


@dataclass(frozen=True)
class Installation:
    """What a backend may use of the house."""

    settings: Settings
    artifacts: Artifacts
    connections: Connections


class Backend(Protocol):
    """A place that fine-tunes models. Every method may raise BackendError.

    Reads of the provider raise TransientError where asking again may help. Made by
    `factory(installation, place)`, which opens nothing; `place` is a recipe's: connection, region, queue.
    """

    name: str
    """As a recipe's `backend` names it."""
    poll_every_s: float
    """Seconds between two looks at a running job."""
    waits_here: bool
    """Whether the job runs on the worker itself, so that waiting for it frees nothing."""
    settles_within_s: float
    """Longest time until a job that was asked for shows up in `find`: the lag of the provider's list and
    of a request that outlives its time-out. No order is posted twice within it."""

    @property
    def account(self) -> str:
        """Who pays: part of the job's key. Empty where nobody does; free of secrets."""
        ...

    def validate(self, order: Order) -> None:
        """Refuse, before anything is submitted, what the backend would refuse later."""
        ...

    def estimate(self, order: Order) -> Estimate:
        """Say what the job will cost, before anything is submitted."""
        ...

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Start the job and return its handle.

        Args:
            order: The job.
            posting: Must be called right before the one request that may cost money. What comes
                before it, such as uploads, is free and may be repeated.

        Raises:
            InDoubtError: That request was cut off, so that the job may be there.
            TransientError: It was refused for now.
            BackendError: It was refused for good.
        """
        ...

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the jobs that submits of this order left behind, running or ended."""
        ...

    def poll(self, job: Job) -> View:
        """Look at the job once.

        Raises:
            JobLostError: It is gone and costs nothing to repeat.
            JobGoneError: The provider does not know it.
            TransientError: It cannot be said now; also where its status is an unknown word.
        """
        ...

    def curves(self, job: Job) -> Curves:
        """Return all that was measured so far."""
        ...

    def cancel(self, job: Job) -> None:
        """Stop the job for good; does nothing where it has ended."""
        ...

    def fetch(self, job: Job) -> Trained:
        """Store a succeeded job's model and say where it lies."""
        ...


@runtime_checkable
class PollsTogether(Protocol):
    """A backend that can look at many jobs by few requests."""

    async def poll_many(self, jobs: Sequence[Job]) -> Mapping[str, View | BackendError]:
        """Look at the jobs once: key -> what `poll` would return or raise.

        Raises:
            BackendError: Nothing can be said of any of them.
        """
        ...


@runtime_checkable
class Pausable(Protocol):
    """A backend whose jobs can rest and go on."""

    def pause(self, job: Job) -> None:
        """Let the job rest; raises BackendError where it does not run."""
        ...

    def resume(self, job: Job) -> None:
        """Let a resting job go on; raises BackendError where it does not rest."""
        ...


def load_backend(name: str, installation: Installation, place: Mapping[str, str]) -> Backend:
    """Return the backend of that name, built in or from the entry-point group `retune.backends`.

    Args:
        name: As a recipe names it.
        installation: What it may use.
        place: A recipe's or a job's.

    Raises:
        BackendError: No such backend is installed, or it cannot be loaded.
    """
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)} | BUILT_IN
    if name not in found:
        raise BackendError(
            f"no backend is called {name!r}; installed are {', '.join(sorted(found))}",
            f"install the package that brings it (entry point {GROUP})",
        )
    module, _, attribute = found[name].partition(":")
    try:
        make: Callable[[Installation, Mapping[str, str]], Any] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BackendError(f"backend {name!r} cannot be loaded: {error}", "install it again") from error
    backend: Backend = make(installation, place)
    return backend
