"""What becomes of a job at OpenAI: its status, events, curve, checkpoints, model, result file and bill.

A job is billed once, when it begins to run: one that fails in validation, or is cancelled before it runs,
costs nothing. (OpenAI bills what was trained; an emulator counts bills, and a job that ran is one.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self

from retune.testing.emulators.curves import Step, virtual_step
from retune.testing.emulators.ids import derived
from retune.testing.emulators.lifecycle import Life, Phase
from retune.testing.emulators.openai_files import Files
from retune.testing.emulators.openai_models import Models
from retune.testing.emulators.options import Options
from retune.testing.emulators.store import Entry, Store

STATUSES = {
    Phase.VALIDATING: "validating_files",
    Phase.QUEUED: "queued",
    Phase.RUNNING: "running",
    Phase.SUCCEEDED: "succeeded",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
# "checkpoints ... from the last 3 epochs", https://developers.openai.com/api/docs/guides/supervised-fine-tuning
_KEPT_CHECKPOINTS = 3
_COLUMNS = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"


@dataclass
class Job:
    """A fine-tuning job, as it is stored."""

    fields: dict[str, Any]
    """What OpenAI shows of it and never changes."""
    life: Life
    hyperparameters: dict[str, Any]
    """As given; `auto` where nothing was."""
    resolved: dict[str, Any]
    """The same in numbers."""
    steps: int
    tokens: int
    """That are billed: tokens x epochs."""
    suffix: str
    told: int = 0
    """Steps that are in the events already."""

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Read it back."""
        return cls(**{**body, "life": Life.of(body["life"])})

    @property
    def id(self) -> str:
        """Its ID."""
        return str(self.fields["id"])

    @property
    def model(self) -> str:
        """The name of the model that it makes."""
        tail = derived("", self.id, length=8)
        return f"ft:{self.fields['model']}:{self.fields['organization_id']}:{self.suffix}:{tail}"

    @property
    def result_file(self) -> str:
        """The ID of its result file."""
        return derived("file-", self.id, "results", length=22)


class Curves(Protocol):
    """Where the steps of jobs come from."""

    def steps(self, job: Job, now: float, options: Options) -> Sequence[Step]:
        """Return the steps that a job has made, in order."""


class VirtualCurves:
    """Curves of jobs that do not really train."""

    def steps(self, job: Job, now: float, options: Options) -> Sequence[Step]:
        """Return the steps until now."""
        made = int(job.life.share(now, options.seconds) * job.steps)
        validated = job.fields["validation_file"] is not None
        epoch = max(1, job.steps // job.resolved["n_epochs"])
        return [
            replace(virtual_step(job.id, number, job.steps, validated), kept=number % epoch == 0)
            for number in range(1, made + 1)
        ]


class Work:
    """Moves the jobs of a store on.

    Args:
        store: Where they lie.
        files: Takes the result files.
        models: Takes the models.
        curves: Where steps come from.
    """

    def __init__(self, store: Store, files: Files, models: Models, curves: Curves) -> None:
        self._store = store
        self._files = files
        self._models = models
        self._curves = curves

    def look(self, entry: Entry, now: float, options: Options) -> Job:
        """Return a job as it is now."""
        job = Job.of(entry.body)
        came = job.life.advance(now, options.seconds)
        if came:
            self.record(job, came, now, options)
        return job

    def record(self, job: Job, came: Sequence[Phase], now: float, options: Options) -> None:
        """Store a job and all that belongs to the phases that it came into."""
        with self._store.transaction():
            for phase in came:
                self._enter(job, phase, now, options)
            self.save(job)

    def save(self, job: Job) -> None:
        """Store a job."""
        self._store.replace("job", job.id, {**asdict(job), "life": job.life.as_json()})

    def say(self, job: Job, at: float, message: str, level: str = "info", **more: Any) -> None:
        """Add an event; the same said at the same time is one event."""
        name = derived("ftevent-", job.id, at, message)
        event = {
            "object": "fine_tuning.job.event",
            "id": name,
            "created_at": int(at),
            "level": level,
            "message": message,
            "type": "message",
            **more,
        }
        self._store.add_event(job.id, name, event, at)

    def _enter(self, job: Job, phase: Phase, now: float, options: Options) -> None:
        at = job.life.entered[phase]
        if phase == Phase.QUEUED:
            self.say(job, at, "Files validated, moving job to queued state")
        elif phase == Phase.RUNNING:
            self.say(job, at, "Fine-tuning job started")
            self._store.bill(job.id, job.tokens, at)
        elif phase == Phase.FAILED:
            self.say(job, at, job.life.error["message"], "error")
        elif phase == Phase.CANCELLED:
            self.say(job, at, "Fine-tuning job cancelled")
        elif phase == Phase.SUCCEEDED:
            fields = job.fields
            self._models.add(job.model, job.id, fields["model"], fields["organization_id"], at)
            self._files.add_results(job.result_file, table(self._curves.steps(job, now, options)), at)
            self.say(job, at, f"New fine-tuned model created: {job.model}")
            self.say(job, at + 1e-3, "The job has successfully completed")

    def tell_steps(self, job: Job, now: float, options: Options) -> None:
        """Put the steps that a job has made into its events, where they are not there yet."""
        if job.told >= job.steps or Phase.RUNNING not in job.life.entered:
            return
        steps = self._curves.steps(job, now, options)
        with self._store.transaction():
            for step in steps[job.told :]:
                message = f"Step {step.number}/{job.steps}: training loss={step.train_loss:.2f}"
                if step.valid_loss is not None:
                    message += f", validation loss={step.valid_loss:.2f}"
                at = self._time_of(job, step, options)
                data = {**measures(step), "total_steps": job.steps}
                self.say(job, at, message, type="metrics", data=data)
            job.told = len(steps)
            self.save(job)

    def checkpoints(self, job: Job, now: float, options: Options) -> list[dict[str, Any]]:
        """Return a job's checkpoints, newest first: one an epoch, of the last three."""
        steps = [step for step in self._curves.steps(job, now, options) if step.kept]
        found = []
        for step in reversed(steps[-_KEPT_CHECKPOINTS:]):
            is_final = job.life.phase == Phase.SUCCEEDED and step is steps[-1]
            model = job.model if is_final else f"{job.model}:ckpt-step-{step.number}"
            found.append(
                {
                    "object": "fine_tuning.job.checkpoint",
                    "id": derived("ftckpt_", job.id, step.number),
                    "created_at": int(self._time_of(job, step, options)),
                    "fine_tuned_model_checkpoint": model,
                    "fine_tuning_job_id": job.id,
                    "metrics": measures(step, full=True),
                    "step_number": step.number,
                }
            )
        return found

    def _time_of(self, job: Job, step: Step, options: Options) -> float:
        if step.at is not None:
            return step.at
        begun = job.life.entered[Phase.RUNNING]
        ended = job.life.since if job.life.phase.ended else begun + options.seconds(Phase.RUNNING)
        return begun + (ended - begun) * step.number / (job.steps + 1)


def shown(job: Job, options: Options) -> dict[str, Any]:
    """Return a job as OpenAI shows it."""
    life = job.life
    good = life.phase == Phase.SUCCEEDED
    fresh = life.phase in (Phase.VALIDATING, Phase.QUEUED)
    ends_at = life.since + options.seconds(Phase.RUNNING)
    foreseen = life.phase == Phase.RUNNING and life.paused_at is None and math.isfinite(ends_at)
    hyperparameters = job.hyperparameters if fresh else job.resolved
    method = job.fields["method"]
    kind = method["type"]
    return {
        **job.fields,
        "status": STATUSES[life.phase],
        "error": life.error if life.phase == Phase.FAILED else None,
        "finished_at": math.ceil(life.since) if life.phase.ended else None,
        "fine_tuned_model": job.model if good else None,
        "result_files": [job.result_file] if good else [],
        "trained_tokens": job.tokens if good else None,
        "estimated_finish": int(ends_at) if foreseen else None,
        "hyperparameters": _base_ones(hyperparameters) if kind == "supervised" else {},
        "method": {"type": kind, kind: {**method[kind], "hyperparameters": hyperparameters}},
    }


def measures(step: Step, full: bool = False) -> dict[str, float]:
    """Return what is measured at a step, as events and checkpoints say it."""
    found: dict[str, float] = {"step": step.number, "train_loss": step.train_loss}
    if step.train_accuracy is not None:
        found["train_mean_token_accuracy"] = step.train_accuracy
    if step.valid_loss is not None and step.valid_accuracy is not None:
        found |= {"valid_loss": step.valid_loss, "valid_mean_token_accuracy": step.valid_accuracy}
        if full:
            found |= {
                "full_valid_loss": step.valid_loss,
                "full_valid_mean_token_accuracy": step.valid_accuracy,
            }
    return found


def table(steps: Sequence[Step]) -> str:
    """Return a curve as OpenAI's result files have it, CSV."""
    lines = [_COLUMNS]
    for step in steps:
        row = (step.number, step.train_loss, step.train_accuracy, step.valid_loss, step.valid_accuracy)
        lines.append(",".join("" if value is None else str(value) for value in row))
    return "\n".join(lines) + "\n"


def _base_ones(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    return {name: hyperparameters[name] for name in names}
