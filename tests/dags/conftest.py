"""A real Airflow, a small project and what serves it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
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
  split: {{validation: 0.2, held_out: 0.4}}
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


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A project with one sound pipeline, without a base model."""
    name = next(_NAMES)
    _write_project(tmp_path, name)
    monkeypatch.setenv("RETUNE_PROJECT", str(tmp_path))
    monkeypatch.setenv("RETUNE_HOME", str(tmp_path / "home"))
    settings = Settings.load({"project": str(tmp_path), "home": str(tmp_path / "home")}.get)
    db = Database(settings.state_url)
    db.migrate()
    with VllmStub(base_model="models/tiny", answer=skilled) as stub:
        monkeypatch.setenv("AIRFLOW_CONN_VLLM_TEST", stub.url)
        found = House(tmp_path, name, stub, db, settings)
        yield found
        found.stop_agent()
    db.engine.dispose()


@pytest.fixture
def trained(house: House, tiny: Path) -> House:
    """The same with a base model and an agent."""
    shutil.copytree(tiny, house.project / "models" / "tiny")
    house.start_agent()
    return house


@pytest.fixture
def gateway(house: House, tmp_path: Path) -> Iterator[Gateway]:
    """A real Envoy in front of the stub."""
    port = free_ports("127.0.0.1", {"gateway": 0})["gateway"]
    running = Gateway(tmp_path / "gateway", port, house.stub.url)
    yield running
    running.end()


def _write_project(project: Path, name: str) -> None:
    include = project / "include"
    for folder in ("pipelines", "data", "expectations"):
        (include / folder).mkdir(parents=True)
    rows = [
        {"text": f"Number {number}: please look at my {word}, reference {number * 7919 % 1000}", "queue": queue}
        for number in range(80)
        for queue, word in _WORDS.items()
    ]
    (include / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = {
        "name": "rows",
        "expectations": [
            {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}},
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "queue", "value_set": [*_WORDS]}},
        ],
    }
    (include / "expectations" / "rows.json").write_text(json.dumps(suite))
    (include / "pipelines" / f"{name}.yaml").write_text(SPEC.format(name=name))
