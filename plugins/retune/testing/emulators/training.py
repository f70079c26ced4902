"""Jobs that really train: Retune's own trainer on a small base model that stands for the provider's.

One job trains at a time; the others stay queued. The trainer is a process in a session of its own, so it
outlives a kill of the emulator, which then finds it again by its job directory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from retune.artifacts import write_atomically
from retune.backends.local_jobs import stop_trainers
from retune.backends.trainer_process import environment, kill
from retune.errors import RetuneError
from retune.testing.emulators.curves import Step
from retune.testing.emulators.lifecycle import Life, Phase
from retune.testing.emulators.options import Options
from retune.training.job import Done, JobFolder, TrainingJob
from retune.training.lease import is_alive

DEFAULTS: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "max_length": 512,
    "patience": 50,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
}
"""What `auto` means; right for a model of half a million weights."""
_MOST_STARTS = 3


class Trainable(Protocol):
    """A job of any emulator."""

    life: Life

    @property
    def id(self) -> str:
        """Its ID; names its job directory."""


J = TypeVar("J", bound=Trainable)


@dataclass(frozen=True)
class Lesson:
    """What a job trains on, in the trainer's terms."""

    train: bytes
    """JSONL: `messages`, and for dpo `rejected`."""
    validation: bytes
    """The same; empty takes a tenth of the training rows."""
    hyperparameters: Mapping[str, Any]
    """Of `retune.training`; those of DEFAULTS and the options stand where it is silent."""
    seed: int
    method: str = "sft"


class Trainings(Generic[J]):
    """The trainings of an emulator.

    Args:
        folder: The emulator's.
        options: Name the base model, the interpreter and hyperparameters.
        lesson: What a job trains on; may raise RetuneError, which the job then fails with.
        failure: Message -> the error of a job that failed, in the provider's shape.
    """

    def __init__(
        self,
        folder: Path,
        options: Options,
        lesson: Callable[[J], Lesson],
        failure: Callable[[str], dict[str, Any]],
    ) -> None:
        self._folder = folder / "trainings"
        self._options = options
        self._lesson = lesson
        self._failure = failure
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}

    def folder_of(self, job: str) -> JobFolder:
        """Return a job's directory."""
        return JobFolder(self._folder / job)

    def adapter(self, job: str) -> Path:
        """Return the folder of a finished job's adapter, which `Answers` takes."""
        return self.folder_of(job).model

    def tend(self, jobs: Iterable[J], now: float) -> list[tuple[J, list[Phase]]]:
        """Start, follow and end trainings; to be called again and again.

        Args:
            jobs: Every job, oldest first.
            now: Seconds since 1970.

        Returns:
            The jobs whose life changed, with the phases that they came into.
        """
        changed: list[tuple[J, list[Phase]]] = []
        busy = False
        for child in self._children.values():
            child.poll()  # else the ended ones stay as zombies
        every = list(jobs)
        for job in every:
            if job.life.phase == Phase.CANCELLED:
                self._end(self.folder_of(job.id))
            elif job.life.phase == Phase.RUNNING:
                before = job.life.as_json()
                came = self._follow(job, now)
                busy = busy or not (job.life.phase.ended or job.life.paused_at)
                if came or job.life.as_json() != before:
                    changed.append((job, came))
        waiting = [job for job in every if job.life.phase == Phase.QUEUED]
        if waiting and not busy:
            changed.append((waiting[0], self._begin(waiting[0], now)))
        return changed

    def stop(self) -> None:
        """Kill the trainers without ending their jobs: the next start goes on."""
        stop_trainers(self._folder)

    def steps(self, job: str) -> list[Step]:
        """Return the steps that a training has told of; the last only once nothing more can come to it."""
        folder = self.folder_of(job)
        steps: dict[int, Step] = {}
        loss: float | None = None
        for entry in folder.read_progress():
            loss = entry.get("loss", loss)
            if loss is not None:
                number, before = entry["step"], steps.get(entry["step"])
                steps[number] = Step(
                    number,
                    train_loss=loss,
                    valid_loss=entry.get("eval_loss", before and before.valid_loss),
                    valid_accuracy=entry.get("eval_mean_token_accuracy", before and before.valid_accuracy),
                    at=datetime.fromisoformat(entry["at"]).timestamp(),
                    kept="eval_loss" in entry or bool(before and before.kept),
                )
        told = list(steps.values())
        return told if folder.read_done() else told[:-1]

    def _begin(self, job: J, now: float) -> list[Phase]:
        folder = self.folder_of(job.id)
        if job.life.fails_in == Phase.QUEUED:
            job.life.move(Phase.FAILED, now)
            return [Phase.FAILED]
        try:
            if not folder.job_file.exists():
                self._write(folder, self._lesson(job))
        except RetuneError as error:
            job.life.error = self._failure(str(error))
            job.life.move(Phase.FAILED, now)
            return [Phase.FAILED]
        self._start(folder)
        job.life.trained = 0.0
        job.life.move(Phase.RUNNING, now)
        return [Phase.RUNNING]

    def _follow(self, job: J, now: float) -> list[Phase]:
        folder, life = self.folder_of(job.id), job.life
        if life.paused_at is not None:
            kill(folder)
            self._starts[job.id] = 0
            return []
        alive = self._is_alive(folder)
        done = folder.read_done()  # after the look at the process, which may just have ended
        if done is None:
            entries = folder.read_progress()
            if entries:
                life.trained = min(1.0, entries[-1]["step"] / max(1, entries[-1]["total_steps"]))
            if not alive and self._starts.get(job.id, 0) < _MOST_STARTS:
                self._start(folder)
            elif not alive:
                done = Done("failed", error=f"the trainer died {_MOST_STARTS} times, see {folder.log_file}")
        if done is None:
            return []
        if life.fails_in == Phase.RUNNING:
            life.move(Phase.FAILED, now)
        elif done.status == "succeeded":
            life.move(Phase.SUCCEEDED, now)
        else:
            life.error = self._failure(done.error)
            life.move(Phase.FAILED, now)
        return [life.phase]

    def _end(self, folder: JobFolder) -> None:
        if folder.job_file.exists() and folder.read_done() is None:
            folder.finish(Done("cancelled", error="cancelled"))
            kill(folder)

    def _write(self, folder: JobFolder, lesson: Lesson) -> None:
        rows = lesson.train.splitlines(keepends=True)
        validation = lesson.validation or b"".join(rows[: max(1, len(rows) // 10)])
        paths = {side: folder.path / "data" / f"{side}.jsonl" for side in ("train", "validation")}
        write_atomically(paths["train"], lesson.train)
        write_atomically(paths["validation"], validation)
        folder.write_job(
            TrainingJob(
                train=str(paths["train"]),
                validation=str(paths["validation"]),
                base_model=self._options.train_base,
                base_name=self._options.train_base,
                hyperparameters={**defaults(self._options), **lesson.hyperparameters},
                seed=lesson.seed,
                method=lesson.method,  # type: ignore[arg-type]
            )
        )

    def _start(self, folder: JobFolder) -> None:
        name = folder.path.name
        self._starts[name] = self._starts.get(name, 0) + 1
        python = self._options.trainer_python or sys.executable
        with folder.log_file.open("ab") as log:
            self._children[name] = subprocess.Popen(
                [python, "-m", "retune.training", str(folder.path)],
                cwd=folder.path,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_alive(self, folder: JobFolder) -> bool:
        child = self._children.get(folder.path.name)
        return (child is not None and child.poll() is None) or is_alive(folder, time.time())


def defaults(options: Options) -> dict[str, Any]:
    """Return the trainer's hyperparameters where a job names none."""
    return DEFAULTS | options.train_with


def jsonl(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as a file."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
