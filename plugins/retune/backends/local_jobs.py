"""Training on this host: a process in a session of its own, and its job directory."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts, digest_of_tree, write_atomically
from retune.backends.base import JobLostError, Order, Point, Trained, View
from retune.backends.recipes import base_folder
from retune.backends.trainer_process import environment, kill
from retune.errors import ArtifactError, BackendError, Problem
from retune.records import Job, JobStatus
from retune.settings import Settings
from retune.training.job import Done, JobFolder, Lease, TrainingJob
from retune.training.lease import HELD, is_alive

_LEASE_WITHIN_S = 60


class LocalBackend:
    """Runs `python -m retune.training` with the interpreter that the settings name.

    The process outlives the one that started it: whoever asks for the same job next adopts it.
    """

    name = "local"
    poll_every_s = 0.5

    def __init__(self, settings: Settings, artifacts: Artifacts) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def account(self) -> str:
        """Nobody pays."""
        return ""

    def validate(self, order: Order) -> None:
        """Refuse an empty side, or a base model that changed since the recipe was resolved."""
        problems = [
            Problem(f"the {name} side of dataset {order.dataset.digest} is empty", "add rows")
            for name, split in (("training", order.dataset.train), ("validation", order.dataset.validation))
            if split.rows == 0
        ]
        recipe = order.recipe
        folder = base_folder(recipe.base_model, self._settings)
        if recipe.base_digest.startswith("sha256:"):
            found = digest_of_tree(folder) if folder else "missing"
            if found != recipe.base_digest:
                what = f"base model {recipe.base_model} is {found}, but the recipe was resolved with"
                problems.append(Problem(f"{what} {recipe.base_digest}", "start a new run"))
        if problems:
            raise BackendError(problems)

    def submit(self, order: Order) -> Job:
        """Write the job directory and start the trainer, which resumes where one was killed."""
        folder = self._folder(order.key)
        if not folder.job_file.exists():
            with _writing(folder):
                self._write(folder, order)
        if folder.read_done() is None and not self._is_running(folder):
            before = Lease.read(folder)
            self._start(folder)
            self._await_lease(folder, before)
        return self._handle(order, folder)

    def find(self, order: Order) -> Job | None:
        """Return the job of a directory that has ended or whose trainer lives."""
        folder = self._folder(order.key)
        if folder.read_done() is None and not self._is_running(folder):
            return None
        return self._handle(order, folder)

    def poll(self, job: Job) -> View:
        """Read the directory; raises JobLostError where the trainer died without a word.

        Raises:
            BackendError: The job is on another host, in a home that is not this host's.
        """
        folder = self._folder_of(job)
        running = self._is_running(folder)
        done = folder.read_done()  # after the look at the process: a trainer that just ended has written it
        entries = folder.read_progress()
        points = tuple(_point(entry) for entry in entries)
        total = int(entries[-1]["total_steps"]) if entries else 0
        if done is not None:
            return View(JobStatus(done.status), points, total, done.seconds, done.error)
        if not running:
            raise JobLostError(self._last_words(folder), f"see {folder.log_file}")
        return View(JobStatus.RUNNING, points, total, points[-1].seconds if points else 0.0)

    def cancel(self, job: Job) -> None:
        """Mark the directory as cancelled, then kill the trainer and what it started."""
        folder = self._folder_of(job)
        if folder.read_done() is None:
            # First, so that nobody who looks in between takes it for a crash.
            with _writing(folder):
                folder.finish(Done("cancelled", error="cancelled"))
        kill(folder)

    def fetch(self, job: Job) -> Trained:
        """Store the adapter's files as an artifact."""
        folder = self._folder_of(job)
        try:
            artifact = self._artifacts.put_tree(folder.model)
        except (ArtifactError, OSError) as error:
            raise BackendError(f"the adapter in {folder.model} cannot be stored: {error}") from error
        return Trained("adapter", artifact.digest, artifact.uri)

    def _folder(self, key: str) -> JobFolder:
        return JobFolder(self._settings.jobs / key)

    def _folder_of(self, job: Job) -> JobFolder:
        """Return a job's directory; where hosts have homes of their own, only its host can tell of it."""
        folder, host = self._folder(job.key), job.provider_id.rpartition(":")[0]
        here = socket.gethostname()
        if host not in ("", here) and not folder.path.exists():
            raise BackendError(
                f"job {job.key[:12]} was started on host {host}; its directory is not on {here}, which cannot"
                " tell whether it still trains",
                f"run the task on {host}, or give both hosts one RETUNE_HOME; if {host} is gone for good,"
                f" `mkdir -p {folder.path}` on {here} and run again: the training starts anew",
            )
        return folder

    def _handle(self, order: Order, folder: JobFolder) -> Job:
        lease = Lease.read(folder)
        return Job(
            spec_digest=order.recipe.spec_digest,
            key=order.key,
            backend=self.name,
            attempt=order.attempt,
            provider_id=f"{lease.host if lease else socket.gethostname()}:{order.key}",
            url=folder.path.as_uri(),
        )

    def _write(self, folder: JobFolder, order: Order) -> None:
        recipe = order.recipe
        paths = {}
        for side in ("train", "validation"):
            data = self._artifacts.get_bytes(getattr(order.dataset, side).artifact.digest)
            paths[side] = folder.path / "data" / f"{side}.jsonl"
            write_atomically(paths[side], data)
        base = base_folder(recipe.base_model, self._settings)
        folder.write_job(
            TrainingJob(
                train=str(paths["train"]),
                validation=str(paths["validation"]),
                base_model=str(base or recipe.base_model),
                base_name=recipe.base_model,
                base_revision=None if base else recipe.base_digest.removeprefix("hf:"),
                hyperparameters=recipe.hyperparameters,
                seed=recipe.seed,
                method=recipe.method,
            )
        )

    def _start(self, folder: JobFolder) -> None:
        command = [self._settings.trainer_python, "-m", "retune.training", str(folder.path)]
        with _writing(folder):
            env = environment(folder)
            log = folder.log_file.open("ab")
        try:
            with log:
                self._children[folder.path.name] = subprocess.Popen(
                    command,
                    cwd=folder.path,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise BackendError(
                f"the trainer cannot be started: {error}", "see trainer_python in the settings"
            ) from error

    def _await_lease(self, folder: JobFolder, before: Lease | None) -> None:
        """Wait until others can see that somebody trains here, or until the trainer has ended."""
        deadline = time.monotonic() + _LEASE_WITHIN_S
        child = self._children[folder.path.name]
        while child.poll() is None and Lease.read(folder) == before:
            if time.monotonic() > deadline:
                raise BackendError(
                    f"the trainer took no lease in {_LEASE_WITHIN_S} s", f"see {folder.log_file}"
                )
            time.sleep(0.02)

    def _is_running(self, folder: JobFolder) -> bool:
        child = self._children.get(folder.path.name)
        if child is not None and child.poll() is None:  # poll also reaps it
            return True
        if child is not None and child.returncode == HELD:  # somebody else's trainer is the job's
            del self._children[folder.path.name]
        return is_alive(folder, time.time())

    def _last_words(self, folder: JobFolder) -> str:
        child = self._children.get(folder.path.name)
        code = child.returncode if child else None
        how = "was killed" if code is None or code < 0 else f"ended with exit code {code}"
        lines = folder.log_file.read_text(errors="replace").splitlines() if folder.log_file.exists() else []
        return f"the trainer {how} without a result" + (f"; its last words: {lines[-1]}" if lines else "")


@contextmanager
def _writing(folder: JobFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"the job directory {folder.path} cannot be written: {error}",
            "free space or mend its permissions, then run again",
        ) from error


def stop_trainers(jobs: Path) -> list[str]:
    """Kill every trainer of this host without cancelling its job: the next run resumes it.

    Args:
        jobs: The folder of the job directories.

    Returns:
        The keys of the jobs that were running.
    """
    folders = [JobFolder(path) for path in sorted(jobs.glob("*")) if path.is_dir()]
    return [folder.path.name for folder in folders if kill(folder)]


def _point(entry: dict[str, Any]) -> Point:
    told = {"at", "step", "total_steps", "epoch", "seconds"}
    values = {name: float(value) for name, value in entry.items() if name not in told}
    return Point(int(entry["step"]), float(entry["seconds"]), values)
