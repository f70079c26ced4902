"""No key gets anywhere: fine-tuning in a real Airflow, well and badly, then a search for canaries."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from retune.spec import OpenAIRecipe, VertexRecipe
from retune.testing.emulators.process import Running, running
from retune.testing.emulators.vertex_accounts import service_account_key
from tests.contract.vertex_house import CREATE as TUNE
from tests.contract.vertex_house import PROJECT
from tests.faults.airflow_house import AirflowHouse
from tests.faults.secret_search import cells, hits

CREATE = "POST /v1/fine_tuning/jobs"
NEVER_ENDS, ENDS = ({"validating": 0.1, "queued": 0.1, "running": seconds} for seconds in (1e6, 0.1))
BUCKET = "retune-rows"
SPARE_PORT = "http://127.0.0.1:1"
# Everything at its lowest level, the SDKs and their HTTP clients too; not each statement to a database.
LEVELS = {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "httpx=DEBUG aiosqlite=WARNING sqlalchemy=WARNING",
    "OPENAI_LOG": "debug",
}
WELL = ("openai_env", "openai_stored", "vertex_env", "mlflow_down")
BADLY = (
    *("openai_wrong", "openai_error", "openai_refused", "openai_silent"),
    *("vertex_wrong", "vertex_error", "vertex_refused", "vertex_silent"),
    "state_down",
)


@dataclass(frozen=True)
class Search:
    """What was left behind by the runs."""

    folder: Path
    house: AirflowHouse
    canaries: dict[str, str]
    states: dict[str, str]
    """DAG -> how its run ended."""
    triggers: list[str]
    """Arguments of the triggers that waited."""


def canary(kind: str) -> str:
    """A key like no other text."""
    return f"{kind}-canary-{secrets.token_hex(20)}"


class Scene:
    """Connections, each with a canary, before emulators that work and others that do not."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.canaries: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self._folder = folder
        self._stack = stack
        key = self._new("openai_env")
        self.openai = self._emulator("openai", "good", api_key=key, phase_s=NEVER_ENDS)
        self._connect_openai("openai_env", self.openai, key)
        self._connect_openai("openai_wrong", self.openai, self._new("openai_wrong"))
        self._connect_openai("openai_silent", None, self._new("openai_silent"))
        for name, rule in (
            ("error", {"do": "error"}),
            ("refused", {"do": "refuse", "refusal": "not_eligible"}),
        ):
            emulator = self._emulator("openai", name, fault_rules=[{"on": CREATE, "times": None, **rule}])
            self._connect_openai(f"openai_{name}", emulator, self._new(f"openai_{name}"))
        self.vertex = self._emulator("vertex", "good", phase_s=NEVER_ENDS)
        self._connect_vertex("vertex_env", self.vertex, self.vertex.url)
        self._connect_vertex("vertex_wrong", self.vertex, self.vertex.url, client_email="nobody@example.com")
        self._connect_vertex("vertex_silent", self.vertex, SPARE_PORT)
        for name, rule in (
            ("error", {"do": "error"}),
            ("refused", {"do": "refuse", "refusal": "no_permission"}),
        ):
            emulator = self._emulator("vertex", name, fault_rules=[{"on": TUNE, "times": None, **rule}])
            self._connect_vertex(f"vertex_{name}", emulator, emulator.url)
        self.variables["SECRET_MLFLOW"] = f"http://mlflow:{self._new('mlflow')}@127.0.0.1:1"
        self.variables["SECRET_STATE"] = f"postgresql://retune:{self._new('state')}@127.0.0.1:1/retune"

    def _new(self, name: str) -> str:
        self.canaries[name] = canary("sk")
        return self.canaries[name]

    def _emulator(self, kind: str, name: str, **options: Any) -> Running:
        folder = self._folder / "emulators" / f"{kind}_{name}"
        return self._stack.enter_context(running(kind, folder, **options))

    def _connect_openai(self, name: str, emulator: Running | None, key: str) -> None:
        url = emulator.url if emulator else SPARE_PORT
        self._put(name, {"conn_type": "openai", "host": f"{url}/v1", "password": key})

    def _connect_vertex(self, name: str, emulator: Running, url: str, **changed: str) -> None:
        key = service_account_key(emulator.url, PROJECT) | changed
        # A bucket is made by whoever owns the project, and any token does.
        make_bucket(emulator)
        for number, line in enumerate(key["private_key"].splitlines()[1:-1]):
            if number % 5 == 0:
                self.canaries[f"{name} line {number}"] = line
        key["token_uri"] = f"{url}/token"
        extra = {"keyfile_dict": json.dumps(key), "project": PROJECT, "vertex_base_url": url}
        self._put(name, {"conn_type": "google_cloud_platform", "extra": extra})

    def _put(self, name: str, connection: dict[str, Any]) -> None:
        self.variables[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)


def make_bucket(emulator: Running) -> None:
    """Make the bucket for the rows, unless it is there."""
    from google.cloud import storage
    from google.oauth2.credentials import Credentials

    options = {"api_endpoint": emulator.url}
    client = storage.Client(PROJECT, Credentials(token="test"), client_options=options)
    bucket = client.bucket(BUCKET)
    if not bucket.exists():
        bucket.create(location="us-central1")


def orders(house: AirflowHouse) -> list[dict[str, Any]]:
    """One DAG for each way to end."""
    spec = house.freeze()
    found = []
    for seed, name in enumerate((*WELL, *BADLY)):
        recipe: OpenAIRecipe | VertexRecipe
        given: dict[str, Any] = {"retries": 0}
        if name.startswith("vertex"):
            recipe = VertexRecipe(
                backend="vertex", base_model="gemini-2.5-flash", bucket=f"gs://{BUCKET}", connection=name
            )
        else:
            connection = name if name.startswith("openai") else "openai_env"
            recipe = OpenAIRecipe(
                backend="openai", base_model="gpt-4.1-mini-2025-04-14", connection=connection
            )
        if name.endswith("silent"):
            given["timeout_s"] = 30  # of the minutes for which nobody's answer is waited for
        if name == "mlflow_down":
            given["environment"] = {"RETUNE_MLFLOW_URI": "SECRET_MLFLOW"}
        if name == "state_down":
            given["environment"] = {"RETUNE_STATE_URL": "SECRET_STATE"}
        found.append(house.order(name, seed, spec, recipe, **given))
    return found


def store_connection(house: AirflowHouse, scene: Scene) -> None:
    """Put a connection into Airflow's database, as people do on its page."""
    body = {
        "connection_id": "openai_stored",
        "conn_type": "openai",
        "host": f"{scene.openai.url}/v1",
        "password": scene.canaries["openai_env"],
        "extra": json.dumps({"openai_client_kwargs": {"api_key": scene.canaries["openai_env"]}}),
    }
    house.api.call("POST", "/connections", json=body)


def waiting_triggers(house: AirflowHouse) -> list[str]:
    """Return the arguments of all triggers, which Airflow stores encrypted or, from a task, as they are."""
    fernet = Fernet(house.fernet_key)
    with closing(sqlite3.connect(house.database)) as db:
        rows = [kwargs for (kwargs,) in db.execute("SELECT kwargs FROM trigger")]
    return [row if row.startswith("{") else fernet.decrypt(row.encode()).decode() for row in rows]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    """Fine-tune with every connection, and stop Airflow."""
    folder = tmp_path_factory.mktemp("secrets")
    with ExitStack() as stack:
        scene = Scene(folder, stack)
        house = AirflowHouse(folder, scene.variables | LEVELS, settle_s=2.0)
        try:
            house.start(orders(house))
            store_connection(house, scene)
            for name in (*WELL, *BADLY):
                house.begin(name)
            house.until("the good tasks' triggers", lambda: all(map(house.waits, WELL)))
            triggers = waiting_triggers(house)
            for emulator in (scene.openai, scene.vertex):
                emulator.set_options(phase_s=ENDS)
            states = {name: house.ended(name)["state"] for name in (*WELL, *BADLY)}
        finally:
            house.stop()
    yield Search(folder, house, scene.canaries, states, triggers)


def test_runs_end_well_and_badly_as_their_connections_let_them(search: Search) -> None:
    assert {name: search.states[name] for name in WELL} == dict.fromkeys(WELL, "success")
    assert {name: search.states[name] for name in BADLY} == dict.fromkeys(BADLY, "failed")


def test_no_secret_is_in_a_log_a_database_an_artifact_or_a_folder(search: Search) -> None:
    assert hits(search.folder, search.canaries) == []


def test_no_secret_is_in_a_triggers_arguments(search: Search, tmp_path: Path) -> None:
    assert len(search.triggers) >= len(WELL)
    assert all("until" in kwargs for kwargs in search.triggers)
    (tmp_path / "kwargs").write_text("\n".join(search.triggers))
    assert hits(tmp_path, search.canaries) == []


def test_what_is_searched_holds_what_the_runs_wrote(search: Search) -> None:
    tables = dict(cells(search.house.database))
    for table in ("xcom", "task_instance", "log", "dag_run", "serialized_dag"):
        assert b"openai_stored" in tables[table], table
    # No field of the task is a template, so nothing is rendered; where one becomes so, it is searched.
    assert "rendered_task_instance_fields" in tables
    logs = b"\n".join(path.read_bytes() for path in (search.house.home / "logs").rglob("*.log"))
    # The SDKs did talk at their lowest level.
    assert b'"level":"debug"' in logs and b"Request options" in logs
    assert dict(cells(search.house.bench.settings.home / "mlflow.db"))["metrics"]


def test_a_stored_connection_is_encrypted_and_was_used(search: Search) -> None:
    fernet = Fernet(search.house.fernet_key)
    with closing(sqlite3.connect(search.house.database)) as db:
        query = "SELECT password, extra FROM connection WHERE conn_id = 'openai_stored'"
        [row] = db.execute(query).fetchall()
    for cell in row:
        assert search.canaries["openai_env"] not in cell
        assert search.canaries["openai_env"] in fernet.decrypt(cell.encode()).decode()


@pytest.mark.parametrize("kind", ["a log", "base64 in a log", "an XCom", "an artifact"])
def test_the_search_finds_a_secret_that_is_there(kind: str, search: Search, tmp_path: Path) -> None:
    from base64 import b64encode

    secret = search.canaries["openai_env"]
    database = tmp_path / "airflow.db"
    shutil.copy(search.house.database, database)
    if kind == "an XCom":
        with closing(sqlite3.connect(database)) as db, db:
            db.execute(
                "UPDATE xcom SET value = ? WHERE dag_id = 'openai_env'", (json.dumps({"a": [secret]}),)
            )
        assert "openai_env in airflow.db: xcom" in hits(tmp_path, search.canaries)
        return
    text = {
        "a log": f'{{"event": "Bearer {secret}"}}'.encode(),
        "base64 in a log": b64encode(f"user:{secret}".encode()),
        "an artifact": b"\x00" + secret.encode() + b"\xff",
    }[kind]
    (tmp_path / "planted").write_bytes(text)
    assert hits(tmp_path, search.canaries) == ["openai_env in planted"]
