"""The emulator of Vertex AI, put together with the parts of Cloud Storage and of Google's login it needs.

Base URL for google-genai: `HttpOptions(base_url=url)`; for google-cloud-storage: `STORAGE_EMULATOR_HOST`;
for credentials: `vertex_accounts.service_account_key`, or any token where the options name no key.

Fault rules may name the refusals `no_quota` (429), `no_permission` (403) and `unavailable` (503).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from retune.errors import SetupError
from retune.testing.emulators.answers import Answers
from retune.testing.emulators.gcs_objects import Objects
from retune.testing.emulators.gcs_uploads import Uploads
from retune.testing.emulators.server import Call, Emulator, Refused, Route
from retune.testing.emulators.store import Store
from retune.testing.emulators.tending import Tending
from retune.testing.emulators.vertex_accounts import Accounts
from retune.testing.emulators.vertex_contract import GoogleContract
from retune.testing.emulators.vertex_experiments import Experiments
from retune.testing.emulators.vertex_inference import Inference
from retune.testing.emulators.vertex_jobs import Jobs
from retune.testing.emulators.vertex_refusals import storage_body, token_body, vertex_body
from retune.testing.emulators.vertex_training import TrainedCurves, trainings_of
from retune.testing.emulators.vertex_work import Job, VirtualCurves, Work, state_of

_VERTEX, _STORAGE = "aiplatform.googleapis.com", "storage.googleapis.com"
_REFUSALS = {
    "no_quota": (
        429,
        "Quota exceeded for aiplatform.googleapis.com/global_concurrent_tuning_jobs. Please submit a quota"
        " increase request. https://cloud.google.com/vertex-ai/docs/generative-ai/quotas-genai.",
    ),
    "no_permission": (
        403,
        "Permission 'aiplatform.tuningJobs.create' denied on resource (or it may not exist).",
    ),
    "unavailable": (503, "The service is currently unavailable."),
}
# Each request is answered in a task of its own; the shape of an error hangs on whom it asked.
_shape: ContextVar[Callable[[Refused], dict[str, Any]]] = ContextVar("_shape", default=vertex_body)


class VertexEmulator(Emulator):
    """Speaks the wire format of Vertex AI's tuning and inference, of Cloud Storage and of the login."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.contract = GoogleContract()
        self._accounts = Accounts(store)
        self._objects = Objects(store)
        self._uploads = Uploads(store, self._objects)
        options = self.options.now()
        self._trainings = trainings_of(store, options, self._objects) if options.train_base else None
        self._answers = Answers(options.vllm) if options.vllm else None
        adapter = self._trainings.adapter if self._trainings else None
        curves = TrainedCurves(self._trainings) if self._trainings else VirtualCurves()
        self._work = Work(store, self._objects, adapter)
        self._jobs = Jobs(store, self._objects, self._work)
        self._experiments = Experiments(store, self._work, curves)
        self._inference = Inference(store, self._answers, adapter)
        self._tending = (
            Tending(self._trainings, lambda: self._every(time.time()), self._work.record, store.add_problem)
            if self._trainings
            else None
        )

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            *self._accounts.routes(),
            *self._objects.routes(),
            *self._uploads.routes(),
            *self._jobs.routes(),
            *self._experiments.routes(),
            *self._inference.routes(),
        ]

    def authorise(self, call: Call) -> None:
        """Refuse a request without a valid token, but for the login itself."""
        path = call.request.url.path
        if path == "/token":
            _shape.set(token_body)
            return
        storage = "/storage/v1/" in path
        _shape.set(storage_body if storage else vertex_body)
        self._accounts.check(call, _STORAGE if storage else _VERTEX)

    def refusal(self, name: str) -> Refused:
        """Return one of Google's refusals."""
        if name not in _REFUSALS:
            raise SetupError(f"there is no refusal {name!r}", f"known are {', '.join(sorted(_REFUSALS))}")
        return Refused(*_REFUSALS[name])

    def error_body(self, refused: Refused) -> dict[str, Any]:
        """Return an error as the service says it that was asked."""
        return _shape.get()(refused)

    async def start(self) -> None:
        """Tend the trainings, also those that an earlier process began."""
        if self._tending is not None:
            self._tending.start()

    async def stop(self) -> None:
        """Pause the trainings."""
        if self._tending is not None:
            self._tending.stop()
        if self._answers is not None:
            await self._answers.close()

    def _every(self, now: float) -> list[Job]:
        with self.store.transaction():
            return [self._work.look(entry, now, self.options.now()) for entry in self.store.all("job")]

    def jobs(self, now: float) -> list[dict[str, Any]]:
        """Return every job ever created, oldest first."""
        jobs, options = self._every(now), self.options.now()
        created, bills = self.store.creations(), self.store.bills()
        return [
            {
                "id": job.fields["name"],
                "labels": {name: value for name, value in created[job.id].items() if name[0] != "@"},
                "status": state_of(job, now, options),
                "phase": job.life.phase,
                "survives": job.life.phase not in ("failed", "cancelled"),
                "billed": bills.get(job.id),
            }
            for job in jobs
        ]
