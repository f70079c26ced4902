"""Records for tests of the advice: a dataset, and what prompts scored on its validation side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retune.advice.readiness import advise
from retune.records import Artifact, Contender, Dataset, EvalReport, MetricValue, Outcome, Split
from retune.records.advice import Advice, Finding
from retune.spec import PipelineSpec
from retune.spec.advice import Advising


def spec(**changed: Any) -> PipelineSpec:
    """A spec with these sections changed."""
    sections: dict[str, Any] = {
        "version": 1,
        "pipeline": "tickets",
        "data": {"sources": ["rows.jsonl"], "columns": {"prompt": "text", "completion": "queue"}},
        "recipes": [{"base_model": "base"}],
        "evaluation": {"endpoint": "vllm", "baselines": ["base", "few_shot", "rag"]},
        "deploy": {"endpoint": "vllm", "alias": "tickets"},
    }
    return PipelineSpec.model_validate(sections | changed)


def blob(letter: str) -> Artifact:
    """An artifact of which only the digest matters."""
    return Artifact(digest="sha256:" + letter * 64, uri=f"memory://{letter}", size=1)


def dataset(train: int = 700, held_out: int = 240) -> Dataset:
    """A dataset with so many rows."""
    return Dataset(
        spec_digest=spec().digest,
        pipeline="tickets",
        digest="sha256:" + "d" * 64,
        train=Split(artifact=blob("1"), rows=train),
        validation=Split(artifact=blob("2"), rows=100),
        held_out=Split(artifact=blob("3"), rows=held_out),
        labels=("billing", "shipping"),
        sources={},
        rows_read=1000,
        dropped={},
        validation_page=blob("4"),
    )


def right(share: float, n: int = 100) -> list[float]:
    """Scores of which the first are right."""
    return [1.0] * round(share * n) + [0.0] * (n - round(share * n))


def outcomes(scores: Sequence[float], **changed: Any) -> list[Outcome]:
    """Outcomes with these scores by accuracy."""
    made = {"prompt": "Where is it?", "expected": "shipping", "answer": "a", "predicted": "a"}
    return [
        Outcome(
            id=f"{place:064d}",
            correct=score == 1,
            latency_s=0.01,
            **{**made, "scores": {"accuracy": score}, **changed},
        )
        for place, score in enumerate(scores)
    ]


def report(name: str, found: Sequence[Outcome], **changed: Any) -> EvalReport:
    """The report of a prompt over outcomes of the validation side."""
    scores = [one.scores.get("accuracy", 0.0) for one in found] or [0.0]
    value = sum(scores) / len(scores)
    shown = MetricValue(value=value, low=max(value - 0.1, 0), high=min(value + 0.1, 1), n=len(scores))
    made: dict[str, Any] = {
        "contender": Contender(spec_digest="s", name=name, model_name=name, model_digest=name),
        "set_name": "validation",
        "set_digest": blob("2").digest,
        "metrics": {"accuracy": shown},
        "n": len(found),
        "failed": sum(bool(one.error) for one in found),
    }
    rest = {"latency_p50_s": 0.01, "latency_p95_s": 0.02, "seconds": 1.0}
    return EvalReport(spec_digest="s", outcomes=blob("5"), **{**made, **rest, **changed})


def advised(
    measured: Mapping[str, Sequence[Outcome]],
    *,
    of: Dataset | None = None,
    figures: Mapping[str, Any] | None = None,
    by: PipelineSpec | None = None,
    target: float | None = None,
    **more: Any,
) -> Advice:
    """The advice on a dataset whose prompts did so."""
    reports = {name: report(name, found) for name, found in measured.items()}
    asked = (by or spec()).model_copy(update={"advice": Advising(target=target)})
    return advise(asked, of or dataset(), figures or {}, reports, measured, **more)


def finding(advice: Advice, what: str) -> Finding:
    """The one finding of that name."""
    (found,) = [one for one in advice.evidence if one.what == what]
    return found
