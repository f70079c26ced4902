"""What the real SDK's retries make of an endpoint that hangs; they take their time."""

from __future__ import annotations

from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.records import Contender
from retune.settings import EndpointAddress
from retune.testing.vllm_stub import VllmStub
from tests.unit.evaluation.builders import SPEC
from tests.unit.evaluation.test_evaluate import LABELS, split


def test_failed_calls_are_counted_and_never_right(tmp_path: Path) -> None:
    spec_timeout = SPEC.model_copy(
        update={"evaluation": SPEC.evaluation.model_copy(update={"timeout": "1s"})}
    )
    artifacts = Artifacts(tmp_path.as_uri())
    contender = Contender(spec_digest=SPEC.digest, name="base", model_name="base", model_digest="d")
    with VllmStub() as server:
        server.hang = True
        found = evaluate(
            contender,
            split(artifacts, 3),
            "held_out",
            spec=spec_timeout,
            labels=LABELS,
            endpoint=EndpointAddress(server.url),
            artifacts=artifacts,
            report=lambda line: None,
        )
    assert (found.failed, found.metrics["accuracy"].value) == (3, 0.0)
    assert all("APITimeoutError" in outcome.error for outcome in read_outcomes(found, artifacts))


def test_an_endpoint_that_stops_answering_ends_the_evaluation(tmp_path: Path) -> None:
    def answer(model: str, prompt: str) -> str:
        if int(prompt.split()[1]) >= 100:
            server.hang = True
        return "shipping"

    evaluation = SPEC.evaluation.model_copy(update={"timeout": "1s", "max_in_flight": 2})
    spec = SPEC.model_copy(update={"evaluation": evaluation})
    artifacts = Artifacts(tmp_path.as_uri())
    contender = Contender(spec_digest=SPEC.digest, name="base", model_name="base", model_digest="d")
    with VllmStub(answer=answer) as server, pytest.raises(EndpointError, match="stopped answering"):
        evaluate(
            contender,
            split(artifacts, 200),
            "held_out",
            spec=spec,
            labels=LABELS,
            endpoint=EndpointAddress(server.url),
            artifacts=artifacts,
            report=lambda line: None,
        )
