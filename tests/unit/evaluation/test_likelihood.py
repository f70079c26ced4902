"""How likely a server finds the expected texts, asked and kept as answers are."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.evaluation.contenders import likelihoods_for
from retune.evaluation.evaluate import evaluate
from retune.records import Contender, EvalReport, Split
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import Evaluation
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import conversation, write_conversations
from tests.unit.evaluation.builders import SPEC

ANSWER = "billing"
LOGPROBS = {letter: -0.1 * place for place, letter in enumerate("bilng", start=1)}
EXPECTED = math.exp(-sum(LOGPROBS[letter] for letter in ANSWER) / len(ANSWER))

Render = Callable[[list[dict[str, str]], bool], str]


def template(messages: list[dict[str, str]], generating: bool) -> str:
    """Render turns; a turn that is to be continued is not ended."""
    turns = [f"<{one['role']}>{one['content']}" for one in messages]
    return "</>".join(turns) + ("</><assistant>" if generating else "")


class Teller(ThreadingHTTPServer):
    """Serves the model `base` with a tokenizer of characters, and says how likely each was."""

    daemon_threads = True

    def __init__(self, render: Render = template, refused: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Telling)
        self.render = render
        self.refused = refused
        self.scored: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Telling(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Teller

    def do_GET(self) -> None:
        self.reply(200, {"data": [{"id": "base"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "prompt_logprobs" in body and self.server.refused:
            return self.reply(self.server.refused, {"error": {"message": "prompt_logprobs: no"}})
        text = self.server.render(body["messages"], bool(body.get("add_generation_prompt")))
        if self.path == "/tokenize":
            return self.reply(200, {"tokens": [ord(sign) for sign in text]})
        answer = {"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        found: dict[str, Any] = {"choices": [answer]}
        if "prompt_logprobs" in body:
            self.server.scored.append(body)
            told = [{str(ord(sign)): {"logprob": LOGPROBS.get(sign, -7.0), "rank": 1}} for sign in text]
            found["prompt_logprobs"] = [None, *told[1:]]
        return self.reply(200, found)

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Teller], Teller]]:
    running: list[tuple[Teller, threading.Thread]] = []

    def start(teller: Teller) -> Teller:
        thread = threading.Thread(target=teller.serve_forever, args=(0.02,))
        thread.start()
        running.append((teller, thread))
        return teller

    yield start
    for teller, thread in running:
        teller.shutdown()
        thread.join()
        teller.server_close()


class OneEndpoint(EnvironmentConnections):
    """Every endpoint is this one."""

    def __init__(self, url: str) -> None:
        self._url = url

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._url)


def evaluated(url: str, folder: Path, lines: list[str]) -> EvalReport:
    spec = SPEC.model_copy(
        update={"evaluation": Evaluation(endpoint="vllm_default", metrics=("perplexity",), noise_examples=2)}
    )
    artifacts = Artifacts((folder / "artifacts").as_uri())
    rows = [conversation("", f"Where is it, {number}?", ANSWER) for number in range(4)]
    stored = artifacts.put_bytes(write_conversations(rows), "application/jsonl")
    return evaluate(
        Contender(spec_digest=spec.digest, name="base", model_name="base", model_digest="d"),
        Split(artifact=stored, rows=len(rows)),
        "held_out",
        spec=spec,
        labels=(ANSWER,),
        connections=OneEndpoint(url),
        artifacts=artifacts,
        settings=Settings.load({"project": str(folder)}.get),
        noise=True,
        report=lines.append,
    )


def test_only_the_answers_tokens_count_and_each_is_asked_once(
    tmp_path: Path, serve: Callable[[Teller], Teller]
) -> None:
    teller = serve(Teller())
    for _ in range(2):  # the second finds all that it asks on disk
        report = evaluated(teller.url, tmp_path, [])
        value = report.metrics["perplexity"]
        assert (value.value, value.n) == (pytest.approx(EXPECTED), 4)
        assert report.metrics["accuracy"].value == 1
    assert len(teller.scored) == 4
    assert all(one["continue_final_message"] and not one["add_generation_prompt"] for one in teller.scored)


def test_a_server_that_does_not_tell_it_loses_nothing_else(tmp_path: Path) -> None:
    lines: list[str] = []
    with VllmStub(answer=lambda model, prompt: ANSWER) as stub:
        report = evaluated(stub.url, tmp_path, lines)
    assert "perplexity" not in report.metrics and report.metrics["accuracy"].value == 1
    assert any("does not tell how likely a text is: HTTP 404" in line for line in lines)


def test_a_template_that_thinks_before_it_answers_is_said(
    tmp_path: Path, serve: Callable[[Teller], Teller]
) -> None:
    def thinking(messages: list[dict[str, str]], generating: bool) -> str:
        return template(messages, generating) + ("<think>" if generating else "")

    lines: list[str] = []
    report = evaluated(serve(Teller(thinking)).url, tmp_path, lines)
    assert "perplexity" not in report.metrics and report.metrics["accuracy"].value == 1
    assert any("its template does not put the answer after the prompt" in line for line in lines)


def test_a_server_that_refuses_every_text_is_said(tmp_path: Path, serve: Callable[[Teller], Teller]) -> None:
    lines: list[str] = []
    report = evaluated(serve(Teller(refused=400)).url, tmp_path, lines)
    assert "perplexity" not in report.metrics and report.metrics["accuracy"].value == 1
    assert any("perplexity is not measured" in line for line in lines)


@pytest.mark.parametrize("backend", ["openai", "vertex"])
def test_hosted_models_tell_it_of_no_text(backend: str) -> None:
    hosted = Contender(
        spec_digest=SPEC.digest, name="base", model_name="m", model_digest="d", backend=backend
    )
    assert likelihoods_for(hosted, SPEC, OneEndpoint("http://127.0.0.1:1")) is None
