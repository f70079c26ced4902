"""A real Airflow, a small project and what serves it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.serving.agent import run_agent
from retune.serving.processes import free_ports
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec
from retune.state import replicas
from retune.state.database import Database
from retune.testing import tiny_base
from retune.testing.vllm_stub import VllmStub
from tests.unit.serving.builders import until
from tests.unit.serving.conftest import Gateway

ROOT = Path(__file__).parents[2]
_NAMES = (f"tickets-{number}" for number in count(1))
_WORDS = {"billing": "invoice", "shipping": "parcel", "technical": "crash"}
SPEC = """\
version: 1
pipeline: {name}
owner: support-ml
schedule: {{cron: "0 3 * * 1", timezone: Europe/Berlin}}
data:
  sources: [include/data/rows.jsonl]
  columns: {{prompt: text, completion: queue}}
  system_prompt: Answer with the queue.
  expectations: include/expectations/rows.json
  split: {{validation: 0.2, held_out: 0.4, leak_similarity: 1}}
recipes:
  - {{backend: local, base_model: models/tiny, epochs: 1, max_length: 160, lora: {{r: 4, alpha: 8}}}}
evaluation: {{endpoint: vllm_test}}
deploy: {{endpoint: vllm_test, alias: {name}}}
watch: {{min_requests: 20}}
"""


def queue_of(prompt: str) -> str:
    """The right answer to a prompt."""
    return next((queue for queue, word in _WORDS.items() if word in prompt), "")


def skilled(model: str, prompt: str) -> str:
    """An adapter knows the answer, the base model does not."""
    return queue_of(prompt) if model.startswith("sha256:") else "no idea"


def clueless(model: str, prompt: str) -> str:
    """Nobody knows the answer."""
    return "no idea"


@dataclass
class House:
    """One pipeline with its project, its state and a stub of vLLM."""

    project: Path
    pipeline: str
    stub: VllmStub
    db: Database
    settings: Settings
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def file(self) -> Path:
        """The pipeline's YAML."""
        return self.project / "include" / "pipelines" / f"{self.pipeline}.yaml"

    @property
    def spec(self) -> PipelineSpec:
        """The spec in the file."""
        return load_spec(self.file)

    @property
    def artifacts(self) -> Artifacts:
        """Its artifacts."""
        return Artifacts(self.settings.artifacts_url)

    def dag(self, verb: str) -> Any:
        """Return a DAG of the pipeline as Airflow loads it from the DAG file."""
        return dag_bag().dags[f"{self.pipeline}.{verb}"]

    def run(self, verb: str, **conf: Any) -> Any:
        """Run a DAG of the pipeline to its end and return the DagRun."""
        return self.dag(verb).test(run_conf=conf or None)

    def start_agent(self, gateway: Gateway | None = None) -> None:
        """Run an agent until the test ends, and wait for its first report."""
        target = {
            "db": Database(self.db.url),
            "artifacts": self.artifacts,
            "settings": self.settings,
            "name": "agent",
            "endpoint": "vllm_test",
            "replica_url": self.stub.url,
            "base_model": "models/tiny",
            "gateway_dir": gateway.folder if gateway else None,
            "gateway_url": gateway.url if gateway else "",
            "stop": self.ended.is_set,
            "poll_s": 0.05,
        }
        self._agent = threading.Thread(target=run_agent, kwargs=target, daemon=True)
        self._agent.start()
        until(self._reported, "the agent reports")

    def stop_agent(self) -> None:
        """End the agent."""
        self.ended.set()
        if hasattr(self, "_agent"):
            self._agent.join()

    def _reported(self) -> bool:
        from retune.serving.waiting import now_utc

        with self.db.read() as tx:
            return any(state.healthy for state in replicas.live(tx, "vllm_test", now_utc()))


def dag_bag() -> Any:
    """Load the DAG file as Airflow does."""
    from airflow.configuration import conf
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(conf.get("core", "dags_folder"))


def states(run: Any) -> dict[str, str]:
    """Return task (and map index, where mapped) -> state of a run."""
    return {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in run.get_task_instances()
    }


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> None:
    """A migrated Airflow database with the pool, and the project's own DAG file in its folder."""
    from airflow.configuration import conf
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    folder = Path(conf.get("core", "dags_folder"))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dags" / "retune_pipelines.py", folder)
    initdb()
    with create_session() as session:
        Pool.create_or_update_pool("retune_gpu", 1, "", include_deferred=False, session=session)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that has learnt next to nothing."""
    project = tmp_path_factory.mktemp("base")
    _write_project(project, "base")
    spec = load_spec(project / "include" / "pipelines" / "base.yaml")
    settings = Settings.load({"project": str(project)}.get)
    tiny_base.build(spec, settings, project / "models" / "tiny", steps=1)
    return project / "models" / "tiny"


@contextmanager
def open_house(project: Path, name: str) -> Iterator[House]:
    """Serve a project's only pipeline, with the environment that Airflow's tasks read."""
    settings = Settings.load({"project": str(project), "home": str(project / "home")}.get)
    db = Database(settings.state_url)
    db.migrate()
    with pytest.MonkeyPatch.context() as patch, VllmStub(base_model="models/tiny", answer=skilled) as stub:
        patch.setenv("RETUNE_PROJECT", str(project))
        patch.setenv("RETUNE_HOME", str(project / "home"))
        patch.setenv("AIRFLOW_CONN_VLLM_TEST", stub.url)
        found = House(project, name, stub, db, settings)
        try:
            yield found
        finally:
            found.stop_agent()
            db.engine.dispose()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A project with one sound pipeline, without a base model."""
    name = next(_NAMES)
    _write_project(tmp_path, name)
    with open_house(tmp_path, name) as found:
        yield found


@dataclass(frozen=True)
class FirstRun:
    """A project after its first run of tune, and that run."""

    project: Path
    pipeline: str
    run: Any
    events: list[Any]


@pytest.fixture(scope="session")
def first_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Tune once, with a real training."""
    project, name = tmp_path_factory.mktemp("first"), next(_NAMES)
    _write_project(project, name)
    shutil.copytree(tiny, project / "models" / "tiny")
    with open_house(project, name) as house:
        house.start_agent()
        run = house.run("tune")
        return FirstRun(project, name, run, events(name, "release"))


@pytest.fixture
def released(first_run: FirstRun, tmp_path: Path) -> Iterator[House]:
    """A copy of the project after its first run: release 1 waits to be rolled out. No agent yet."""
    project = tmp_path / "project"
    shutil.copytree(first_run.project, project)
    with open_house(project, first_run.pipeline) as found:
        yield found


@pytest.fixture
def gateway(released: House, tmp_path: Path) -> Iterator[Gateway]:
    """A real Envoy in front of the stub, and an agent that serves both."""
    port = free_ports("127.0.0.1", {"gateway": 0})["gateway"]
    running = Gateway(tmp_path / "gateway", port, released.stub.url)
    released.start_agent(running)
    yield running
    released.stop_agent()
    running.end()


def events(pipeline: str, kind: str) -> list[Any]:
    """Return the extras of an asset's events, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.uri == f"retune://{pipeline}/{kind}")
        .order_by(AssetEvent.id)
    )
    with create_session() as session:
        return list(session.scalars(query))


def _write_project(project: Path, name: str) -> None:
    include = project / "include"
    for folder in ("pipelines", "data", "expectations"):
        (include / folder).mkdir(parents=True)
    rows = [
        {
            "text": f"Number {number}: please look at my {word}, reference {number * 7919 % 1000}",
            "queue": queue,
        }
        for number in range(80)
        for queue, word in _WORDS.items()
    ]
    (include / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {
        "name": "rows",
        "expectations": [
            {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}},
            {
                "type": "expect_column_values_to_be_in_set",
                "kwargs": {"column": "queue", "value_set": [*_WORDS]},
            },
        ],
    }
    (include / "expectations" / "rows.json").write_text(json.dumps(suite))
    (include / "pipelines" / f"{name}.yaml").write_text(SPEC.format(name=name))
