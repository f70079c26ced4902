"""Training as a Kubernetes Job: the local backend's job directory, on a volume that the pod mounts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from retune.backends import hours, job_folders
from retune.backends.base import (
    Curves,
    Estimate,
    Installation,
    JobGoneError,
    JobLostError,
    Order,
    Sighting,
    Trained,
    TransientError,
    View,
)
from retune.backends.kubernetes_cluster import Cluster
from retune.backends.kubernetes_manifest import CANCELLED, KEY, job_manifest, job_name
from retune.backends.kubernetes_pod import heard
from retune.backends.recipes import base_folder
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.training.job import JobFolder

_DEFAULT_NAMESPACE = "default"
_LAST_LINES = 20


class KubernetesBackend:
    """Makes a Job whose name is the order's, so that the cluster itself refuses a second one.

    Rows, base model and the tuned model pass through the artifacts' store, which the pod must reach.
    The Job says whether it has ended, its pod's log how. Where the log is gone, the Job is made again:
    its pod finds the ended training on the volume and says the same once more.
    """

    name = "kubernetes"
    poll_every_s = 10.0
    waits_here = False
    settles_within_s = 0.0  # a Job that is asked for twice is there once

    def __init__(self, installation: Installation, place: Mapping[str, str]) -> None:
        self._installation = installation
        self._settings = installation.settings
        self._place = dict(place)
        self._cluster = Cluster(
            lambda: installation.connections.kubernetes(place.get("connection", "")),
            place.get("namespace") or _DEFAULT_NAMESPACE,
        )

    @property
    def account(self) -> str:
        """Nobody pays by the job."""
        return ""

    def validate(self, order: Order) -> None:
        """Refuse what the local backend refuses, and artifacts that lie where no pod can read them."""
        job_folders.validate(order, self._settings)
        url = self._installation.artifacts.url
        if url.startswith(("file:", "local:", "memory:")) or "://" not in url:
            raise BackendError(
                f"a pod cannot read the artifacts in {url}",
                "set artifacts_url to a store that the cluster reaches, such as s3://... or gs://...",
            )

    def estimate(self, order: Order) -> Estimate:
        """Say what the cluster's time costs."""
        return hours.estimate(self._settings, self.name, self._place)

    def submit(self, order: Order, posting: Callable[[], None]) -> Job:
        """Store a base model that is a folder, and create the Job; one of its name is adopted.

        Raises:
            TransientError: A Job of its name is being deleted, or the cluster is busy.
            BackendError: Its name is another job's, or the cluster refuses it.
        """
        artifacts, recipe = self._installation.artifacts, order.recipe
        folder = base_folder(recipe.base_model, self._settings)
        if folder is not None and not artifacts.exists(recipe.base_digest):
            artifacts.put_tree(folder)
        posting()
        created = self._cluster.create_job(job_manifest(order, self._place, artifacts.url))
        if created is None:
            name = job_name(order.key)
            found = self._cluster.job(name)
            if found is None or found.metadata.deletion_timestamp is not None:
                raise TransientError(f"job {name} is being deleted")
            if (found.metadata.annotations or {}).get(KEY) != order.key:
                raise BackendError(f"job {name} is not ours", f"delete it: kubectl delete job {name}")
        return self._handle(order)

    def find(self, order: Order) -> Sequence[Sighting]:
        """Return the Job of the order's name."""
        name = job_name(order.key)
        found = self._cluster.job(name)
        if found is None or found.metadata.deletion_timestamp is not None:
            return []
        try:
            status = self._view(name, found).status
        except JobLostError:
            return []
        return [Sighting(self._handle(order), status, found.metadata.creation_timestamp.timestamp())]

    def poll(self, job: Job) -> View:
        """Read the Job's conditions, and where it has ended, its pod's last words.

        Raises:
            JobLostError: It has ended, but nobody can say how any more.
            JobGoneError: There is no such Job.
        """
        name = job_name(job.key)
        found = self._cluster.job(name)
        if found is None:
            raise JobGoneError(f"there is no job {name} in {self._cluster.namespace}")
        return self._view(name, found)

    def curves(self, job: Job) -> Curves:
        """Read the progress in the latest pod's log, which repeats that of the pods before it."""
        entries = [
            told["entry"] for told in heard(self._log(job_name(job.key))) if told["retune"] == "progress"
        ]
        with tempfile.TemporaryDirectory() as temporary:
            folder = JobFolder(Path(temporary))
            folder.progress_file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
            return job_folders.curves(folder)

    def cancel(self, job: Job) -> None:
        """Suspend the Job for good, which ends its pods."""
        name = job_name(job.key)
        found = self._cluster.job(name)
        if found is not None and not _conditions(found).keys() & {"Complete", "Failed"}:
            self._cluster.cancel_job(name)

    def fetch(self, job: Job) -> Trained:
        """Say where the pod has stored the model.

        Raises:
            TransientError: The log cannot be read any more.
            BackendError: The model is not in the store.
        """
        name = job_name(job.key)
        told = self._ended(name)
        if told is None:
            raise TransientError(f"the log of job {name} is gone")
        model = told["model"]
        if not self._installation.artifacts.exists(model["digest"]):
            raise BackendError(
                f"the pod of job {name} stored {model['digest']} in {model['uri']}, where it is not",
                "see that pod and worker mean the same artifacts_url",
            )
        return Trained(
            model["kind"],
            model["digest"],
            model["uri"],
            hours.cost(self._settings, self.name, self._place, told["done"]["seconds"]),
        )

    def _cost(self, seconds: float) -> float | None:
        """Return what a job without a model has cost; None where nobody told how long it trained."""
        return hours.cost(self._settings, self.name, self._place, seconds) if seconds else None

    def _handle(self, order: Order) -> Job:
        name, namespace = job_name(order.key), self._cluster.namespace
        return order.handle(
            self.name,
            f"{namespace}/{name}",
            f"k8s://{self._place.get('connection') or 'cluster'}/{namespace}/jobs/{name}",
            self._place,
        )

    def _view(self, name: str, found: Any) -> View:
        conditions = _conditions(found)
        if "Complete" in conditions:
            told = self._ended(name)
            if told is None:
                self._cluster.delete_job(name)
                raise JobLostError(f"job {name} has ended, but its log is gone")
            done = told["done"]
            seconds = done["seconds"]
            return View(JobStatus(done["status"]), done["error"], "", seconds, self._cost(seconds))
        if (found.metadata.annotations or {}).get(CANCELLED):
            return View(JobStatus.CANCELLED, "cancelled")
        if "Failed" in conditions:
            return View(JobStatus.FAILED, self._failure(name, conditions["Failed"]))
        if found.status.ready:
            return View(JobStatus.RUNNING)
        if "Suspended" in conditions:
            return View(JobStatus.PENDING, note="suspended by the cluster's queue")
        return View(JobStatus.PENDING, note=_waits_for(self._cluster.newest_pod(name)))

    def _ended(self, name: str) -> dict[str, Any] | None:
        """Return what the latest pod said last: `done`, as done.json has it, and `model`, maybe null."""
        told = list(heard(self._log(name, _LAST_LINES)))
        return told[-1] if told and told[-1]["retune"] == "done" else None

    def _log(self, name: str, last_lines: int | None = None) -> str:
        pod = self._cluster.newest_pod(name)
        return "" if pod is None else self._cluster.log(pod.metadata.name, last_lines)

    def _failure(self, name: str, condition: Any) -> str:
        pod = self._cluster.newest_pod(name)
        lines = [] if pod is None else self._cluster.log(pod.metadata.name, _LAST_LINES).splitlines()
        words = next((line.removeprefix("| ") for line in reversed(lines) if line.strip("| ")), "")
        why = f"{condition.reason}: {condition.message}" + (f"; its last words: {words}" if words else "")
        if pod is not None and _ended_by(pod) == "OOMKilled":
            return f"out of memory ({why}) -> lower batch_size or max_length, or raise the namespace's limit"
        return f"{why} -> see kubectl -n {self._cluster.namespace} describe job {name}"


def _conditions(job: Any) -> dict[str, Any]:
    """Return the conditions that hold: Complete, Failed, Suspended, ..."""
    return {one.type: one for one in job.status.conditions or [] if one.status == "True"}


def _waits_for(pod: Any | None) -> str:
    """Return why a pod does not run yet, in the cluster's words."""
    if pod is None:
        return "waits for a pod"
    for one in pod.status.container_statuses or []:
        if one.state.waiting is not None:
            return f"{one.state.waiting.reason}: {one.state.waiting.message or ''}".rstrip(": ")
    for one in pod.status.conditions or []:
        if one.type == "PodScheduled" and one.status != "True":
            return f"{one.reason}: {one.message}"
    return f"its pod is {pod.status.phase}"


def _ended_by(pod: Any) -> str:
    ended = [one.state.terminated for one in pod.status.container_statuses or [] if one.state.terminated]
    return str(ended[0].reason) if ended else ""
