"""Tuning of Gemini and open models on Vertex AI, which its pages now call Gemini Enterprise Agent Platform.

Jobs are `projects.locations.tuningJobs` of aiplatform v1beta1, reached through google-genai's
`client.tunings`. A job carries its key in a label, by which it is found again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from retune.artifacts import digest_of_json
from retune.backends import vertex_costs
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
from retune.backends.vertex_client import PAGE, VertexClient
from retune.backends.vertex_curves import best_checkpoint, curves_of
from retune.backends.vertex_requests import (
    KEY,
    carries,
    config_of,
    label_of,
    problems_of_recipe,
    wants_best,
)
from retune.backends.vertex_rows import problems_of, put_rows
from retune.backends.vertex_states import state_of, status_of, view_of
from retune.errors import BackendError
from retune.records import Job, JobStatus

if TYPE_CHECKING:
    from google.genai import types

_MOST_SUBMIT_S = 60.0
_AT_ONCE = 8
_CONSOLE = "https://console.cloud.google.com/vertex-ai/generative/language"
"""As google-genai links to a job."""


class VertexBackend:
    """Tunes in one project and region.

    What happens where it cannot be known whether a job was made is the house's rule, see `posting`.
    """

    name = "vertex"
    poll_every_s = 30.0
    waits_here = False

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self._artifacts = installation.artifacts
        self._settings = installation.settings
        self._place = dict(place)
        self._client = VertexClient(installation.connections, place)

    @property
    def settles_within_s(self) -> float:
        """As the installation says."""
        return self._settings.settle_s

    @property
    def account(self) -> str:
        """The project that pays, and the region."""
        return f"{self._client.account.project}/{self._client.location}"

    def validate(self, order: Order) -> None:
        """Refuse rows and hyperparameters that Vertex AI would refuse; lists all problems."""
        problems = [*problems_of_recipe(order, self._client.bucket)]
        problems += problems_of(order, self._artifacts, self._settings)
        if problems:
            raise BackendError(problems)

    def estimate(self, order: Order) -> Estimate:
        """Say what the job will cost: tokens x epochs x price."""
        return vertex_costs.estimate(order, self._artifacts, self._settings)

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Bring the rows into the bucket and make the tuning job."""
        rows = put_rows(order, self._client, self._artifacts)
        config = config_of(order, rows["validation"], self._client.bucket)
        # A late answer must not be waited for until others may post the order again.
        timeout_s = min(_MOST_SUBMIT_S, max(1.0, self.settles_within_s / 2))
        made = self._client.create(order.recipe.base_model, rows["train"], config, posting, timeout_s)
        return self._handle(order, made)

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the jobs that carry the order's key."""
        pages = self._client.pages(f'labels.{KEY}="{label_of(order.key)}"')
        return [
            Sighting(
                self._handle(order, job),
                # A job in an unknown state is there all the same.
                status_of(job) or JobStatus.RUNNING,
                job.create_time.timestamp() if job.create_time else 0.0,
            )
            for job in chain.from_iterable(pages)
            if carries(job, order.key)
        ]

    def poll(self, job: Job) -> View:
        """Look at the job once."""
        return self._view(self._client.get(job.provider_id))

    async def poll_many(self, jobs: Sequence[Job]) -> Mapping[str, View | BackendError]:
        """Look at the jobs by lists; those that lists do not show soon are read one by one.

        In threads: the SDK takes 80 ms to read a page of 100 jobs, for which an event loop cannot stop.
        """
        answers = await asyncio.to_thread(self._listed, jobs) if len(jobs) > 1 else {}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(job: Job) -> View | BackendError:
            async with slots:
                try:
                    return await asyncio.to_thread(self.poll, job)
                except BackendError as error:
                    return error

        rest = [job for job in jobs if job.key not in answers]
        found = await asyncio.gather(*(one(job) for job in rest))
        return answers | {job.key: answer for job, answer in zip(rest, found, strict=True)}

    def _listed(self, jobs: Sequence[Job]) -> dict[str, View | BackendError]:
        """Return what lists say of the jobs; lists go back for years, so not all their pages are read."""
        wanted = {_number(job.provider_id): job.key for job in jobs}
        answers: dict[str, View | BackendError] = {}
        for page in islice(self._client.pages(f"labels.{KEY}:*"), 2 + 2 * len(wanted) // PAGE):
            for found in page:
                if key := wanted.pop(_number(found.name or ""), ""):
                    answers[key] = self._answer(found)
            if not wanted:
                break
        return answers

    def curves(self, job: Job) -> Curves:
        """Return what Vertex AI has measured so far."""
        return curves_of(self._client.get(job.provider_id), self._client)

    def cancel(self, job: Job) -> None:
        """End the job; does nothing where it has ended, also meanwhile."""
        if self._has_ended(job):
            return
        try:
            self._client.cancel(job.provider_id)
        except TransientError:
            raise
        except BackendError:
            if not self._has_ended(job):
                raise

    def fetch(self, job: Job) -> Trained:
        """Say where the model is: the endpoint of the checkpoint that the recipe asked for.

        Of an open model it is the folder that Vertex AI wrote, which somebody has to deploy. Where no
        validation loss was measured, the best checkpoint is the one that Vertex AI takes by default.
        """
        done = self._client.get(job.provider_id)
        model = done.tuned_model
        if status_of(done) is not JobStatus.SUCCEEDED or model is None:
            raise BackendError(f"{job.provider_id} has no model: it is {state_of(done)}", f"see {job.url}")
        endpoint = model.endpoint or ""
        if wants_best(done) and model.checkpoints:
            best = best_checkpoint(model.checkpoints, curves_of(done, self._client).points)
            endpoint = (best.endpoint if best else "") or endpoint
        place = endpoint or done.output_uri or model.model or ""
        return Trained(
            kind="hosted",
            digest=digest_of_json({"job": done.name, "model": model.model, "place": place}),
            uri=f"vertex:{place}",
            cost_usd=vertex_costs.cost(done, self._settings),
            served_as=endpoint,
        )

    def _has_ended(self, job: Job) -> bool:
        return status_of(self._client.get(job.provider_id)) in ENDED

    def _answer(self, job: types.TuningJob) -> View | BackendError:
        try:
            return self._view(job)
        except BackendError as error:
            return error

    def _view(self, job: types.TuningJob) -> View:
        return view_of(job, self._client.where(job.base_model or ""), time.time())

    def _handle(self, order: Order, job: types.TuningJob) -> Job:
        name = str(job.name)
        console = f"{_CONSOLE}/locations/{self._client.location}/tuning/tuningJob/{_number(name)}"
        return order.handle(self.name, name, f"{console}?project={self._client.account.project}", self._place)


def _number(name: str) -> str:
    """Return a job's number; before it a name may have the project's number or its ID."""
    return name.rpartition("/")[2]
