"""Answers that mean the same in other words, by an endpoint that embeds texts."""

from __future__ import annotations

from pathlib import Path

from retune.artifacts import Artifacts
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.records import Contender, Split
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import Evaluation, Retrieval, Task
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import conversation, write_conversations
from tests.unit.evaluation.builders import SPEC
from tests.unit.evaluation.prompting.embedding_server import EmbeddingServer


class TwoEndpoints(EnvironmentConnections):
    """One that answers, and one that embeds."""

    def __init__(self, answers: str, embeds: str) -> None:
        self._urls = {"vllm_default": answers, "embed": embeds}

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._urls[name])


def test_the_spec_has_answers_compared_by_meaning(tmp_path: Path) -> None:
    rag = Retrieval(embeddings="embed", embedding_model="embedder")
    asks = Evaluation(endpoint="vllm_default", rag=rag, metrics=("embedding_similarity",))
    spec = SPEC.model_copy(update={"evaluation": asks, "task": Task(kind="generation")})
    artifacts = Artifacts((tmp_path / "artifacts").as_uri())
    rows = [conversation("", f"Where is it, {number}?", "see the parcel desk") for number in range(4)]
    stored = artifacts.put_bytes(write_conversations(rows), "application/jsonl")
    with EmbeddingServer() as server, VllmStub(answer=lambda model, prompt: "see the package desk") as stub:
        report = evaluate(
            Contender(spec_digest=spec.digest, name="base", model_name="base", model_digest="d"),
            Split(artifact=stored, rows=len(rows)),
            "held_out",
            spec=spec,
            labels=(),
            connections=TwoEndpoints(stub.url, server.url),
            artifacts=artifacts,
            settings=Settings.load({"project": str(tmp_path)}.get),
            report=lambda line: None,
        )
        assert server.texts == {"see the parcel desk": 1, "see the package desk": 1}
    assert report.metrics["accuracy"].value == 0
    assert report.metrics["embedding_similarity"].value > 0.99
    assert all(one.scores["embedding_similarity"] > 0.99 for one in read_outcomes(report, artifacts))
