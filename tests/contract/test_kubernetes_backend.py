"""Training as a Kubernetes Job: the real client, against a small cluster that speaks the API's words."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.backends.base import JobGoneError, JobLostError, Order, TransientError
from retune.backends.jobs import run_job
from retune.backends.kubernetes_jobs import KubernetesBackend
from retune.backends.kubernetes_manifest import job_name
from retune.errors import BackendError, SetupError
from retune.records import JobStatus
from retune.settings import EnvironmentConnections
from retune.training.job import JobFolder, Lease
from tests.contract.kubernetes_cluster import TOKEN, Cluster, ProcessContainer, TalkingContainer
from tests.contract.kubernetes_house import (
    PLACE,
    bucket,
    connect,
    make_kubernetes_bench,
    make_kubernetes_order,
)
from tests.tuning import BASE, Bench, make_base

WITHIN_S = 180


@dataclass
class Stage:
    """A cluster whose pods say what a test wants."""

    cluster: Cluster
    bench: Bench
    containers: list[TalkingContainer | None] = field(default_factory=list)
    """Of the next pods; then ones that run on."""

    @property
    def backend(self) -> KubernetesBackend:
        return connect(self.bench)

    @property
    def order(self) -> Order:
        return make_kubernetes_order(self.bench, self.bench.dataset())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    containers: list[TalkingContainer | None] = []
    with Cluster(lambda spec, number: containers.pop(0) if containers else TalkingContainer()) as cluster:
        bench = make_kubernetes_bench(cluster, tmp_path, f"memory://{tmp_path.name}")
        yield Stage(cluster, bench, containers)


def done(status: str, model: Any = None, error: str = "") -> str:
    told = {"status": status, "error": error, "metrics": {}, "seconds": 12.5, "kind": "adapter"}
    return json.dumps({"retune": "done", "done": told, "model": model}) + "\n"


def progress(step: int, **values: float) -> str:
    entry = {"step": step, "total_steps": 8, "epoch": 1.0, "seconds": float(step), **values}
    return json.dumps({"retune": "progress", "entry": entry}) + "\n"


def test_a_job_is_followed_by_its_conditions_and_its_pods_log(stage: Stage) -> None:
    pod = TalkingContainer()
    stage.containers.append(pod)
    order, backend = stage.order, stage.backend
    job = backend.submit(order, lambda: None)
    assert backend.poll(job).status is JobStatus.RUNNING
    pod.said = progress(4, loss=2.0) + "| a word of the trainer's\n" + progress(4, eval_loss=1.5)
    curves = backend.curves(job)
    assert curves.total_steps == 8
    assert [dict(point.values) for point in curves.points] == [{"loss": 2.0}, {"eval_loss": 1.5}]
    stored = stage.bench.artifacts.put_bytes(b"model", "x")
    pod.said += done("succeeded", {"kind": "adapter", "digest": stored.digest, "uri": stored.uri})
    pod.exit_code = 0
    view = backend.poll(job)
    assert (view.status, view.seconds) == (JobStatus.SUCCEEDED, 12.5)
    trained = backend.fetch(job)
    assert (trained.kind, trained.digest) == ("adapter", stored.digest)
    assert trained.cost_usd is None  # nobody said what an hour of the cluster costs
    backend.cancel(job)  # has ended
    assert backend.poll(job) == view


def test_a_training_that_failed_is_told_by_its_last_word(stage: Stage) -> None:
    stage.containers.append(TalkingContainer(done("failed", error="NaN -> mend it"), 0))
    backend = stage.backend
    view = backend.poll(backend.submit(stage.order, lambda: None))
    assert (view.status, view.error) == (JobStatus.FAILED, "NaN -> mend it")


def test_what_a_pod_waits_for_is_said(stage: Stage) -> None:
    stage.containers += [None, TalkingContainer(waiting="ImagePullBackOff")]
    backend = stage.backend
    job = backend.submit(stage.order, lambda: None)
    view = backend.poll(job)
    assert view.status is JobStatus.PENDING
    assert view.note == "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    assert backend.curves(job).points == ()
    stage.cluster.jobs.clear()
    stage.cluster.pods.clear()
    backend.submit(stage.order, lambda: None)
    assert backend.poll(job).note == "ImagePullBackOff: no such image"


@pytest.mark.parametrize(
    ("reason", "said"),
    [("OOMKilled", "out of memory .* -> lower batch_size"), ("", "-> see kubectl -n training describe job")],
)
def test_a_job_whose_pods_all_crash_has_failed(stage: Stage, reason: str, said: str) -> None:
    stage.containers += [TalkingContainer("| its last word\n", 137, reason) for _ in range(5)]
    backend = stage.backend
    job = backend.submit(stage.order, lambda: None)
    deadline = time.monotonic() + WITHIN_S
    while (view := backend.poll(job)).status is not JobStatus.FAILED:
        assert time.monotonic() < deadline
    assert len(stage.cluster.pods) == 5
    assert "BackoffLimitExceeded" in view.error and "its last word" in view.error
    assert re.search(said, view.error)


def test_an_ended_job_whose_log_is_gone_is_told_once_more_by_a_new_pod(stage: Stage) -> None:
    stage.containers.append(TalkingContainer(done("failed"), 0))
    backend, order = stage.backend, stage.order
    job = backend.submit(order, lambda: None)
    backend.poll(job)
    stage.cluster.pods.clear()
    with pytest.raises(JobLostError, match="its log is gone"):
        backend.poll(job)
    assert stage.cluster.jobs == {}
    stage.containers.append(TalkingContainer(done("failed"), 0))
    assert backend.submit(order, lambda: None) == job
    assert backend.poll(job).status is JobStatus.FAILED


def test_a_create_whose_answer_is_lost_makes_one_job(stage: Stage) -> None:
    stage.cluster.fail_after_create = True
    backend, order = stage.backend, stage.order
    with pytest.raises(TransientError, match="504"):
        backend.submit(order, lambda: None)
    (seen,) = backend.find(order)
    assert backend.submit(order, lambda: None) == seen.job
    assert len(stage.cluster.jobs) == len(stage.cluster.pods) == 1


def test_many_that_submit_at_once_make_one_job(stage: Stage) -> None:
    order, found = stage.order, []
    threads = [
        threading.Thread(target=lambda: found.append(stage.backend.submit(order, lambda: None)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(repr, found))) == 1
    assert len(stage.cluster.jobs) == len(stage.cluster.pods) == 1


def test_a_name_that_is_another_jobs_is_not_adopted(stage: Stage) -> None:
    backend, order = stage.backend, stage.order
    backend.submit(order, lambda: None)
    metadata = stage.cluster.jobs[job_name(order.key)]["metadata"]
    metadata["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    assert backend.find(order) == []
    with pytest.raises(TransientError, match="is being deleted"):
        backend.submit(order, lambda: None)
    del metadata["deletionTimestamp"]
    metadata["annotations"].clear()
    with pytest.raises(BackendError, match="is not ours -> delete it"):
        backend.submit(order, lambda: None)


def test_a_cancelled_job_stays_cancelled_and_has_no_pod(stage: Stage) -> None:
    backend, order = stage.backend, stage.order
    job = backend.submit(order, lambda: None)
    backend.cancel(job)
    assert stage.cluster.pods == []
    backend.cancel(job)
    assert backend.poll(job).status is JobStatus.CANCELLED
    assert [one.status for one in backend.find(order)] == [JobStatus.CANCELLED]


def test_a_job_that_the_clusters_queue_holds_back_is_pending(stage: Stage) -> None:
    backend, order = stage.backend, stage.order
    job = backend.submit(order, lambda: None)
    stage.cluster.jobs[job_name(order.key)]["spec"]["suspend"] = True
    view = backend.poll(job)
    assert (view.status, view.note) == (JobStatus.PENDING, "suspended by the cluster's queue")


def test_a_job_that_somebody_deleted_is_gone(stage: Stage) -> None:
    backend, order = stage.backend, stage.order
    job = backend.submit(order, lambda: None)
    stage.cluster.jobs.clear()
    with pytest.raises(JobGoneError, match="there is no job retune-"):
        backend.poll(job)
    assert backend.find(order) == []
    backend.cancel(job)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_cluster_is_asked_again(stage: Stage, status: int) -> None:
    stage.cluster.faults.append((status, {"Retry-After": "3600"}))
    with pytest.raises(TransientError, match=str(status)) as caught:
        stage.backend.find(stage.order)
    assert caught.value.retry_after_s == 3600.0


@pytest.mark.parametrize(("status", "action"), [(403, "manage jobs"), (422, "mend the recipe")])
def test_a_refusal_is_final_and_says_what_to_do(stage: Stage, status: int, action: str) -> None:
    stage.cluster.faults.append((status, {}))
    with pytest.raises(BackendError, match=f"as the test wants it -> .*{action}") as caught:
        stage.backend.submit(stage.order, lambda: None)
    assert not isinstance(caught.value, TransientError)


def test_wrong_credentials_are_refused_without_being_shown(stage: Stage, tmp_path: Path) -> None:
    stage.cluster.write_kubeconfig(tmp_path / "kubeconfig", PLACE["connection"], token="hunter2")
    with pytest.raises(BackendError, match="401 .* -> mend the connection's credentials") as caught:
        stage.backend.find(stage.order)
    assert "hunter2" not in str(caught.value)


def test_a_cluster_that_is_down_may_come_back(tmp_path: Path) -> None:
    with Cluster(lambda spec, number: None) as cluster:
        bench = make_kubernetes_bench(cluster, tmp_path, f"memory://{tmp_path.name}")
    with pytest.raises(TransientError, match="the cluster does not answer"):
        connect(bench).find(make_kubernetes_order(bench, bench.dataset()))


def test_artifacts_that_no_pod_can_read_are_refused(stage: Stage, tmp_path: Path) -> None:
    bench = replace(stage.bench, artifacts=Artifacts(tmp_path.as_uri()))
    make = bench.recipe().model_copy(update={"base_digest": "hf:abc"})
    with pytest.raises(BackendError, match="a pod cannot read the artifacts in file:.* -> set artifacts_url"):
        connect(bench).validate(Order("k", 1, make, bench.dataset()))


def test_a_base_model_that_is_a_folder_goes_into_the_store(stage: Stage) -> None:
    base = stage.bench.settings.resolve(BASE)
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    order = stage.order
    stage.backend.submit(order, lambda: None)
    assert stage.bench.artifacts.exists(order.recipe.base_digest)


def test_a_context_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, tmp_path: Path
) -> None:
    config = str(tmp_path / "kubeconfig")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
    with pytest.raises(SetupError, match="connection 'other': no cluster is known here .* -> set KUBECONFIG"):
        EnvironmentConnections().kubernetes("other")


def test_airflows_connection_leads_to_the_cluster(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.airflow.configuration import AirflowConnections

    backend = KubernetesBackend(
        replace(stage.bench, connections=AirflowConnections()).installation,
        PLACE | {"connection": "my_cluster"},
    )
    with pytest.raises(BackendError, match="there is no Airflow connection 'my_cluster'"):
        backend.find(stage.order)
    extra = {"kube_config": "{", "namespace": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_MY_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    with pytest.raises(BackendError, match="'my_cluster' names no cluster") as caught:
        backend.find(stage.order)
    assert TOKEN not in str(caught.value)
    extra = {"kube_config_path": str(tmp_path / "kubeconfig")}
    monkeypatch.setenv("AIRFLOW_CONN_MY_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    job = backend.submit(stage.order, lambda: None)
    assert backend.poll(job).status is JobStatus.RUNNING


def test_a_pod_that_dies_is_replaced_and_the_training_goes_on(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    with bucket() as url, Cluster(lambda spec, number: ProcessContainer(spec, volume, number)) as cluster:
        bench = make_kubernetes_bench(cluster, tmp_path, url)
        make_base(tmp_path / BASE)
        order = make_kubernetes_order(bench, bench.dataset(), epochs=10, patience=10)
        folder = JobFolder(volume / "jobs" / order.key)

        def kill() -> None:
            deadline = time.monotonic() + WITHIN_S
            while not ((entries := folder.read_progress()) and entries[-1]["step"] > 20):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            lease = Lease.read(folder)
            assert lease is not None
            os.killpg(os.getpgid(lease.pid), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(KubernetesBackend, "poll_every_s", 0.2)
            model = run_job(order.recipe, order.dataset, bench.site(lambda _: None))
        killer.join()
        logs = [pod.container.log() for pod in cluster.pods if pod.container]
        assert len(cluster.jobs) == 1 and len(logs) == 2
        assert "resuming from checkpoint-" in logs[1]
        assert bench.artifacts.exists(model.digest)
        losses = {curve.name: curve.points for curve in model.curves}["loss"]
        assert losses[0][0] < 20 and losses[-1][0] == 40  # the log of the second pod tells it all
        assert {path.name for path in folder.path.iterdir() if path.is_dir()} == {"model"}
        for secret in (TOKEN, "canary-secret"):
            assert secret not in json.dumps(cluster.jobs) + "".join(logs)
