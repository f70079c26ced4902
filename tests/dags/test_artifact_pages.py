"""Reports reach only those who may read the pipeline's DAG, and cannot act in their name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from retune.records import Artifact
from retune.state import artifacts_index
from tests.dags.conftest import House

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PLANTED = "<script>alert(document.cookie)</script>"


@pytest.fixture(scope="session")
def client(airflow_home: None) -> Iterator[TestClient]:
    """Airflow's own API server with its plugins."""
    from airflow.api_fastapi.app import create_app

    with TestClient(create_app("core"), base_url="http://airflow.test") as found:
        yield found


def token(role: str | None) -> str:
    """A token of a user of that role."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=f"a {role}", role=role)))


def bearer(role: str | None) -> dict[str, str]:
    """The header of a user of that role."""
    return {"Authorization": f"Bearer {token(role)}"}


def kept(house: House, body: bytes = b"<h1>hello</h1>") -> Artifact:
    """Store a page as the pipeline's."""
    page = house.artifacts.put_bytes(body, "text/html")
    with house.db.write() as tx:
        artifacts_index.add(tx, house.pipeline, "evaluation", page, NOW)
    return page


def test_a_reader_of_the_dag_gets_the_page_by_token_and_by_cookie(client: TestClient, house: House) -> None:
    page = kept(house)
    path = f"/retune/{house.pipeline}/artifacts/{page.digest}"
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)
    assert client.get(path, headers=bearer(None)).status_code == 403
    for headers in (bearer("VIEWER"), {"Cookie": f"_token={token('VIEWER')}"}):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.text) == (200, "<h1>hello</h1>")
        assert answer.headers["content-type"].startswith("text/html")


def test_only_what_the_state_has_for_the_pipeline_is_served(client: TestClient, house: House) -> None:
    page = kept(house)
    stray = house.artifacts.put_bytes(b"secret", "text/html")
    gone = kept(house, b"gone")
    place = gone.uri.removeprefix("file://")
    reader = bearer("VIEWER")
    with open(place, "wb") as file:
        file.write(b"other bytes")
    assert client.get(f"/retune/{house.pipeline}/artifacts/{stray.digest}", headers=reader).status_code == 404
    assert client.get(f"/retune/another/artifacts/{page.digest}", headers=reader).status_code == 404
    assert client.get(f"/retune/{house.pipeline}/artifacts/{gone.digest}", headers=reader).status_code == 404
    for odd in (f"{house.pipeline}/artifacts/..%2F..%2Fstate.db", f"UP/artifacts/{page.digest}", ""):
        assert client.get(f"/retune/{odd}", headers=reader).status_code in (404, 422)


def test_a_page_can_neither_act_as_its_reader_nor_call_home(client: TestClient, house: House) -> None:
    page = kept(house)
    answer = client.get(f"/retune/{house.pipeline}/artifacts/{page.digest}", headers=bearer("VIEWER"))
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["sandbox"] == "allow-scripts"
    assert policy["default-src"] == "'none'"
    assert "connect-src" not in policy and "http" not in str(policy) and "*" not in str(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "private" in answer.headers["cache-control"]


def test_a_script_in_a_row_stays_text_on_the_validation_page(client: TestClient, house: House) -> None:
    rows = house.project / "include" / "data" / "rows.jsonl"
    with rows.open("a") as file:
        file.write(json.dumps({"text": "hello", "queue": PLANTED}) + "\n")
    run = house.run("tune")
    failed = next(ti for ti in run.get_task_instances() if ti.task_id == "prepare_data")
    assert failed.state == "failed"
    url = link(client, house, run.run_id, "prepare_data", "Validation page")
    answer = client.get(url, headers=bearer("VIEWER"))
    assert answer.status_code == 200
    assert PLANTED not in answer.text
    assert "&lt;script&gt;alert(document.cookie)" in answer.text


def link(client: TestClient, house: House, run_id: str, task: str, name: str, verb: str = "tune") -> str:
    """Return a task's link as Airflow's API gives it to its pages."""
    path = f"/api/v2/dags/{house.pipeline}.{verb}/dagRuns/{run_id}/taskInstances/{task}/links"
    answer = client.get(path, headers=bearer("VIEWER"), params={"map_index": -1})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["extra_links"][name])
