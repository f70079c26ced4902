"""The emulator of OpenAI's fine-tuning, put together.

Source: OpenAI's description (https://github.com/openai/openai-openapi, 2.3.0), which its answers can be
held against, and https://developers.openai.com/api/reference/resources/fine_tuning. Neither says what
events tell of a pause, and there is no such status: here a paused job stays `running`, and its last event
is `Fine-tuning job paused`. Not emulated: permissions of checkpoints (an admin's), stored completions,
embeddings.

Fault rules may name the refusals of `openai_errors.py`: `no_key`, `wrong_key`, `no_quota`, `rate_limit`
and `not_eligible`.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from retune.testing.emulators import openai_errors, openai_graders
from retune.testing.emulators.answers import Answers
from retune.testing.emulators.contract import OpenApiContract
from retune.testing.emulators.lifecycle import Phase
from retune.testing.emulators.openai_chat import Chat
from retune.testing.emulators.openai_creation import Creation
from retune.testing.emulators.openai_files import Files
from retune.testing.emulators.openai_jobs import Jobs
from retune.testing.emulators.openai_models import Models
from retune.testing.emulators.openai_training import TrainedCurves, trainings_of
from retune.testing.emulators.openai_work import STATUSES, Job, VirtualCurves, Work
from retune.testing.emulators.server import Call, Emulator, Refused, Route
from retune.testing.emulators.store import Store
from retune.testing.emulators.tending import Tending


class OpenAiEmulator(Emulator):
    """Speaks OpenAI's wire format for models, files, uploads, fine-tuning and chat completions."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        options = self.options.now()
        if options.contract:
            self.contract = OpenApiContract(Path(options.contract))
        self._files = Files(store)
        self._models = Models(store)
        self._trainings = trainings_of(store, options) if options.train_base else None
        curves = TrainedCurves(self._trainings) if self._trainings else VirtualCurves()
        self._work = Work(store, self._files, self._models, curves)
        self._jobs = Jobs(store, Creation(store, self._files, self._models), self._work)
        self._answers = Answers(options.vllm) if options.vllm else None
        adapter = self._trainings.adapter if self._trainings else None
        self._chat = Chat(self._models, self._answers, adapter)
        self._tending = (
            Tending(self._trainings, lambda: self._every(time.time()), self._record, store.add_problem)
            if self._trainings
            else None
        )

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            *self._models.routes(),
            *self._files.routes(),
            *self._jobs.routes(),
            *self._chat.routes(),
            *openai_graders.routes(),
        ]

    def authorise(self, call: Call) -> None:
        """Refuse a request without a key, or with another than the one that the options name."""
        headers = call.request.headers
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            key = headers.get("api-key", "")  # as Azure's clients send it
        if not key:
            raise openai_errors.no_key()
        digest = call.options.api_key_digest
        if digest and sha256(key.encode()).hexdigest() != digest:
            raise openai_errors.wrong_key(key)

    def refusal(self, name: str) -> Refused:
        """Return one of OpenAI's refusals."""
        return openai_errors.named(name)

    def error_body(self, refused: Refused) -> dict[str, Any]:
        """Return an error as OpenAI says it."""
        return openai_errors.body(refused)

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

    def _record(self, job: Job, came: list[Phase]) -> None:
        self._work.record(job, came, time.time(), self.options.now())

    def _every(self, now: float) -> list[Job]:
        with self.store.transaction():
            return [self._work.look(entry, now, self.options.now()) for entry in self.store.all("job")]

    def jobs(self, now: float) -> list[dict[str, Any]]:
        """Return every job ever created, oldest first."""
        jobs, created = self._every(now), self.store.creations()
        bills = self.store.bills()
        return [
            {
                "id": job.id,
                "labels": created[job.id],
                "status": STATUSES[job.life.phase],
                "phase": job.life.phase,
                "survives": job.life.phase not in ("failed", "cancelled"),
                "billed": bills.get(job.id),
            }
            for job in jobs
        ]
