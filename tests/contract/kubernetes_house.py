"""A house of the contract suite on a small cluster whose pods train; the store is S3 as moto speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.backends.attempts import job_key
from retune.backends.base import Order
from retune.backends.kubernetes_jobs import KubernetesBackend
from retune.records import Dataset
from retune.settings import EnvironmentConnections
from tests.contract.house import House
from tests.contract.kubernetes_cluster import Cluster, ProcessContainer
from tests.tuning import BASE, Bench, make_base, make_bench

PLACE = {"connection": "test", "namespace": "training", "image": "retune:test", "volume": "claim"}


@dataclass(frozen=True)
class KubeconfigConnections(EnvironmentConnections):
    """Reads a kubeconfig of its own."""

    path: Path

    def kubernetes(self, name: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            # The client reads the variable when it is imported.
            patch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(self.path))
            return super().kubernetes(name)


@contextmanager
def bucket() -> Iterator[str]:
    """The URL of an empty bucket, with the environment that leads there, also for new processes."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto's server is not installed")
    import s3fs

    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("artifacts")
        yield "s3://artifacts"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def make_kubernetes_bench(cluster: Cluster, folder: Path, artifacts_url: str) -> Bench:
    """Make an installation whose connections lead to the cluster; its base model is not written."""
    config = cluster.write_kubeconfig(folder / "kubeconfig", PLACE["connection"])
    artifacts = Artifacts(artifacts_url)
    return replace(make_bench(folder), artifacts=artifacts, connections=KubeconfigConnections(config))


def make_kubernetes_order(bench: Bench, dataset: Dataset, **changed: object) -> Order:
    recipe = bench.recipe(**changed).model_copy(update={"backend": "kubernetes", "place": PLACE})
    return Order(job_key(dataset, recipe, "kubernetes", "", 1), 1, recipe, dataset)


def connect(bench: Bench) -> KubernetesBackend:
    """Return a new backend that looks more often than a real one."""
    backend = KubernetesBackend(bench.installation, PLACE)
    backend.poll_every_s = 0.2
    return backend


@contextmanager
def kubernetes_house(folder: Path) -> Iterator[House]:
    """The house of the contract suite, for a folder of its own."""
    volume = folder / "volume"
    volume.mkdir()
    with bucket() as url, Cluster(lambda spec, number: ProcessContainer(spec, volume, number)) as cluster:
        bench = make_kubernetes_bench(cluster, folder, url)
        make_base(folder / BASE)
        dataset = bench.dataset()

        def order(**changed: object) -> Order:
            return make_kubernetes_order(bench, dataset, **changed)

        other = order().recipe.model_copy(update={"base_digest": "sha256:" + "0" * 64})
        yield House(
            connect=lambda: connect(bench),
            artifacts=bench.artifacts,
            good=order(),
            long=order(epochs=100_000, patience=100_000),
            refused=Order("refused", 1, other, dataset),
            failing=order(max_length=16),
        )
