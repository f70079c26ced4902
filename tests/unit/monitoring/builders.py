"""A release with held-out answers, and traffic that it answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from retune.artifacts import Artifacts, canonical_json
from retune.records import (
    Artifact,
    Contender,
    Decision,
    EvalReport,
    Exchange,
    Model,
    Outcome,
    Release,
    Verdict,
)
from retune.spec import PipelineSpec

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
SPEC = PipelineSpec.from_json(
    {
        "version": 1,
        "pipeline": "tickets",
        "data": {
            "sources": ["rows.jsonl"],
            "columns": {"prompt": "text", "completion": "queue"},
            "expectations": "suite.json",
        },
        "recipes": [{"base_model": "base"}],
        "evaluation": {"endpoint": "vllm_default"},
        "deploy": {"endpoint": "vllm_default", "alias": "tickets"},
    }
)
Pair = tuple[str, str]
"""A prompt and the label that the release answers."""


def watching(**watch: Any) -> PipelineSpec:
    """The spec with other settings of its watch."""
    return PipelineSpec.from_json({**SPEC.to_json(), "watch": watch})


def outcome(prompt: str, label: str, error: str = "") -> Outcome:
    """A held-out example that was answered right, or whose call failed."""
    said = "" if error else label
    return Outcome(
        id=prompt,
        prompt=prompt,
        expected=label,
        answer=said,
        predicted=said,
        correct=not error,
        error=error,
        latency_s=0.1,
    )


def stored(outcomes: Sequence[Outcome], artifacts: Artifacts) -> Artifact:
    """The outcomes' artifact."""
    lines = (canonical_json(item.model_dump(mode="json")) + b"\n" for item in outcomes)
    return artifacts.put_bytes(b"".join(lines), "application/jsonl")


def release(outcomes: Artifact) -> Release:
    """Release 3 with those held-out answers."""
    contender = Contender(spec_digest=SPEC.digest, name="candidate", model_name=DIGEST, model_digest=DIGEST)
    report = EvalReport(
        spec_digest=SPEC.digest,
        contender=contender,
        set_name="held_out",
        set_digest=DIGEST,
        metrics={},
        outcomes=outcomes,
        n=1,
        failed=0,
        latency_p50_s=0.1,
        latency_p95_s=0.1,
        seconds=1,
    )
    decision = Decision(
        spec_digest=SPEC.digest,
        verdict=Verdict.PROMOTE,
        reason="better than base",
        reports={"candidate": report},
        checks=(),
        candidate=contender,
        dataset_digest=DIGEST,
    )
    model = Model(
        spec_digest=SPEC.digest,
        kind="adapter",
        digest=DIGEST,
        uri="memory://model",
        base_model="base",
        base_digest=DIGEST,
        job_key="key",
        recipe_index=0,
        seconds=1,
    )
    return Release(
        spec_digest=SPEC.digest,
        pipeline=SPEC.pipeline,
        number=3,
        model=model,
        dataset_digest=DIGEST,
        decision=decision,
        dag_run_id="manual__1",
        created_at=NOW - timedelta(days=1),
    )


def judged_on(pairs: Sequence[Pair], artifacts: Artifacts) -> Release:
    """Release 3, which answered those prompts with those labels when it was judged."""
    return release(stored([outcome(*pair) for pair in pairs], artifacts))


def traffic(pairs: Sequence[Pair]) -> list[Exchange]:
    """Requests that release 3 answered, a second apart, the last one at NOW."""
    return [
        Exchange(
            at=NOW - timedelta(seconds=len(pairs) - 1 - index),
            pipeline=SPEC.pipeline,
            alias=SPEC.deploy.alias,
            release=3,
            model_digest=DIGEST,
            prompt=prompt,
            answer=answer,
            status=200,
            latency_ms=50,
        )
        for index, (prompt, answer) in enumerate(pairs)
    ]
