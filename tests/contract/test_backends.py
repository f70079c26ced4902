"""What every backend must do. A new one joins by a line in BACKENDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.backends.base import Backend, Order, View, load_backend
from retune.backends.jobs import job_key
from retune.backends.local_jobs import stop_trainers
from retune.errors import BackendError
from retune.records import Job, JobStatus
from tests.tuning import BASE, make_base, make_bench

ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
WITHIN_S = 240


@dataclass(frozen=True)
class House:
    """A backend with orders to try it on."""

    connect: Callable[[], Backend]
    """A new instance, as another process would make it."""
    artifacts: Artifacts
    good: Order
    """Ends within a minute."""
    long: Order
    """Would run for many minutes."""
    refused: Order
    """The backend must refuse it before it costs anything."""
    failing: Order
    """Is accepted, and fails."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    project = tmp_path_factory.mktemp("project")
    make_base(project / BASE)
    bench = make_bench(project)
    dataset = bench.dataset()

    def order(**changed: object) -> Order:
        recipe = bench.recipe(**changed)
        return Order(job_key(dataset, recipe, "local", "", 1), 1, recipe, dataset)

    other_base = bench.recipe().model_copy(update={"base_digest": "sha256:" + "0" * 64})
    yield House(
        connect=lambda: load_backend("local", bench.settings, bench.artifacts),
        artifacts=bench.artifacts,
        good=order(),
        long=order(epochs=100_000, patience=100_000),
        refused=Order("refused", 1, other_base, dataset),
        failing=order(max_length=16),
    )
    stop_trainers(bench.settings.jobs)


BACKENDS = ["local"]


@pytest.fixture(params=BACKENDS)
def house(request: pytest.FixtureRequest) -> House:
    house: House = request.getfixturevalue(request.param)
    return house


def poll_until(backend: Backend, job: Job, reached: Callable[[View], bool]) -> View:
    deadline = time.monotonic() + WITHIN_S
    while not reached(view := backend.poll(job)):
        assert time.monotonic() < deadline, f"still {view.status} after {WITHIN_S} s"
        time.sleep(backend.poll_every_s)
    return view


def test_a_job_runs_once_and_ends_as_a_stored_model(house: House) -> None:
    backend, order = house.connect(), house.good
    assert backend.find(order) is None
    backend.validate(order)
    job = backend.submit(order)
    assert (job.key, job.backend, job.attempt) == (order.key, backend.name, 1)
    assert job.url and job.provider_id
    assert house.connect().find(order) == job  # an orphan is found by whoever looks
    view = poll_until(backend, job, lambda view: view.status in ENDED)
    assert (view.status, view.error) == (JobStatus.SUCCEEDED, "")
    steps = [point.step for point in view.points]
    assert steps == sorted(steps) and steps[-1] <= view.total_steps
    measured = {name for point in view.points for name in point.values}
    assert {"loss", "eval_loss"} <= measured
    assert view.seconds > 0
    trained = backend.fetch(job)
    assert trained.kind == "hosted" or house.artifacts.exists(trained.digest)
    other = house.connect()
    assert other.find(order) == job
    assert other.poll(job) == view
    assert other.fetch(job) == trained


def test_cancelling_is_final_and_may_be_repeated(house: House) -> None:
    backend, order = house.connect(), house.long
    job = backend.submit(order)
    poll_until(backend, job, lambda view: len(view.points) > 0)
    other = house.connect()
    other.cancel(job)
    assert poll_until(backend, job, lambda view: view.status in ENDED).status is JobStatus.CANCELLED
    other.cancel(job)
    assert other.find(order) == job
    assert other.poll(job).status is JobStatus.CANCELLED


def test_what_it_cannot_do_is_refused_before_it_is_submitted(house: House) -> None:
    backend = house.connect()
    with pytest.raises(BackendError):
        backend.validate(house.refused)
    assert backend.find(house.refused) is None


def test_a_failed_job_says_why_and_what_to_do(house: House) -> None:
    backend = house.connect()
    backend.validate(house.failing)
    job = backend.submit(house.failing)
    view = poll_until(backend, job, lambda view: view.status in ENDED)
    assert view.status is JobStatus.FAILED
    assert " -> " in view.error


def test_it_says_who_pays_and_how_often_to_look(house: House) -> None:
    backend = house.connect()
    assert isinstance(backend.account, str)
    assert backend.poll_every_s > 0
    assert backend.name == house.good.recipe.backend


def test_its_trainer_leaves_only_the_adapter(local: House, tmp_path: Path) -> None:
    backend = local.connect()
    job = backend.submit(local.good)
    poll_until(backend, job, lambda view: view.status in ENDED)
    folder = local.artifacts.get_tree(backend.fetch(job).digest, tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    assert f'"base_model_name_or_path": "{BASE}"' in (folder / "adapter_config.json").read_text()
