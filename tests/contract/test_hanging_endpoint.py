"""What the real SDK's retries make of an endpoint that hangs; they take their time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retune.errors import EndpointError
from retune.evaluation.evaluate import read_outcomes
from retune.spec import PipelineSpec
from retune.testing.vllm_stub import VllmStub
from tests.unit.evaluation.builders import SPEC
from tests.unit.evaluation.test_evaluate import ask


def impatient(**changed: Any) -> PipelineSpec:
    evaluation = SPEC.evaluation.model_copy(update={"timeout": "1s", **changed})
    return SPEC.model_copy(update={"evaluation": evaluation})


def test_failed_calls_are_counted_and_never_right(tmp_path: Path) -> None:
    # The list of models is answered, the calls hang.
    with VllmStub() as server:
        server.hang = True
        found, artifacts = ask(server.url, tmp_path, rows=3, spec=impatient())
    assert (found.failed, found.metrics["accuracy"].value) == (3, 0.0)
    assert all("no answer within 1 s" in outcome.error for outcome in read_outcomes(found, artifacts))


def test_an_endpoint_that_stops_answering_ends_the_evaluation(tmp_path: Path) -> None:
    def answer(model: str, prompt: str) -> str:
        if int(prompt.split()[1]) >= 100:
            server.hang = True
        return "shipping"

    with VllmStub(answer=answer) as server, pytest.raises(EndpointError, match="stopped answering"):
        ask(server.url, tmp_path, rows=200, spec=impatient(max_in_flight=2))
