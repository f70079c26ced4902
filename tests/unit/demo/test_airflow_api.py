"""What is asked of a busy Airflow is asked again, and what it refuses is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from retune.demo.airflow_api import AirflowApi
from retune.errors import SetupError

LOCKED = (500, {"detail": "(sqlite3.OperationalError) database is locked"})
STARTED = (200, {"dag_run_id": "manual__1"})
REFUSED = (403, {"detail": "Forbidden"})


class Airflow(ThreadingHTTPServer):
    """Gives the answers of a list, one a request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: list[tuple[int, object]] = []
        self.asked: list[str] = []


class _Answering(BaseHTTPRequestHandler):
    server: Airflow

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        status, said = self.server.answers.pop(0)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    with Airflow() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(airflow: Airflow) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{airflow.server_port}", Path("passwords.json"), lambda: None)


def test_a_database_that_was_locked_is_asked_again(airflow: Airflow) -> None:
    airflow.answers = [LOCKED, LOCKED, STARTED]
    assert client(airflow).trigger("retune.tiny.tune") == "manual__1"
    assert airflow.asked == ["/api/v2/dags/retune.tiny.tune/dagRuns"] * 3


def test_a_database_that_stays_locked_is_an_error_with_airflows_words(airflow: Airflow) -> None:
    airflow.answers = [LOCKED] * 10
    with pytest.raises(SetupError, match=r"answered 500 to POST .*database is locked"):
        client(airflow).trigger("retune.tiny.tune")
    assert len(airflow.asked) == 4


def test_a_refusal_is_not_asked_again(airflow: Airflow) -> None:
    airflow.answers = [REFUSED, STARTED]
    with pytest.raises(SetupError, match="answered 403"):
        client(airflow).trigger("retune.tiny.tune")
    assert len(airflow.asked) == 1
