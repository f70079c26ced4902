"""The job directory: how the trainer and the rest of Retune talk.

`job.json` says what to do, `lease.json` who does it, `progress.jsonl` how it goes, `done.json`
(written last) how it ended; `tokens/` holds the rows as the model reads them. The trainer writes
all but the first.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from retune.errors import BackendError


@dataclass(frozen=True)
class TrainingJob:
    """What `job.json` holds."""

    train: str
    """Canonical JSONL of the training side."""
    validation: str
    """Canonical JSONL of the validation side."""
    base_model: str
    """A folder, or a Hugging Face id."""
    base_name: str
    """What the endpoint calls the base model; goes into the adapter's configuration."""
    hyperparameters: dict[str, Any]
    """See `retune.training.hyperparameters`, which also has the defaults of what is left out."""
    seed: int
    base_revision: str | None = None
    """Commit of a Hugging Face id."""
    method: Literal["sft", "dpo"] = "sft"
    """sft learns the assistant's turns; dpo learns to prefer `messages` to `rejected`."""
    warm_start: str | None = None
    """Folder of an adapter of the same base model to start from, such as the champion's."""
    processes: int = 1
    """Processes on this host, one a GPU; see `retune.training.processes` for several hosts."""


@dataclass(frozen=True)
class Done:
    """What `done.json` holds."""

    status: Literal["succeeded", "failed", "cancelled"]
    error: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    """Time spent training, over all restarts."""
    kind: Literal["adapter", "weights"] = "adapter"
    """What `model/` holds: a LoRA adapter, or a whole model."""


class JobFolder:
    """One job's directory.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job_file = path / "job.json"
        self.lease_file = path / "lease.json"
        self.lock_file = path / "lease.lock"
        self.progress_file = path / "progress.jsonl"
        self.done_file = path / "done.json"
        self.log_file = path / "trainer.log"
        self.tokens = path / "tokens"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"

    def write_job(self, job: TrainingJob) -> None:
        """Write `job.json`, which makes the directory a job."""
        write_json(self.job_file, asdict(job))

    def read_job(self) -> TrainingJob:
        """Return the job.

        Raises:
            BackendError: `job.json` is missing or is not a job.
        """
        data = read_json(self.job_file)
        if data is None:
            raise BackendError(
                f"{self.path} is no job directory: job.json is missing", "submit the job again"
            )
        try:
            return TrainingJob(**data)
        except TypeError as error:
            raise BackendError(
                f"{self.job_file} is not a job that this version knows: {error}",
                "use the same version of Retune on both sides",
            ) from error

    def finish(self, done: Done) -> None:
        """Write `done.json`; nothing is written after it."""
        write_json(self.done_file, asdict(done))

    def read_done(self) -> Done | None:
        """Return how the job ended, or None while it has not."""
        data = read_json(self.done_file)
        return None if data is None else Done(**data)

    def append_progress(self, entry: dict[str, Any]) -> None:
        """Add one line to `progress.jsonl`."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(), **entry}, allow_nan=False) + "\n"
        with self.progress_file.open("a", encoding="utf-8") as file:
            file.write(line)

    def read_progress(self) -> list[dict[str, Any]]:
        """Return the progress so far, by step.

        A resumed training repeats the steps since its checkpoint: their later lines win. A torn
        line, as a crash leaves it, is skipped.
        """
        entries: dict[tuple[int, bool], dict[str, Any]] = {}
        try:
            lines = self.progress_file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                entry = json.loads(line)
                entries[int(entry["step"]), "eval_loss" in entry] = entry
            except (ValueError, KeyError, TypeError):
                continue
        return [entries[place] for place in sorted(entries)]


@dataclass(frozen=True)
class Lease:
    """Who works on a job directory, and when it last said so."""

    host: str
    pid: int
    heartbeat: float
    """Seconds since 1970."""

    @classmethod
    def read(cls, folder: JobFolder) -> Self | None:
        """Return the directory's lease, or None where nobody has taken it."""
        data = read_json(folder.lease_file)
        return None if data is None else cls(**data)

    def write(self, folder: JobFolder) -> None:
        """Put the lease into the directory."""
        write_json(folder.lease_file, asdict(self))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that readers see the old one or all of the new one."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            json.dump(value, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object's file, or None where there is none.

    Raises:
        BackendError: It is there but cannot be read: that is never "not there".
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BackendError(
            f"{path} cannot be read: {error}", "mend the disk, or delete the job directory"
        ) from error
    if not isinstance(data, dict):
        raise BackendError(f"{path} holds {type(data).__name__}, not an object", "delete the job directory")
    return data
