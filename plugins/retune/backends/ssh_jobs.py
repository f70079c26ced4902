"""Training on a GPU box by SSH: the local backend's job directory, copied there, and a detached trainer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

from retune.artifacts import digest_of_tree, manifest_of
from retune.backends import hours, job_folders, remote_folders
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
from retune.backends.recipes import base_folder
from retune.backends.ssh_host import Host
from retune.backends.ssh_shipping import prepare, write_code
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.training.job import Done, JobFolder


class SSHBackend:
    """Runs the trainer in a session of its own on another host, where it outlives the connection.

    There lie, in the recipe's `folder`: a directory for each job, `bases/` (base models by digest) and
    `code/` (the trainer's, by digest), so that the host needs no Retune.
    """

    name = "ssh"
    poll_every_s = 5.0
    waits_here = False
    settles_within_s = 0.0  # a job's directory is there at once, and its lease lets in one trainer only

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._place = dict(place)
        self._host = Host(installation.connections, place["connection"])

    @property
    def account(self) -> str:
        """Nobody pays."""
        return ""

    def validate(self, order: Order) -> None:
        """Refuse an empty side, or a base model that changed since the recipe was resolved."""
        job_folders.validate(order, self._settings)

    def estimate(self, order: Order) -> Estimate:
        """Say what the host's time costs."""
        return hours.estimate(self._settings, self.name, self._place)

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Copy the job directory unless it is there, and start the trainer unless one has the job.

        Raises:
            BackendError: The interpreter, its libraries or the disk there will not do.
        """
        folder = self._folder(order.key)
        if not self._host.exists(f"{folder}/job.json"):
            free = prepare(self._host, self._root, self._python, order.recipe.trainer)
            self._copy(order, folder, free)
        posting()
        self._ask("start", folder)
        return self._handle(order, folder)

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the job of a directory that has ended or whose trainer lives."""
        folder = self._folder(order.key)
        if not self._host.exists(folder):
            return []
        seen = self._ask("look", folder)
        if not seen["there"] or not (seen["done"] or seen["running"]):
            return []
        status = JobStatus(seen["done"]["status"]) if seen["done"] else JobStatus.RUNNING
        return [Sighting(self._handle(order, folder), status, seen["since"])]

    def poll(self, job: Job) -> View:
        """Look into the directory.

        Raises:
            JobLostError: It is gone, or the trainer died without a word.
        """
        seen = self._ask("look", self._folder(job.key))
        if not seen["there"]:
            raise JobLostError(f"job {job.key[:12]} is no longer on {self._host.name}", f"see {job.url}")
        if seen["done"]:
            done = Done(**seen["done"])
            return View(JobStatus(done.status), done.error, "", done.seconds, self._cost(done.seconds))
        if not seen["running"]:
            words = f"; its last words: {seen['last_words']}" if seen["last_words"] else ""
            raise JobLostError(
                f"the trainer on {self._host.name} was killed without a result{words}",
                f"see trainer.log in {job.url}",
            )
        return View(JobStatus.RUNNING)

    def curves(self, job: Job) -> Curves:
        """Read the directory's progress."""
        with self._workplace() as here:
            here.progress_file.write_bytes(
                self._host.read(f"{self._folder(job.key)}/{here.progress_file.name}") or b""
            )
            return job_folders.curves(here)

    def cancel(self, job: Job) -> None:
        """Mark the directory as cancelled, then kill the trainer and what it started."""
        self._ask("cancel", self._folder(job.key))

    def fetch(self, job: Job) -> Trained:
        """Bring the model's files here, compare them with what the host says of them, and store them.

        Raises:
            TransientError: They differ.
        """
        folder = self._folder(job.key)
        expected = self._ask("model", folder)["files"]
        seconds = self._ask("look", folder)["done"]["seconds"]
        with self._workplace() as here:
            self._host.get_tree(f"{folder}/model", here.model)
            found = {name: entry["digest"] for name, entry in manifest_of(here.model).items()}
            if found != expected:
                raise TransientError(f"the model of {job.url} did not arrive as it is there")
            trained = job_folders.fetch(here, self._installation)
        return replace(trained, cost_usd=hours.cost(self._settings, self.name, self._place, seconds))

    def _cost(self, seconds: float) -> float | None:
        """Return what a job without a model has cost; None where nobody told how long it trained."""
        return hours.cost(self._settings, self.name, self._place, seconds) if seconds else None

    @cached_property
    def _root(self) -> str:
        return self._there(self._place["folder"])

    @cached_property
    def _home(self) -> str:
        return self._host.home()

    @cached_property
    def _python(self) -> str:
        python = self._place.get("python") or "python3"
        return self._there(python) if "/" in python else python

    def _there(self, path: str) -> str:
        """Return a path of the host as an absolute one, against the login's home."""
        path = path.removeprefix("~/").rstrip("/")
        return path if path.startswith("/") else f"{self._home}/{path}"

    def _folder(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _handle(self, order: Order, folder: str) -> Job:
        return order.handle(
            self.name, f"{self._host.name}:{folder}", f"sftp://{self._host.name}{folder}", self._place
        )

    def _copy(self, order: Order, folder: str, free: int) -> None:
        recipe, base = order.recipe, ""
        local = base_folder(recipe.base_model, self._settings)
        if local is not None:
            base = f"{self._root}/bases/{recipe.base_digest.removeprefix('sha256:')}"
            if not self._host.exists(base):
                self._put(local, base, free)
        with self._workplace() as here:
            job_folders.write(here, order, self._installation)
            remote_folders.move_job(here, folder, base)
            self._put(here.path, folder, free)

    def _put(self, local: Path, target: str, free: int) -> None:
        size = sum(path.stat().st_size for path in local.rglob("*") if path.is_file())
        if size > free:
            raise BackendError(
                f"{self._host.name}: {size / 1e6:.1f} MB go to {self._root}; {free / 1e6:.1f} MB are free",
                "free space there, or give another `folder`",
            )
        self._host.put_tree(local, target)

    @cached_property
    def _code(self) -> str:
        """The folder that has the trainer's code there: of exactly this version, shipped where missing."""
        with tempfile.TemporaryDirectory() as temporary:
            write_code(Path(temporary))
            code = f"{self._root}/code/{digest_of_tree(Path(temporary)).removeprefix('sha256:')}"
            if not self._host.exists(code):
                self._host.run(f"mkdir -p {quote(self._root)}/code")
                self._host.put_tree(Path(temporary), code)
        return code

    def _ask(self, verb: str, folder: str) -> dict[str, Any]:
        """Return what `retune.backends.ssh_box` answers there."""
        command = f"env PYTHONPATH={quote(self._code)} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"
        asked = self._host.run(
            f"{command} {quote(self._python)} -m retune.backends.ssh_box {verb} {quote(folder)}"
        )
        lines = asked.out.splitlines()
        try:
            answer: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError):
            words = asked.err.strip().splitlines() or [f"exit code {asked.code}"]
            what = f"{self._host.name}: {self._python} gave no answer: {words[-1]}"
            if not self._host.exists(self._code):
                del self._code  # somebody cleared the folder
                raise TransientError(what) from None
            raise BackendError(what, "see the recipe's `python`, and `df -h` there") from None
        if "error" in answer:
            raise BackendError(f"{self._host.name}: {answer['error']}")
        return answer

    @contextmanager
    def _workplace(self) -> Iterator[JobFolder]:
        """A directory of this host for as long as files pass through it."""
        self._settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._settings.home, prefix="ssh-") as temporary:
            yield JobFolder(Path(temporary))
