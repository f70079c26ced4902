"""Contenders on an endpoint, at OpenAI and at Vertex AI answer one set; real SDKs, emulated services."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from retune.artifacts import Artifacts
from retune.backends.base import ENDED, Backend, Order, Trained
from retune.errors import EndpointError
from retune.evaluation.contenders import base_of, contender_of
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.evaluation.selection import choose
from retune.records import Contender, EvalReport, Model, Split
from retune.settings import EndpointAddress, EnvironmentConnections, GoogleAccount, OpenAIAccount
from retune.spec import PipelineSpec
from retune.testing.emulators.answers import canned
from retune.testing.emulators.process import Running, running
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import Conversation, Message, make, write_conversations
from tests.contract import openai_house, vertex_house
from tests.contract.openai_house import OPENAI_CONTRACT
from tests.unit.evaluation.builders import SPEC, model

KEY = "sk-canary-0f9d2c417be84a5590aa"
OPENAI, VERTEX = {"connection": "openai_default"}, {"connection": "gcp", "location": vertex_house.REGION}
CHAT = "POST /v1/chat/completions"
GENERATE = "POST */v1beta1/*:generateContent"
GPT, GEMINI = openai_house.MODEL, vertex_house.MODEL
FREE = SPEC.model_copy(update={"task": SPEC.task.model_copy(update={"kind": "generation", "labels": ()})})
WITHIN_S = 60.0


class Services(EnvironmentConnections):
    """Knows the three services by any name."""

    def __init__(self, *, endpoint: str = "", openai: str = "", vertex: str = "", key: str = KEY) -> None:
        self._urls = {"endpoint": endpoint, "openai": openai, "vertex": vertex}
        self._key = key

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._urls["endpoint"], self._key)

    def openai(self, name: str) -> OpenAIAccount:
        return OpenAIAccount(f"{self._urls['openai']}/v1", self._key, "org-ours", "proj-ours")

    def google(self, name: str) -> GoogleAccount:
        return GoogleAccount(vertex_house.PROJECT, Credentials(token=self._key), self._urls["vertex"])


@pytest.fixture(scope="module")
def openai_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    contract = {"contract": str(OPENAI_CONTRACT)} if OPENAI_CONTRACT.exists() else {}
    with running("openai", tmp_path_factory.mktemp("openai"), phase_s=0.02, **contract) as emulator:
        yield emulator
        assert emulator.problems() == []


@pytest.fixture(scope="module")
def vertex_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running("vertex", tmp_path_factory.mktemp("vertex"), phase_s=0.02) as emulator:
        yield emulator
        assert emulator.problems() == []


def conversations(rows: int) -> list[Conversation]:
    """Conversations of several turns, so that every role is asked."""
    turns = [("system", "Pick."), ("user", "My parcel"), ("assistant", "Which one?")]
    return [
        make([*(Message(role=role, content=text) for role, text in turns), user, answer])
        for number in range(rows)
        for user in [Message(role="user", content=f"number {number}")]
        for answer in [Message(role="assistant", content="shipping")]
    ]


def ask(
    contender: Contender,
    services: Services,
    folder: Path,
    rows: list[Conversation] | None = None,
    spec: PipelineSpec = FREE,
) -> tuple[EvalReport, list[str]]:
    """Return the report of a contender over a validation set, and its answers."""
    artifacts = Artifacts(folder.as_uri())
    examples = rows or conversations(12)
    stored = artifacts.put_bytes(write_conversations(examples), "application/x-ndjson")
    found = evaluate(
        contender,
        Split(artifact=stored, rows=len(examples)),
        "validation",
        spec=spec,
        labels=(),
        connections=services,
        artifacts=artifacts,
        report=lambda line: None,
    )
    return found, [outcome.answer for outcome in read_outcomes(found, artifacts)]


def hosted(backend: str, base: str, trained: Trained, place: dict[str, str]) -> Model:
    told = {"kind": "hosted", "backend": backend, "base_model": base, "place": place}
    return model().model_copy(update={**told, "digest": trained.digest, "served_as": trained.served_as})


def untuned(backend: str, base: str, place: dict[str, str], served_as: str = "") -> Model:
    return hosted(backend, base, Trained("hosted", f"digest of {served_as}", "", served_as=served_as), place)


def tune(backend: Backend, order: Order) -> Trained:
    """Have an emulator make a model."""
    job = backend.submit(order, lambda: None)
    deadline = time.monotonic() + WITHIN_S
    while backend.poll(job).status not in ENDED:
        assert time.monotonic() < deadline, f"still running after {WITHIN_S} s"
        time.sleep(0.05)
    return backend.fetch(job)


def said_by(name: str, example: Conversation) -> str:
    """What an emulated model answers: it names the turns that it was shown, role by role."""
    return canned(name, json.dumps([{"role": t.role, "content": t.content} for t in example.context]))


def test_one_set_is_answered_by_base_and_tuned_models_of_every_kind(
    openai_emulator: Running, vertex_emulator: Running, tmp_path: Path
) -> None:
    desk = openai_house.make_desk(tmp_path / "gpt", openai_emulator)
    gpt = hosted("openai", GPT, tune(desk.backend(), desk.order()), OPENAI)
    cloud = vertex_house.make_desk(tmp_path / "gemini", vertex_emulator)
    gemini = hosted("vertex", GEMINI, tune(cloud.backend(), cloud.order()), VERTEX)
    number = gemini.served_as.rpartition("/")[2]
    names = {"gpt": gpt.served_as, "base of gpt": GPT, "gemini": number, "base of gemini": GEMINI}
    # The answers that the tuned GPT gives are the right ones.
    rows = [
        make([*example.context, Message(role="assistant", content=said_by(gpt.served_as, example))])
        for example in conversations(12)
    ]
    reports: dict[str, EvalReport] = {}
    with VllmStub() as stub:
        services = Services(endpoint=stub.url, openai=openai_emulator.url, vertex=vertex_emulator.url)
        for name, contender in (
            ("gpt", contender_of("recipe-1", gpt, FREE)),
            ("base of gpt", base_of(gpt, FREE)),
            ("gemini", contender_of("recipe-2", gemini, FREE)),
            ("base of gemini", base_of(gemini, FREE)),
            ("local", base_of(model(), FREE)),
        ):
            reports[name], answers = ask(contender, services, tmp_path / "artifacts", rows)
            if name in names:
                assert answers == [said_by(names[name], example) for example in rows], name
            else:
                assert answers == [example.prompt for example in rows]
    assert {(report.n, report.failed) for report in reports.values()} == {(12, 0)}
    assert {report.set_digest for report in reports.values()} == {reports["gpt"].set_digest}
    assert {name: report.metrics["accuracy"].value for name, report in reports.items()} == {
        **dict.fromkeys(reports, 0.0),
        "gpt": 1.0,
    }
    assert choose([reports["gemini"], reports["local"], reports["gpt"]], FREE) == 2
    # Lists lag, and are not needed.
    assert "GET /v1/models" not in openai_emulator.counts()


@pytest.mark.parametrize(
    ("kind", "tuned", "expected"),
    [
        ("openai", "", r"127.0.0.1:\d+ does not answer as 'gpt-of-nowhere'.*404"),
        ("openai", "ft:gpt-4.1:gone::1", r"does not answer as 'ft:gpt-4.1:gone::1'.*see under which name"),
        ("vertex", "", r"us-central1\) does not answer as 'gpt-of-nowhere'.*404.*location us-central1"),
        ("vertex", "projects/7/locations/us-central1/endpoints/9", r"endpoints/9' .*404|endpoints/9': .*404"),
    ],
)
def test_a_model_that_is_not_served_is_said_before_the_first_question(
    kind: str, tuned: str, expected: str, openai_emulator: Running, vertex_emulator: Running, tmp_path: Path
) -> None:
    made = untuned(kind, "gpt-of-nowhere", OPENAI if kind == "openai" else VERTEX, tuned)
    contender = contender_of("candidate", made, FREE) if tuned else base_of(made, FREE)
    services = Services(openai=openai_emulator.url, vertex=vertex_emulator.url)
    emulator = openai_emulator if kind == "openai" else vertex_emulator
    before = sum(emulator.counts().values())
    with pytest.raises(EndpointError, match=expected):
        ask(contender, services, tmp_path)
    assert sum(emulator.counts().values()) - before == 1


@pytest.mark.parametrize(
    ("kind", "base", "place", "action"),
    [
        ("openai", GPT, OPENAI, "put a valid key into connection 'openai_default'"),
        ("vertex", GEMINI, VERTEX, "give connection 'gcp' a service account's key"),
    ],
)
def test_a_wrong_key_is_said_and_never_shown(
    kind: str, base: str, place: dict[str, str], action: str, tmp_path: Path
) -> None:
    with running(kind, tmp_path / kind, api_key="sk-the-right-one") as emulator:
        services = Services(openai=emulator.url, vertex=emulator.url)
        with pytest.raises(EndpointError) as caught:
            ask(base_of(untuned(kind, base, place), FREE), services, tmp_path)
    text = str(caught.value)
    assert "401" in text and action in text
    assert KEY[:12] not in text and KEY[-4:] not in text
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize(
    ("kind", "base", "place", "route"),
    [("openai", GPT, OPENAI, CHAT), ("vertex", GEMINI, VERTEX, GENERATE)],
)
def test_a_service_that_dies_in_the_middle_ends_the_evaluation(
    kind: str, base: str, place: dict[str, str], route: str, tmp_path: Path
) -> None:
    spec = FREE.model_copy(update={"evaluation": FREE.evaluation.model_copy(update={"max_in_flight": 1})})
    slow = [{"on": route, "do": "slow", "after_s": 0.02, "times": None}]
    with running(kind, tmp_path / kind, fault_rules=slow) as emulator:
        services = Services(openai=emulator.url, vertex=emulator.url)

        def kill_after_some() -> None:
            while not any(
                count > 5 for asked, count in emulator.counts().items() if asked.startswith("POST")
            ):
                time.sleep(0.02)
            emulator.kill()

        killer = threading.Thread(target=kill_after_some)
        killer.start()
        with pytest.raises(EndpointError, match=r"stopped answering with \d+ of 400 to go: \w*Conn\w*Error"):
            ask(base_of(untuned(kind, base, place), FREE), services, tmp_path, conversations(400), spec)
        killer.join()


@pytest.mark.parametrize(
    ("kind", "base", "place", "route"),
    [("openai", GPT, OPENAI, CHAT), ("vertex", GEMINI, VERTEX, GENERATE)],
)
def test_a_service_that_is_busy_for_a_moment_is_asked_again(
    kind: str, base: str, place: dict[str, str], route: str, tmp_path: Path
) -> None:
    busy = [{"on": route, "do": "refuse", "status": 429, "message": "Try later.", "skip": 3, "times": 2}]
    with running(kind, tmp_path / kind, fault_rules=busy) as emulator:
        services = Services(openai=emulator.url, vertex=emulator.url)
        found, _ = ask(base_of(untuned(kind, base, place), FREE), services, tmp_path)
    assert (found.n, found.failed) == (12, 0)


Judge = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


@contextmanager
def serving(judge: Judge) -> Iterator[str]:
    """Serve what `judge` makes of each request's body, as (status, answer)."""

    class Handling(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, answer = judge(body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handling) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_reasoning_model_is_asked_with_the_parameters_that_it_takes(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def refused(message: str, name: str, code: str) -> tuple[int, dict[str, Any]]:
        return 400, {"error": {"message": message, "type": "invalid", "param": name, "code": code}}

    def reasoning(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported with this model."
            hint = " Use 'max_completion_tokens' instead."
            return refused(message + hint, "max_tokens", "unsupported_parameter")
        if "temperature" in body:
            message = "Unsupported value: 'temperature' does not support 0.0 with this model."
            return refused(message, "temperature", "unsupported_value")
        asked.append(body)
        silent = body["messages"][-1]["content"] == "number 3"
        choice = {
            "index": 0,
            "finish_reason": "length" if silent else "stop",
            "message": {"role": "assistant", "content": "" if silent else "shipping"},
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 32, "total_tokens": 33}
        details = {"completion_tokens_details": {"reasoning_tokens": 32 if silent else 0}}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return 200, {**head, "choices": [choice], "usage": {**usage, **details}}

    with serving(reasoning) as url:
        contender = base_of(untuned("openai", "o4-mini", OPENAI), FREE)
        found, answers = ask(contender, Services(openai=url), tmp_path)
    # One question was spent on thinking: that is a failed call, not a wrong answer.
    assert (found.n, found.failed) == (12, 1)
    assert answers == ["" if number == 3 else "shipping" for number in range(12)]
    [failed] = [o for o in read_outcomes(found, Artifacts(tmp_path.as_uri())) if o.error]
    assert failed.error.endswith("thinking took 32 tokens; raise evaluation.max_tokens")
    assert all("temperature" not in body for body in asked)
    assert {body["max_completion_tokens"] for body in asked} == {FREE.evaluation.max_tokens}


@pytest.mark.parametrize(
    ("refuses", "takes"),
    [
        (0, {"thinking_budget": 0}),
        (1, {"thinking_level": "MINIMAL"}),
        (3, {"thinking_budget": 128}),
        (4, None),
    ],
)
def test_thinking_is_turned_off_as_far_as_the_model_allows(
    refuses: int, takes: dict[str, Any] | None, tmp_path: Path
) -> None:
    seen: list[dict[str, Any]] = []

    def gemini(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        seen.append(body)
        if len(seen) <= refuses:
            message = "Unable to submit request because Thinking can't be disabled for this model."
            return 400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
        text = body["contents"][-1]["parts"][0]["text"]
        if text == "number 3":
            spent = {"promptTokenCount": 1, "thoughtsTokenCount": 31, "totalTokenCount": 32}
            return 200, {"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": spent}
        if text == "number 4":
            return 200, {"promptFeedback": {"blockReason": "SAFETY"}}
        parts = [{"text": "Hm.", "thought": True}, {"text": "ship"}, {"text": "ping"}]
        return 200, {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}

    with serving(gemini) as url:
        contender = base_of(untuned("vertex", GEMINI, VERTEX), FREE)
        found, answers = ask(contender, Services(vertex=url), tmp_path)
    assert len(seen) == refuses + 1 + 12
    configs = [body["generationConfig"] for body in seen[refuses:]]
    assert [config.get("thinkingConfig") for config in configs] == [takes] * len(configs)
    assert {(config["temperature"], config["maxOutputTokens"]) for config in configs} == {(0.0, 32)}
    assert answers == ["" if number in (3, 4) else "shipping" for number in range(12)]
    errors = [o.error for o in read_outcomes(found, Artifacts(tmp_path.as_uri())) if o.error]
    assert errors == [
        "no text in the answer: MAX_TOKENS; thinking took 31 tokens: raise evaluation.max_tokens",
        "no text in the answer: SAFETY",
    ]
