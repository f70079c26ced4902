"""The Job that trains an order on Kubernetes: its name, its manifest, what its pod is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retune.backends.base import Order
from retune.records import Dataset, Recipe

KEY = "retune/key"
"""Annotation with the whole key of the job."""
CANCELLED = "retune/cancelled"
"""Annotation of a job that was cancelled for good."""
JOB_LABEL = "retune/job"
VOLUME = "/retune"
"""Where the pod sees the claim."""
_GROUP = 50000
"""Who may write on the volume: the group of docker/Dockerfile.airflow's user."""
_RETRIES = 4
_KEPT_S = 30 * 24 * 3600
_KEY_PART = 40


def job_name(key: str) -> str:
    """Return the Job's name: the same order is the same Job, and a second one cannot be made."""
    return f"retune-{key[:_KEY_PART]}"


def write_order(order: Order) -> str:
    """Return what the pod must know of an order, as JSON; the rows come by their digests."""
    dataset = order.dataset.model_copy(update={"sources": {}, "dropped": {}})
    told = {"key": order.key, "attempt": order.attempt}
    return json.dumps(told | {"recipe": order.recipe.to_json(), "dataset": dataset.to_json()})


def read_order(text: str) -> Order:
    """Return the order of a `write_order`, maybe of an older version."""
    told = json.loads(text)
    recipe, dataset = Recipe.from_json(told["recipe"]), Dataset.from_json(told["dataset"])
    return Order(told["key"], told["attempt"], recipe, dataset)


def job_manifest(order: Order, place: Mapping[str, str], artifacts_url: str) -> dict[str, Any]:
    """Return the manifest (batch/v1 Job, kubernetes.io/docs/concepts/workloads/controllers/job).

    A crashed pod is replaced a few times, and one that was evicted or preempted always; the trainer
    goes on from its last checkpoint on the volume. No secret is in it: what the pod may read comes
    from its service account.

    Args:
        order: The job.
        place: The recipe's: image, volume (a claim), namespace, gpus.
        artifacts_url: Where rows and base model are, and the model goes.
    """
    labels = {
        "app.kubernetes.io/name": "retune-training",
        "app.kubernetes.io/managed-by": "retune",
        "retune/pipeline": order.dataset.pipeline.strip("-"),
        JOB_LABEL: job_name(order.key),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(order.key), "labels": labels, "annotations": {KEY: order.key}},
        "spec": {
            "backoffLimit": _RETRIES,
            "ttlSecondsAfterFinished": _KEPT_S,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(order, place, artifacts_url),
            },
        },
    }


def _pod(order: Order, place: Mapping[str, str], artifacts_url: str) -> dict[str, Any]:
    command = ["python", "-m", "retune.backends.kubernetes_pod"]
    gpus = int(place.get("gpus") or 0)
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,  # it asks nothing of the cluster
        "securityContext": {"fsGroup": _GROUP, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [
            {
                "name": "trainer",
                "image": place["image"],
                "command": command,
                "args": [
                    "--artifacts", artifacts_url, "--folder", f"{VOLUME}/jobs", "--order", write_order(order),
                ],
                "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
                "resources": {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {},
                "securityContext": {"allowPrivilegeEscalation": False},
                "volumeMounts": [
                    {"name": "jobs", "mountPath": VOLUME},
                    {"name": "shm", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "jobs", "persistentVolumeClaim": {"claimName": place["volume"]}},
            # Processes that train together need more of it than the 64 MB that a pod has.
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }  # fmt: skip
