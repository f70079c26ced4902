"""Fine-tuning at OpenAI, Azure (its v1 API), or a service with the same API.

API: https://platform.openai.com/docs/api-reference/fine-tuning. A job carries its key in `metadata`, by
which it is found again. At a service that keeps no metadata that cannot be: there a submit whose answer
is lost makes a second job, and a warning says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from retune.artifacts import digest_of_json
from retune.backends import openai_money
from retune.backends.base import (
    ENDED,
    Curves,
    Estimate,
    Installation,
    Order,
    Sighting,
    Trained,
    TransientError,
    View,
)
from retune.backends.openai_checks import check_order
from retune.backends.openai_client import Account, every, given
from retune.backends.openai_curves import Checkpoint, Told, best, is_paused, read_checkpoints, read_curves
from retune.backends.openai_files import Side, file_for, lines_of, rows_of
from retune.backends.openai_polls import gone, poll_many, status_of, view_of
from retune.backends.openai_refusals import NotThereError, RefusedError, Service, asked, posted
from retune.errors import BackendError
from retune.prices import load_prices
from retune.records import Job, JobStatus

if TYPE_CHECKING:
    from openai.resources.fine_tuning.jobs import Jobs
    from openai.types.fine_tuning import FineTuningJob

CONNECTION = "openai_default"
KEY = "retune_key"
_CHECKPOINT = "retune_checkpoint"
_METHODS = {"sft": "supervised", "dpo": "dpo", "reinforcement": "reinforcement"}
_HYPERPARAMETERS = {
    "epochs": "n_epochs",
    "batch_size": "batch_size",
    "learning_rate_multiplier": "learning_rate_multiplier",
    "beta": "beta",
    "reasoning_effort": "reasoning_effort",
}
_CREATE_WITHIN_S = 30.0
_MOST_SEED = 2**31 - 1
_FIND_PAGES = 100
"""Pages that `find` reads of a service that ignores the filter: its newest 10,000 jobs."""

Found = TypeVar("Found")
_log = logging.getLogger(__name__)


class OpenAIBackend:
    """Submits, finds, follows and fetches jobs of one account.

    Args:
        installation: What it may use of the house.
        place: The recipe's: `connection`.
        clock: Tells the time; for tests.
        strict: Refuse answers that are not as the SDK describes them; for tests.
    """

    name = "openai"
    poll_every_s = 10.0
    waits_here = False

    def __init__(
        self,
        installation: Installation,
        place: Mapping[str, str],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        strict: bool = False,
    ) -> None:
        self.settles_within_s = installation.settings.settle_s
        self._installation = installation
        self._place = dict(place)
        self._clock = clock
        self._strict = strict
        self._opened: Account | None = None
        self._told: dict[str, Told] = {}

    @property
    def account(self) -> str:
        """Host, organisation and project."""
        return self._account.name

    def validate(self, order: Order) -> None:
        """Refuse rows, a base model or a grader that the service would refuse, all problems together."""
        house = self._installation
        check_order(order, self._account, house.artifacts, house.settings, self._clock().date())

    def estimate(self, order: Order) -> Estimate:
        """Say what the job will cost: tokens x epochs x price."""
        house = self._installation
        return openai_money.estimate(
            order,
            self._account.service,
            load_prices(house.settings),
            house.artifacts,
            house.settings.project,
        )

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Upload the rows, unless they are there already, and create the job."""
        recipe, artifacts = order.recipe, self._installation.artifacts
        sides: dict[str, Side] = {"training_file": "train", "validation_file": "validation"}
        files = {
            name: file_for(lines_of(rows_of(order, side, artifacts), recipe.method), self._account)
            for name, side in sides.items()
        }
        request = request_of(order) | files
        # Far below the time for which a job is looked for.
        within_s = min(_CREATE_WITHIN_S, max(1.0, self.settles_within_s / 4))
        posting()
        job = posted(self._account.service, lambda: self._jobs.create(**request, timeout=within_s))
        if (job.metadata or {}).get(KEY) != order.key:
            _log.warning("%s keeps no metadata: a submit that is cut off makes a second job", self.account)
        return self._handle(order, job.id)

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the jobs that carry the order's key."""

        def page(after: str) -> Any:
            return self._jobs.list(metadata={KEY: order.key}, **given(after))

        # Filtered again: a compatible service may ignore the filter.
        return [
            Sighting(self._handle(order, job.id), status_of(job), float(job.created_at))
            for job in every(self._account.service, page, _FIND_PAGES)
            if (job.metadata or {}).get(KEY) == order.key
        ]

    def poll(self, job: Job) -> View:
        """Look at the job; that it rests is told by its events."""
        view = view_of(self._retrieved(job), self._account.service)
        if view.status is JobStatus.RUNNING and not view.note and is_paused(job.provider_id, self._account):
            return View(view.status, note="paused")
        return view

    async def poll_many(self, jobs: Sequence[Job]) -> Mapping[str, View | BackendError]:
        """Look at many jobs by list calls."""
        # The connection is read outside of the event loop: Airflow asks its server for it.
        return await poll_many(jobs, await asyncio.to_thread(lambda: self._account))

    def curves(self, job: Job) -> Curves:
        """Return what its events and its result file say."""
        told = self._told.setdefault(job.provider_id, Told())
        return read_curves(self._retrieved(job), told, self._account)

    def checkpoints(self, job: Job) -> tuple[Checkpoint, ...]:
        """Return the models that the service kept on the job's way, by step."""
        return read_checkpoints(self._retrieved(job).id, self._account)

    def cancel(self, job: Job) -> None:
        """Stop the job for good; does nothing where it has ended."""
        self._change(job, self._jobs.cancel, lambda found: status_of(found) in ENDED)

    def pause(self, job: Job) -> None:
        """Let the job rest; raises BackendError where it does not run."""
        self._change(job, self._jobs.pause)

    def resume(self, job: Job) -> None:
        """Let a resting job go on; raises BackendError where it does not rest."""
        self._change(job, self._jobs.resume)

    def fetch(self, job: Job) -> Trained:
        """Return a succeeded job's model, or the checkpoint that its recipe chose.

        Where `checkpoint: best` was asked for and no checkpoint tells a validation loss, it is the last.
        """
        found = self._retrieved(job)
        if found.status != "succeeded" or not found.fine_tuned_model:
            raise TransientError(f"job {found.id} has no model: it is {found.status}", "wait for its end")
        model = found.fine_tuned_model
        if (found.metadata or {}).get(_CHECKPOINT) == "best":
            chosen = best(read_checkpoints(found.id, self._account))
            model = chosen.model if chosen else model
        kind = found.method.type if found.method else "supervised"
        method = next((ours for ours, theirs in _METHODS.items() if theirs == kind), kind)
        return Trained(
            kind="hosted",
            digest=digest_of_json({"account": self.account, "job": found.id, "model": model}),
            uri=f"openai:{model}",
            cost_usd=openai_money.cost_of(
                found, method, self._account.service, load_prices(self._installation.settings)
            ),
            served_as=model,
        )

    @property
    def _account(self) -> Account:
        if self._opened is None:
            connection = self._place.get("connection") or CONNECTION
            reached = self._installation.connections.openai(connection)
            self._opened = Account(Service(reached, connection), self._strict)
        return self._opened

    @property
    def _jobs(self) -> Jobs:
        return self._account.client.fine_tuning.jobs

    def _retrieved(self, job: Job) -> FineTuningJob:
        service = self._account.service
        return self._about(job, lambda: asked(service, lambda: self._jobs.retrieve(job.provider_id)))

    def _about(self, job: Job, read: Callable[[], Found]) -> Found:
        """Return what is read of a job; raises JobGoneError where the service does not know it."""
        try:
            return read()
        except NotThereError:
            problem = gone(job.provider_id, self._account.service)
        raise problem

    def _change(
        self, job: Job, verb: Callable[[str], Any], done: Callable[[FineTuningJob], bool] = lambda _: False
    ) -> None:
        """Change a job; where that is refused and the job is `done` already, it is well."""
        try:
            self._about(job, lambda: asked(self._account.service, lambda: verb(job.provider_id)))
        except (RefusedError, TransientError):
            if not done(self._retrieved(job)):
                raise

    def _handle(self, order: Order, provider_id: str) -> Job:
        service = self._account.service
        own_page = f"{service.address}/fine_tuning/jobs/{provider_id}"
        return order.handle(
            self.name,
            provider_id,
            f"https://platform.openai.com/finetune/{provider_id}" if service.is_openai else own_page,
            self._place,
        )


def request_of(order: Order) -> dict[str, Any]:
    """Return the body of an order's `POST /fine_tuning/jobs`, without its files."""
    recipe, wanted = order.recipe, order.recipe.hyperparameters
    method: dict[str, Any] = {
        "hyperparameters": {
            theirs: wanted[ours] for ours, theirs in _HYPERPARAMETERS.items() if wanted.get(ours)
        }
    }
    if wanted.get("grader"):
        method["grader"] = wanted["grader"]
    kind = _METHODS[recipe.method]
    request: dict[str, Any] = {
        "model": recipe.base_model,
        "method": {"type": kind, kind: method},
        "seed": recipe.seed % (_MOST_SEED + 1),
        "metadata": {
            KEY: order.key,
            "retune_pipeline": order.dataset.pipeline,
            "retune_attempt": str(order.attempt),
            _CHECKPOINT: wanted.get("checkpoint") or "last",
        },
    }
    if wanted.get("suffix"):
        request["suffix"] = wanted["suffix"]
    return request
