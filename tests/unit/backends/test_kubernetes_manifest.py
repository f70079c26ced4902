"""The Job's manifest is what the API's published types allow, and holds what the pod needs and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from retune.backends.base import Order
from retune.backends.kubernetes_manifest import KEY, job_manifest, job_name, read_order, write_order
from tests.contract.kubernetes_cluster import unknown_fields
from tests.tuning import Bench, make_bench

PLACE = {"connection": "gpu", "namespace": "training", "image": "retune:1", "gpus": "4", "volume": "claim"}
KEY_OF = "0123456789abcdef" * 4
# kubernetes.io/docs/concepts/overview/working-with-objects/names, .../labels
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def order(bench: Bench) -> Order:
    return Order(KEY_OF, 1, bench.recipe(), bench.dataset())


def manifest(order: Order, **place: str) -> dict[str, Any]:
    return job_manifest(order, PLACE | place, "s3://artifacts")


def pod_of(found: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def test_every_field_is_one_of_the_api(order: Order) -> None:
    assert unknown_fields(manifest(order)) == []
    wrong = manifest(order)
    pod_of(wrong)["restartPolicies"] = "Never"
    assert unknown_fields(wrong) != []


def test_names_and_labels_are_allowed(order: Order) -> None:
    dataset = order.dataset.model_copy(update={"pipeline": "-" + "a" * 38 + "-"})
    found = manifest(Order(order.key, 1, order.recipe, dataset))
    assert NAME.fullmatch(found["metadata"]["name"])
    template = found["spec"]["template"]["metadata"]["labels"]
    assert template == found["metadata"]["labels"]
    assert all(LABEL.fullmatch(value) for value in template.values()), template


def test_the_same_order_is_the_same_job(order: Order) -> None:
    assert manifest(order) == manifest(order)
    assert job_name(order.key) == f"retune-{order.key[:40]}"
    assert job_name("f" * 64) != job_name(order.key)
    assert manifest(order)["metadata"]["annotations"] == {KEY: order.key}


def test_gpus_volume_and_image_are_the_places(order: Order) -> None:
    pod = pod_of(manifest(order))
    (container,) = pod["containers"]
    assert container["image"] == "retune:1"
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "4"}}
    assert {"name": "jobs", "persistentVolumeClaim": {"claimName": "claim"}} in pod["volumes"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    for gpus in ("", "0"):
        assert pod_of(manifest(order, gpus=gpus))["containers"][0]["resources"] == {}


def test_a_crash_is_tried_again_and_an_eviction_does_not_count(order: Order) -> None:
    spec = manifest(order)["spec"]
    assert spec["backoffLimit"] > 0
    assert pod_of(manifest(order))["restartPolicy"] == "Never"  # which podFailurePolicy demands
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_nothing_secret_goes_along(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "OPENAI_API_KEY", "RETUNE_STATE_URL"):
        monkeypatch.setenv(name, "hunter2")
    assert "hunter2" not in json.dumps(manifest(order))
    pod = pod_of(manifest(order))
    (container,) = pod["containers"]
    assert container["env"] == [{"name": "PYTHONUNBUFFERED", "value": "1"}]
    assert "envFrom" not in container and "imagePullSecrets" not in pod
    assert pod["automountServiceAccountToken"] is False


def test_the_pod_reads_the_order_that_was_written(order: Order) -> None:
    dataset = order.dataset.model_copy(update={"sources": {"a.jsonl": "sha256:1"}, "dropped": {"short": 3}})
    many = Order(order.key, 2, order.recipe, dataset)
    read = read_order(write_order(many))
    assert (read.key, read.attempt, read.recipe) == (many.key, 2, many.recipe)
    assert read.dataset == order.dataset  # of where its rows came from the pod learns nothing
    words = pod_of(manifest(many))["containers"][0]["args"]
    assert read_order(words[words.index("--order") + 1]) == read
