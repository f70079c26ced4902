"""Evaluation asks a real HTTP server by the real SDK, and keeps every answer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import DataError, EndpointError
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.evaluation.selection import choose
from retune.records import Contender, EvalReport, Split
from retune.settings import EndpointAddress, EnvironmentConnections
from retune.spec import PipelineSpec
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import conversation, write_conversations
from tests.unit.evaluation.builders import SPEC, outcomes, report

LABELS = ("billing", "shipping")


class OneEndpoint(EnvironmentConnections):
    """Knows one endpoint, by every name."""

    def __init__(self, url: str) -> None:
        self._url = url

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._url)


def split(artifacts: Artifacts, rows: int) -> Split:
    examples = [conversation("Pick.", f"parcel {row}", "shipping") for row in range(rows)]
    artifact = artifacts.put_bytes(write_conversations(examples), "application/x-ndjson")
    return Split(artifact=artifact, rows=rows)


def ask(
    url: str, folder: Path, rows: int = 60, model: str = "base", spec: PipelineSpec = SPEC
) -> tuple[EvalReport, Artifacts]:
    artifacts = Artifacts(folder.as_uri())
    contender = Contender(spec_digest=SPEC.digest, name="base", model_name=model, model_digest="d")
    found = evaluate(
        contender,
        split(artifacts, rows),
        "held_out",
        spec=spec,
        labels=LABELS,
        connections=OneEndpoint(url),
        artifacts=artifacts,
        report=lambda line: None,
    )
    return found, artifacts


def test_answers_are_kept_with_their_examples(tmp_path: Path) -> None:
    def answer(model: str, prompt: str) -> str:
        return {"0": " shipping\n", "1": "billing", "2": "Shipping!"}[str(int(prompt.split()[1]) % 3)]

    with VllmStub(answer=answer) as server:
        found, artifacts = ask(server.url, tmp_path)
    kept = read_outcomes(found, artifacts)
    assert [outcome.prompt for outcome in kept] == [f"parcel {row}" for row in range(60)]
    # Outer white space is forgiven, another case or a full stop is not.
    assert [outcome.predicted for outcome in kept[:3]] == ["shipping", "billing", ""]
    assert found.metrics["accuracy"].value == pytest.approx(1 / 3)
    assert (found.n, found.failed) == (60, 0)


def test_a_free_text_is_right_where_it_is_the_expected_one(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path.as_uri())
    contender = Contender(spec_digest=SPEC.digest, name="base", model_name="base", model_digest="d")
    spec = SPEC.model_copy(update={"task": SPEC.task.model_copy(update={"kind": "generation", "labels": ()})})
    with VllmStub(answer=lambda model, prompt: "shipping " if prompt.endswith("0") else "shipped") as server:
        found = evaluate(
            contender,
            split(artifacts, 20),
            "held_out",
            spec=spec,
            labels=(),
            connections=OneEndpoint(server.url),
            artifacts=artifacts,
            report=lambda line: None,
        )
    assert found.metrics["accuracy"].value == pytest.approx(2 / 20)
    assert list(found.metrics) == ["accuracy"]
    assert {outcome.predicted for outcome in read_outcomes(found, artifacts)} == {"shipping", "shipped"}


def test_an_endpoint_that_is_not_there_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointError, match="does not answer"):
            ask(f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path)


def test_a_model_that_is_not_served_is_said(tmp_path: Path) -> None:
    with VllmStub() as server, pytest.raises(EndpointError, match=r"does not serve 'other'.*'base'"):
        ask(server.url, tmp_path, model="other")


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with VllmStub() as server, pytest.raises(DataError, match="is empty"):
        ask(server.url, tmp_path, rows=0)


def test_recipes_compete_on_the_validation_set_only(tmp_path: Path) -> None:
    some = [
        report(name, outcomes([True] * right + [False] * (20 - right)), tmp_path)
        for name, right in (("a", 10), ("b", 15), ("c", 15))
    ]
    on_validation = [item.model_copy(update={"set_name": "validation"}) for item in some]
    assert choose(on_validation, SPEC) == 1
    with pytest.raises(DataError, match="validation set only"):
        choose(some, SPEC)
    blip = on_validation[1].model_copy(update={"failed": 5})
    with pytest.raises(EndpointError, match="5 of 20 calls failed"):
        choose([on_validation[0], blip], SPEC)
