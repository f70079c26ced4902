"""How likely a server finds the expected texts, asked and kept as answers are."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zlib import crc32

import pytest

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.evaluation.contenders import likelihoods_for
from retune.evaluation.evaluate import evaluate
from retune.evaluation.likelihood import LikelihoodRespondent, with_likelihoods
from retune.records import Contender, EvalReport, Outcome, Split
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import Evaluation
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import Function, Message, ToolCall, conversation, write_conversations
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
    """Serves the model `base` with a tokenizer of characters, and says how likely each was.

    Args:
        render: The chat template.
        refused: Status with which it refuses to say it; 0: it does not refuse.
        said: What it says then.
        cut: Tokenizer.
        decoded: Token -> what it is called, where that is not its text.
    """

    daemon_threads = True

    def __init__(
        self,
        render: Render = template,
        refused: int = 0,
        said: str = "prompt_logprobs: no",
        cut: Callable[[str], list[str]] = list,
        decoded: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Telling)
        self.render = render
        self.refused, self.said = refused, said
        self.cut, self.decoded = cut, decoded
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
            return self.reply(self.server.refused, {"error": {"message": self.server.said}})
        text = self.server.render(body["messages"], bool(body.get("add_generation_prompt")))
        tokens = self.server.cut(text)
        ids = [crc32(token.encode()) for token in tokens]
        if self.path == "/tokenize":
            return self.reply(200, {"tokens": ids})
        answer = {"message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
        found: dict[str, Any] = {"choices": [answer]}
        if "prompt_logprobs" in body:
            self.server.scored.append(body)
            told = [
                {
                    str(name): {
                        "logprob": LOGPROBS.get(token, -7.0),
                        "rank": 1,
                        "decoded_token": self.server.decoded.get(token, token),
                    }
                }
                for name, token in zip(ids, tokens, strict=True)
            ]
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


def question(number: int, answer: str = ANSWER) -> tuple[Message, ...]:
    asked = Message(role="user", content=f"Where is it, {number}?")
    return asked, Message(role="assistant", content=answer)


def likelihoods(url: str, conversations: Sequence[Sequence[Message]]) -> list[Outcome]:
    blank = Outcome(id="", prompt="", expected="", answer="", predicted="", correct=False, latency_s=0)
    return with_likelihoods(
        [blank] * len(conversations),
        conversations,
        LikelihoodRespondent(EndpointAddress(url), "vllm", "base", max_tokens=8, timeout_s=5),
        max_in_flight=2,
        report=print,
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


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        ("<think>", "", "does not put the answer after the prompt (token "),  # DeepSeek R1's
        ("", "<think>\n\n</think>\n\n", "puts something between the prompt and the answer"),  # Qwen3's
        ("<think>\n", "<think>\n\n</think>\n\n", "puts something between"),  # Qwen3.5's
        ("", "\n<think></think>\n", "puts something between"),  # GLM-4.5's
    ],
)
def test_a_template_that_thinks_before_it_answers_is_said(
    asked: str, answered: str, expected: str, tmp_path: Path, serve: Callable[[Teller], Teller]
) -> None:
    def thinking(messages: list[dict[str, str]], generating: bool) -> str:
        if generating:
            return template(messages, generating) + asked
        return template([*messages[:-1], {"role": "assistant", "content": answered + ANSWER}], generating)

    lines: list[str] = []
    report = evaluated(serve(Teller(thinking)).url, tmp_path, lines)
    assert "perplexity" not in report.metrics and report.metrics["accuracy"].value == 1
    assert any(f"its template {expected}" in line for line in lines)


@pytest.mark.parametrize(
    ("answer", "decoded", "counted"),
    [
        ("\n yes", {}, 5),
        ("(yes", {}, 4),  # the prompt's last token grows by it
        ("e\u0301s", {"e": "", "\u0301": "e\u0301"}, 3),  # a character in two tokens, as vLLM has it
        ("és", {"é": "\ufffd"}, 2),  # as others have it
        ("y", {"y": None}, 1),
    ],
)
def test_what_begins_as_the_answer_does_is_the_answer(
    answer: str, decoded: dict[str, str | None], counted: int, serve: Callable[[Teller], Teller]
) -> None:
    teller = serve(Teller(cut=re.compile(r">\(|.", re.DOTALL).findall, decoded=decoded))
    (found,) = likelihoods(teller.url, [question(1, answer)])
    assert found.expected_tokens == counted


def test_of_a_turn_that_calls_tools_its_text_counts(
    serve: Callable[[Teller], Teller], capsys: pytest.CaptureFixture[str]
) -> None:
    teller = serve(Teller())
    calls = (ToolCall(Function("{}", "look"), "call_1"),)
    asked = Message(role="user", content="Where is it?")
    found = likelihoods(
        teller.url,
        [
            (asked, Message(role="assistant", content=ANSWER, tool_calls=calls)),
            (asked, Message(role="assistant", content="", tool_calls=calls)),
        ],
    )
    assert [one.expected_tokens for one in found] == [len(ANSWER), 0]
    assert "how likely 1 of 2 expected texts are is not known" in capsys.readouterr().out
    assert [one["messages"][-1] for one in teller.scored] == [{"role": "assistant", "content": ANSWER}]


def test_earlier_turns_and_what_a_strategy_adds_are_the_prompts(serve: Callable[[Teller], Teller]) -> None:
    turns = (
        ("Help.", "system"),
        ("Hi", "user"),
        ("Hello", "assistant"),
        ("Where?", "user"),
        (ANSWER, "assistant"),
    )
    messages = tuple(Message(role=role, content=text) for text, role in turns)
    (found,) = likelihoods(serve(Teller()).url, [messages])
    assert found.expected_logprob == pytest.approx(-math.log(EXPECTED) * len(ANSWER))


def test_a_server_that_refuses_every_text_is_said(tmp_path: Path, serve: Callable[[Teller], Teller]) -> None:
    lines: list[str] = []
    report = evaluated(serve(Teller(refused=400)).url, tmp_path, lines)
    assert "perplexity" not in report.metrics and report.metrics["accuracy"].value == 1
    assert any("perplexity is not measured" in line for line in lines)


def test_a_server_that_quotes_the_conversation_is_not_quoted(serve: Callable[[Teller], Teller]) -> None:
    # As transformers has it, of a template that drops a part of the answer.
    said = "ensure they are compatible.Final message to continue: canary\nRendered chat:\ncanary"
    teller = serve(Teller(refused=400, said=said))
    with pytest.raises(EndpointError, match=r"HTTP 400: .*ensure they are compatible\. ->") as raised:
        likelihoods(teller.url, [question(number) for number in range(9)])
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("backend", ["openai", "vertex"])
def test_hosted_models_tell_it_of_no_text(backend: str) -> None:
    hosted = Contender(
        spec_digest=SPEC.digest, name="base", model_name="m", model_digest="d", backend=backend
    )
    assert likelihoods_for(hosted, SPEC, OneEndpoint("http://127.0.0.1:1")) is None
