"""Training on this host: a process in a session of its own, and its job directory."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from retune.backends import hours, job_folders
from retune.backends.base import (
    Curves,
    Estimate,
    Installation,
    JobLostError,
    Order,
    Sighting,
    Trained,
    TransientError,
    View,
)
from retune.backends.trainer_process import environment, kill
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.training.job import Done, JobFolder, Lease
from retune.training.lease import HELD, is_alive

_LEASE_WITHIN_S = 60


class LocalBackend:
    """Runs `python -m retune.training` with the interpreter that the settings name.

    The process outlives the one that started it: whoever asks for the same job next adopts it.
    """

    name = "local"
    poll_every_s = 0.5
    waits_here = True
    settles_within_s = 0.0  # a job's directory is there at once

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._place = dict(place)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def account(self) -> str:
        """Nobody pays."""
        return ""

    def validate(self, order: Order) -> None:
        """Refuse an empty side, or a base model that changed since the recipe was resolved."""
        job_folders.validate(order, self._settings)

    def estimate(self, order: Order) -> Estimate:
        """Say what this host's time costs."""
        return hours.estimate(self._settings, self.name, self._place)

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Write the job directory and start the trainer, which resumes where one was killed."""
        folder = self._folder(order.key)
        if not folder.job_file.exists():
            job_folders.write(folder, order, self._installation)
        posting()
        if folder.read_done() is None and not self._is_running(folder):
            before = Lease.read(folder)
            self._start(folder)
            self._await_lease(folder, before)
        return self._handle(order, folder)

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the job of a directory that has ended or whose trainer lives."""
        folder = self._folder(order.key)
        running = self._is_running(folder)
        done = folder.read_done()
        if done is None and not running:
            return []
        status = JobStatus(done.status) if done else JobStatus.RUNNING
        return [Sighting(self._handle(order, folder), status, folder.path.stat().st_mtime)]

    def poll(self, job: Job) -> View:
        """Read the directory; raises JobLostError where the trainer died without a word.

        Raises:
            BackendError: The job is on another host, in a home that is not this host's.
        """
        folder = self._folder_of(job)
        running = self._is_running(folder)
        done = folder.read_done()  # after the look at the process: a trainer that just ended has written it
        if done is not None:
            return View(JobStatus(done.status), done.error, "", done.seconds, self._cost(done.seconds))
        if not running:
            raise JobLostError(self._last_words(folder), f"see {folder.log_file}")
        return View(JobStatus.RUNNING)

    def curves(self, job: Job) -> Curves:
        """Read the directory's progress."""
        return job_folders.curves(self._folder_of(job))

    def cancel(self, job: Job) -> None:
        """Mark the directory as cancelled, then kill the trainer and what it started."""
        folder = self._folder_of(job)
        if folder.read_done() is None:
            # First, so that nobody who looks in between takes it for a crash.
            with job_folders.writing(folder):
                folder.finish(Done("cancelled", error="cancelled"))
        kill(folder)

    def fetch(self, job: Job) -> Trained:
        """Store the model's files as an artifact."""
        folder = self._folder_of(job)
        done = folder.read_done()
        cost = hours.cost(self._settings, self.name, self._place, done.seconds if done else 0.0)
        return replace(job_folders.fetch(folder, self._installation), cost_usd=cost)

    def _cost(self, seconds: float) -> float | None:
        """Return what a job without a model has cost; None where nobody told how long it trained."""
        return hours.cost(self._settings, self.name, self._place, seconds) if seconds else None

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
        return order.handle(
            self.name,
            f"{lease.host if lease else socket.gethostname()}:{order.key}",
            folder.path.as_uri(),
            self._place,
        )

    def _start(self, folder: JobFolder) -> None:
        command = [self._settings.trainer_python, "-m", "retune.training", str(folder.path)]
        with job_folders.writing(folder):
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
                raise TransientError(
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


def stop_trainers(jobs: Path) -> list[str]:
    """Kill every trainer of this host without cancelling its job: the next run resumes it.

    Args:
        jobs: The folder of the job directories.

    Returns:
        The keys of the jobs that were running.
    """
    folders = [JobFolder(path) for path in sorted(jobs.glob("*")) if path.is_dir()]
    return [folder.path.name for folder in folders if kill(folder)]
