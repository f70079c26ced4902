"""A provider that bills for every job, its backend, and what tests do with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from retune.backends.attempts import job_key
from retune.backends.base import (
    Curves,
    Estimate,
    Installation,
    JobGoneError,
    Order,
    Point,
    Sighting,
    Trained,
    View,
)
from retune.backends.jobs import Underway, begin, run_job
from retune.errors import BackendError
from retune.records import Dataset, Job, JobStatus, Model, Recipe
from retune.state import jobs, spending
from tests.tuning import Bench

RUNNING = View(JobStatus.RUNNING)
POINTS = (Point(5, 1.0, {"loss": 2.0}), Point(10, 2.0, {"loss": 1.0}), Point(10, 2.1, {"eval_loss": 1.5}))
SUCCEEDED = View(JobStatus.SUCCEEDED, seconds=2.5)
FAILED = View(JobStatus.FAILED, error="the disk is full -> free space", cost_usd=0.0)


@dataclass
class Provider:
    """A provider that bills for every job it makes and does what it is told."""

    answers: list[View | BaseException] = field(default_factory=lambda: [RUNNING, SUCCEEDED])
    """What polls bring, in order; the last one stays."""
    submits: list[Callable[[], None]] = field(default_factory=list)
    """What happens at each submit after the job was made; nothing where none is left."""
    refusals: list[Exception] = field(default_factory=list)
    """What the first submits bring instead of a job."""
    jobs: dict[str, str] = field(default_factory=dict)
    """Provider's id -> key."""
    lag: int = 0
    """How many looks a new job is missing from the list."""
    cancelled: list[str] = field(default_factory=list)
    """Provider's ids."""
    ended: dict[str, JobStatus] = field(default_factory=dict)
    """Provider's id -> how a poll saw it end."""
    posts: int = 0

    def bill(self) -> list[str]:
        """The keys of the jobs that were made and not cancelled."""
        return [key for name, key in self.jobs.items() if name not in self.cancelled]

    def reset(self) -> None:
        """Forget everything."""
        vars(self).update(vars(Provider()))


provider = Provider()


class BilledBackend:
    """What a third party's package would bring."""

    name = "billed"
    account = "org-1"
    poll_every_s = 0.0
    waits_here = True
    settles_within_s = 0.3

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self.artifacts = installation.artifacts

    def validate(self, order: Order) -> None:
        if order.recipe.hyperparameters["epochs"] > 50:
            raise BackendError("epochs is 51", "choose 50 or fewer")

    def estimate(self, order: Order) -> Estimate:
        return Estimate(1.5, "a flat price")

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        posting()
        provider.posts += 1
        if provider.refusals:
            raise provider.refusals.pop(0)
        return make_job(order)

    def find(self, order: Order) -> list[Sighting]:
        found = [name for name, key in provider.jobs.items() if key == order.key]
        if found and provider.lag > 0:
            provider.lag -= 1
            return []
        known = dict.fromkeys(provider.cancelled, JobStatus.CANCELLED) | provider.ended
        return [Sighting(self.handle(order, name), known.get(name, JobStatus.RUNNING), 1.0) for name in found]

    def poll(self, job: Job) -> View:
        answer = provider.answers.pop(0) if len(provider.answers) > 1 else provider.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if job.provider_id not in provider.jobs:
            raise JobGoneError("404")
        if job.provider_id in provider.cancelled:
            return View(JobStatus.CANCELLED, "cancelled at the provider")
        if answer.ended:
            provider.ended[job.provider_id] = answer.status
        return answer

    def curves(self, job: Job) -> Curves:
        return Curves(POINTS, 10)

    def cancel(self, job: Job) -> None:
        if job.provider_id not in provider.cancelled:
            provider.cancelled.append(job.provider_id)

    def fetch(self, job: Job) -> Trained:
        artifact = self.artifacts.put_bytes(job.key.encode(), "application/octet-stream")
        return Trained("adapter", artifact.digest, artifact.uri, cost_usd=1.5)

    def handle(self, order: Order, name: str) -> Job:
        return Job(
            spec_digest=order.recipe.spec_digest,
            key=order.key,
            backend=self.name,
            attempt=order.attempt,
            provider_id=name,
            url="https://provider.example/job",
        )


def make_job(order: Order) -> Job:
    """Make a job at the provider, as a request does that arrives there."""
    name = f"job-{len(provider.jobs) + 1}"
    provider.jobs[name] = order.key
    if provider.submits:
        provider.submits.pop(0)()
    return BilledBackend.handle(BilledBackend, order, name)  # type: ignore[arg-type]


class Run:
    """Runs the same job again and again, and keeps what was reported."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.dataset = bench.dataset()
        self.recipe = bench.recipe().model_copy(update={"backend": "billed"})
        self.lines: list[str] = []

    def __call__(
        self,
        recipe: Recipe | None = None,
        dataset: Dataset | None = None,
        forced_at: datetime | None = None,
    ) -> Model:
        site = self.bench.site(self.lines.append)
        return run_job(recipe or self.recipe, dataset or self.dataset, site, forced_at=forced_at)

    def row(self, attempt: int = 1) -> jobs.JobRow | None:
        with self.bench.db.read() as tx:
            return jobs.get(tx, job_key(self.dataset, self.recipe, "billed", "org-1", attempt))


def started(run: Run) -> Underway:
    """Place the job, and wait no further."""
    found = begin(run.recipe, run.dataset, run.bench.site(run.lines.append))
    assert isinstance(found, Underway)
    return found


def row_of(run: Run, attempt: int = 1) -> jobs.JobRow:
    row = run.row(attempt)
    assert row is not None
    return row


def money(run: Run) -> spending.Spent:
    with run.bench.db.read() as tx:
        return spending.spent(tx, "tiny", datetime.now(UTC))


def crash() -> None:
    raise KeyboardInterrupt


def wait_until(moment: datetime) -> None:
    while datetime.now(UTC) <= moment:
        time.sleep(0.001)
