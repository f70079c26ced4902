"""What every backend must do. A new one joins by a line in BACKENDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retune.backends.attempts import job_key
from retune.backends.base import ENDED, Backend, Order, View, load_backend
from retune.backends.local_jobs import stop_trainers
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.testing.emulators.process import running
from tests.contract.acme_house import acme_house
from tests.contract.house import House
from tests.contract.kubernetes_house import kubernetes_house
from tests.contract.openai_house import OPENAI_CONTRACT, make_openai_house
from tests.contract.ssh_house import ssh_house
from tests.contract.vertex_house import make_vertex_house
from tests.tuning import BASE, make_base, make_bench

WITHIN_S = 240


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
        connect=lambda: load_backend("local", bench.installation, {}),
        artifacts=bench.artifacts,
        good=order(),
        long=order(epochs=100_000, patience=100_000),
        refused=Order("refused", 1, other_base, dataset),
        failing=order(max_length=16),
    )
    stop_trainers(bench.settings.jobs)


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("openai")
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.is_file() else {}
    with running("openai", folder / "emulator", phase_s=PHASES, **contract) as emulator:
        yield make_openai_house(folder / "project", emulator)
        assert not emulator.problems()


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("vertex")
    with running("vertex", folder / "emulator", phase_s=PHASES) as emulator:
        yield make_vertex_house(folder / "project", emulator)
        assert not emulator.problems()


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ssh_house(tmp_path_factory.mktemp("ssh")) as house:
        yield house


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with kubernetes_house(tmp_path_factory.mktemp("kubernetes")) as house:
        yield house


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with acme_house(tmp_path_factory.mktemp("acme")) as house:
        yield house


PHASES = {"running": 4.0}
"""Long enough for a job to be seen and cancelled while it runs."""
BACKENDS = ["local", "openai", "vertex", "ssh", "kubernetes", "acme"]


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


def found_by(backend: Backend, order: Order, job: Job) -> None:
    """The backend finds this job of the order and no other; its list may lag."""
    deadline = time.monotonic() + backend.settles_within_s + WITHIN_S
    while not (seen := backend.find(order)):
        assert time.monotonic() < deadline, "the job is not found"
        time.sleep(0.05)
    assert [one.job for one in seen] == [job]


def test_a_job_runs_once_and_ends_as_a_stored_model(house: House) -> None:
    backend, order = house.connect(), house.good
    assert not backend.find(order)
    backend.validate(order)
    assert backend.estimate(order).basis
    posted: list[int] = []
    job = backend.submit(order, lambda: posted.append(1))
    assert posted == [1]  # once, so that a crash is known to have been before or after it
    assert (job.key, job.backend, job.attempt) == (order.key, backend.name, 1)
    assert job.url and job.provider_id
    found_by(house.connect(), order, job)  # an orphan is found by whoever looks
    view = poll_until(backend, job, lambda view: view.status in ENDED)
    assert (view.status, view.error) == (JobStatus.SUCCEEDED, "")
    curves = backend.curves(job)
    steps = [point.step for point in curves.points]
    assert steps == sorted(steps) and steps[-1] <= curves.total_steps
    measured = {name for point in curves.points for name in point.values}
    assert {"loss", "eval_loss"} <= measured
    assert view.seconds > 0
    trained = backend.fetch(job)
    assert trained.kind == "hosted" or house.artifacts.exists(trained.digest)
    other = house.connect()
    found_by(other, order, job)
    assert other.poll(job) == view
    assert other.fetch(job) == trained


def test_cancelling_is_final_and_may_be_repeated(house: House) -> None:
    backend, order = house.connect(), house.long
    job = backend.submit(order, lambda: None)
    poll_until(backend, job, lambda view: bool(backend.curves(job).points))  # in the midst of its training
    other = house.connect()
    other.cancel(job)
    assert poll_until(backend, job, lambda view: view.status in ENDED).status is JobStatus.CANCELLED
    other.cancel(job)
    found_by(other, order, job)
    assert other.poll(job).status is JobStatus.CANCELLED


def test_what_it_cannot_do_is_refused_before_it_is_submitted(house: House) -> None:
    backend = house.connect()
    with pytest.raises(BackendError):
        backend.validate(house.refused)
    assert not backend.find(house.refused)


def test_a_failed_job_says_why_and_what_to_do(house: House) -> None:
    backend = house.connect()
    backend.validate(house.failing)
    job = backend.submit(house.failing, lambda: None)
    view = poll_until(backend, job, lambda view: view.status in ENDED)
    assert view.status is JobStatus.FAILED
    assert " -> " in view.error


def test_it_says_who_pays_and_how_often_to_look(house: House) -> None:
    backend = house.connect()
    assert isinstance(backend.account, str)
    assert backend.poll_every_s > 0
    assert backend.settles_within_s >= 0
    assert backend.name == house.good.recipe.backend


def test_its_trainer_leaves_only_the_adapter(local: House, tmp_path: Path) -> None:
    backend = local.connect()
    job = backend.submit(local.good, lambda: None)
    poll_until(backend, job, lambda view: view.status in ENDED)
    folder = local.artifacts.get_tree(backend.fetch(job).digest, tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "parity.json",
    }
    assert f'"base_model_name_or_path": "{BASE}"' in (folder / "adapter_config.json").read_text()
