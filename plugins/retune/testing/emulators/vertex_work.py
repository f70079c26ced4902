"""What becomes of a tuning job at Vertex AI: its state, curve, checkpoints, endpoints, files and bill.

A job is billed once, when it begins to run; see `openai_work.py`. It waits as QUEUED and as PENDING; what
is wrong with its data shows before it runs. Cancelling takes a moment, as Vertex AI's is asynchronous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from retune.testing.emulators.curves import Step, virtual_step
from retune.testing.emulators.gcs_objects import Objects
from retune.testing.emulators.lifecycle import Life, Phase
from retune.testing.emulators.options import Options
from retune.testing.emulators.store import Entry, Store
from retune.testing.emulators.vertex_names import number_of, stamp

SUPERVISED, PREFERENCE = "supervisedTuningSpec", "preferenceOptimizationSpec"
# "For tuning jobs with less than 10 epochs, one checkpoint is saved approximately after each epoch. For
# tuning jobs with more than 10 epochs, around 10", .../models/tuning-checkpoints
_MOST_CHECKPOINTS = 10
_CANCELLING_S = 0.2
# The smallest file of that format.
_EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


@dataclass
class Job:
    """A tuning job, as it is stored."""

    fields: dict[str, Any]
    """What Vertex AI shows of it and never changes."""
    life: Life
    spec: str
    """The field of its spec."""
    project: str
    """The number of its project."""
    location: str
    """Where it runs; never `global`."""
    is_open: bool
    """Whether the base model's weights are open."""
    base: str
    """The base model, also where it goes on from a tuned one."""
    epochs: int
    steps: int
    tokens: int
    """That are billed: tokens x epochs."""
    stats: dict[str, Any]

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Read it back."""
        return cls(**{**body, "life": Life.of(body["life"])})

    @property
    def id(self) -> str:
        """Its number."""
        return str(self.fields["name"]).rpartition("/")[2]

    @property
    def place(self) -> str:
        """What the names of its resources begin with."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def is_validated(self) -> bool:
        """Whether it has validation data."""
        return "validationDatasetUri" in self.fields[self.spec]

    @property
    def model(self) -> str:
        """The name of the model that it makes."""
        return f"{self.place}/models/{number_of(self.id, 'model')}@1"

    def endpoint(self, checkpoint: int) -> str:
        """Return the name of the endpoint of a checkpoint, counted from 1."""
        return f"{self.place}/endpoints/{number_of(self.id, 'endpoint', checkpoint)}"

    @property
    def experiment(self) -> str:
        """The name of its experiment, once it runs."""
        name = f"tuning-experiment-{stamp(self.life.entered[Phase.RUNNING])}"
        return f"{self.place}/metadataStores/default/contexts/{name}"

    @property
    def checkpoint_epochs(self) -> list[int]:
        """The epochs after which a checkpoint is kept."""
        if self.fields[self.spec].get("exportLastCheckpointOnly"):
            return [self.epochs]
        kept = min(self.epochs, _MOST_CHECKPOINTS)
        return sorted({math.ceil(self.epochs * number / kept) for number in range(1, kept + 1)})


class Curves(Protocol):
    """Where the steps of jobs come from."""

    def steps(self, job: Job, now: float, options: Options, most: int) -> Sequence[Step]:
        """Return the steps that a job has made, in order, at most so many of them."""


class VirtualCurves:
    """Curves of jobs that do not really train."""

    def steps(self, job: Job, now: float, options: Options, most: int) -> Sequence[Step]:
        """Return the steps until now."""
        made = int(job.life.share(now, options.seconds) * job.steps)
        apart = max(1, math.ceil(job.steps / most))
        return [
            virtual_step(job.id, number, job.steps, job.is_validated)
            for number in range(1, made + 1)
            if number % apart == 0 or number == job.steps
        ]


class Work:
    """Moves the jobs of a store on.

    Args:
        store: Where they lie.
        objects: Takes the files of open models.
        adapter: Job -> the folder of the adapter that it made; None where jobs do not really train.
    """

    def __init__(self, store: Store, objects: Objects, adapter: Callable[[str], Path] | None = None) -> None:
        self._store = store
        self._objects = objects
        self._adapter = adapter

    def look(self, entry: Entry, now: float, options: Options) -> Job:
        """Return a job as it is now."""
        job = Job.of(entry.body)
        came = job.life.advance(now, options.seconds)
        if came:
            self.record(job, came)
        return job

    def record(self, job: Job, came: Sequence[Phase]) -> None:
        """Store a job and all that belongs to the phases that it came into."""
        with self._store.transaction():
            for phase in came:
                at = job.life.entered[phase]
                if phase == Phase.RUNNING:
                    self._store.bill(job.id, job.tokens, at)
                    name = job.experiment.rpartition("/")[2]
                    self._store.add("experiment", name, {"job": job.id}, at=at)
                elif phase == Phase.SUCCEEDED:
                    self._publish(job, at)
            self._store.replace("job", job.id, stored(job))

    def _publish(self, job: Job, at: float) -> None:
        self._store.add("model", job.model.rpartition("/")[2].removesuffix("@1"), {"job": job.id}, at=at)
        if job.is_open:
            folder = f"{job.fields['outputUri'].rstrip('/')}/postprocess/node-0/checkpoints/final"
            for name, data in self._files(job).items():
                self._objects.put_result(f"{folder}/{name}", data, at)
            return
        for number in range(1, len(job.checkpoint_epochs) + 1):
            name = job.endpoint(number).rpartition("/")[2]
            self._store.add("endpoint", name, {"job": job.id, "checkpoint": number}, at=at)

    def _files(self, job: Job) -> dict[str, bytes]:
        """Return the files of a job's adapter, by name."""
        if self._adapter is not None:
            return {path.name: path.read_bytes() for path in self._adapter(job.id).iterdir()}
        config = b'{"peft_type": "LORA", "base_model_name_or_path": "%s"}' % job.base.encode()
        return {"adapter_config.json": config, "adapter_model.safetensors": _EMPTY_SAFETENSORS}


def stored(job: Job) -> dict[str, Any]:
    """Return a job as the store has it."""
    return {**asdict(job), "life": job.life.as_json()}


def state_of(job: Job, now: float, options: Options) -> str:
    """Return a job's state by Google's name (google.cloud.aiplatform.v1beta1.JobState)."""
    phase = job.life.phase
    if phase == Phase.CANCELLED and now < job.life.since + _cancelling_s(options):
        return "JOB_STATE_CANCELLING"
    return _STATES[phase]


_STATES = {
    Phase.VALIDATING: "JOB_STATE_QUEUED",
    Phase.QUEUED: "JOB_STATE_PENDING",
    Phase.RUNNING: "JOB_STATE_RUNNING",
    Phase.SUCCEEDED: "JOB_STATE_SUCCEEDED",
    Phase.FAILED: "JOB_STATE_FAILED",
    Phase.CANCELLED: "JOB_STATE_CANCELLED",
}


def _cancelling_s(options: Options) -> float:
    given = options.phase_s
    return given.get("cancelling", _CANCELLING_S) if isinstance(given, dict) else _CANCELLING_S
