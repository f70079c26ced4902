"""Vertex AI's jobs in the terms of Retune's trainer, and its curves in Vertex AI's.

All checkpoints of a trained job answer by the one adapter that the trainer kept. Without a word on the
learning rate or the batch, what is right for the small base model stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from retune.data.gemini_shape import read_gemini
from retune.data.turns import ShapeError
from retune.errors import BackendError
from retune.testing.emulators.curves import Step
from retune.testing.emulators.gcs_objects import Objects
from retune.testing.emulators.options import Options
from retune.testing.emulators.store import Store
from retune.testing.emulators.training import Lesson, Trainings, defaults, jsonl
from retune.testing.emulators.vertex_catalog import ADAPTER_SIZES
from retune.testing.emulators.vertex_work import PREFERENCE, Job
from retune.text.conversations import make, write_conversation

_INTERNAL = 13  # google.rpc.Code
_MOST_SEED = 2**31


def trainings_of(store: Store, options: Options, objects: Objects) -> Trainings[Job]:
    """Return the trainings of an emulator's jobs."""

    def lesson(job: Job) -> Lesson:
        return lesson_of(job, objects, options)

    return Trainings(store.folder, options, lesson, failure)


def failure(message: str) -> dict[str, Any]:
    """Return the error of a job whose training failed."""
    return {"code": _INTERNAL, "message": message}


def lesson_of(job: Job, objects: Objects, options: Options) -> Lesson:
    """Return what a job trains on.

    Raises:
        BackendError: Its data are gone, or hold what the trainer does not know.
    """
    spec, usual = job.fields[job.spec], defaults(options)
    given = spec["hyperParameters"]
    rank = ADAPTER_SIZES[given["adapterSize"]]
    hyperparameters = {
        "epochs": job.epochs,
        "batch_size": int(given.get("batchSize", usual["batch_size"])),
        "learning_rate": given.get(
            "learningRate", usual["learning_rate"] * given.get("learningRateMultiplier", 1.0)
        ),
        "lora": {**usual["lora"], "r": rank, "alpha": 2 * rank},
    }
    if "beta" in given:
        hyperparameters["beta"] = given["beta"]
    sides = [spec["trainingDatasetUri"], spec.get("validationDatasetUri")]
    train, validation = (_rows(objects, uri, job.life.since) if uri else b"" for uri in sides)
    method = "dpo" if job.spec == PREFERENCE else "sft"
    return Lesson(train, validation, hyperparameters, int(job.id) % _MOST_SEED, method)


class TrainedCurves:
    """Curves of jobs that really train.

    Args:
        trainings: Know the steps.
    """

    def __init__(self, trainings: Trainings[Job]) -> None:
        self._trainings = trainings

    def steps(self, job: Job, now: float, options: Options, most: int) -> Sequence[Step]:
        """Return the steps that the trainer has told of; those with validation, and every so many."""
        steps = self._trainings.steps(job.id)
        apart = max(1, math.ceil(len(steps) / most))
        return [step for place, step in enumerate(steps) if place % apart == 0 or step.valid_loss is not None]


def _rows(objects: Objects, uri: str, now: float) -> bytes:
    """Return a dataset as the trainer reads it."""
    try:
        data = objects.read(uri, now).data
        return b"".join(_row(json.loads(line)) for line in data.split(b"\n") if line.strip())
    except (LookupError, PermissionError) as error:
        raise BackendError(f"{uri} can no longer be read", "upload it again") from error
    except ShapeError as error:
        raise BackendError(f"{uri} holds what this emulator does not train on: {error}") from error


def _row(row: Mapping[str, Any]) -> bytes:
    if "messages" in row:
        return jsonl([{"messages": row["messages"]}])
    if "prompt" in row:
        turns = (("user", row["prompt"]), ("assistant", row["completion"]))
        return jsonl([{"messages": [{"role": role, "content": text} for role, text in turns]}])
    contents = [
        {**content, "role": "model"} if content.get("role") == "assistant" else content
        for content in row["contents"]
    ]
    found = read_gemini({**row, "contents": contents})
    return write_conversation(make(found.messages, found.rejected, found.tools))
