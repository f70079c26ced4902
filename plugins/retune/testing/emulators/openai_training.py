"""OpenAI's jobs in the terms of Retune's trainer, and its curves in OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from retune.errors import BackendError
from retune.testing.emulators.curves import Step
from retune.testing.emulators.openai_work import Job
from retune.testing.emulators.options import Options
from retune.testing.emulators.store import Store
from retune.testing.emulators.training import Lesson, Trainings, defaults, jsonl


def trainings_of(store: Store, options: Options) -> Trainings[Job]:
    """Return the trainings of an emulator's jobs."""

    def lesson(job: Job) -> Lesson:
        return lesson_of(job, store, options)

    return Trainings(store.folder, options, lesson, failure)


def failure(message: str) -> dict[str, Any]:
    """Return the error of a job whose training failed."""
    return {"code": "server_error", "message": message, "param": None}


def lesson_of(job: Job, store: Store, options: Options) -> Lesson:
    """Return what a job trains on.

    Raises:
        BackendError: The trainer does not know the job's method.
    """
    method = job.fields["method"]["type"]
    if method == "reinforcement":
        raise BackendError("this emulator does not train by reinforcement", "use supervised or dpo")
    given, rate = job.resolved, defaults(options)["learning_rate"]
    hyperparameters = {
        "epochs": given["n_epochs"],
        "batch_size": given["batch_size"],
        "learning_rate": rate * given["learning_rate_multiplier"],
    }
    if isinstance(given.get("beta"), int | float):
        hyperparameters["beta"] = given["beta"]
    sides = [job.fields["training_file"], job.fields["validation_file"]]
    train, validation = (_rows(store.read_file(name), method) if name else b"" for name in sides)
    return Lesson(train, validation, hyperparameters, job.fields["seed"], "dpo" if method == "dpo" else "sft")


def _rows(data: bytes, method: str) -> bytes:
    """Return a training file as the trainer reads it."""
    rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    if method == "dpo":
        rows = [
            {
                "messages": [*row["input"]["messages"], *row["preferred_output"]],
                "rejected": row["non_preferred_output"],
            }
            for row in rows
        ]
    return jsonl(rows)


class TrainedCurves:
    """Curves of jobs that really train.

    Args:
        trainings: Know the steps.
    """

    def __init__(self, trainings: Trainings[Job]) -> None:
        self._trainings = trainings

    def steps(self, job: Job, now: float, options: Options) -> Sequence[Step]:
        """Return the steps that the trainer has told of."""
        return self._trainings.steps(job.id)
