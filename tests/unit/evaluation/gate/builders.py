"""Evidence for the gate: records that say what they must and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from retune.evaluation.gate import decide, key_of
from retune.records import (
    Artifact,
    Check,
    Contender,
    Dataset,
    Decision,
    EvalReport,
    MetricValue,
    Outcome,
    Split,
)
from retune.records.evaluation import SetName
from retune.spec import PipelineSpec

HELD_OUT = "sha256:" + "3" * 64


def spec(gate: Mapping[str, Any] | None = None, **parts: Any) -> PipelineSpec:
    """A classification's spec with these rules of the gate; other parts as given."""
    data = {
        "version": 1,
        "pipeline": "tickets",
        "data": {"sources": ["rows.jsonl"], "columns": {"prompt": "text", "completion": "queue"}},
        "recipes": [{"base_model": "base"}],
        "evaluation": {"endpoint": "vllm", "baselines": ["base", "few_shot", "rag", "previous"]},
        "gate": dict(gate or {}),
        "deploy": {"endpoint": "vllm", "alias": "tickets"},
    }
    return PipelineSpec.model_validate(data | parts)


def blob(digest: str) -> Artifact:
    """An artifact of which only the digest matters."""
    return Artifact(digest=digest, uri="memory://blob", size=1)


def dataset(rows: int) -> Dataset:
    """A dataset with so many held-out rows."""
    return Dataset(
        spec_digest="spec",
        pipeline="tickets",
        digest="sha256:" + "d" * 64,
        train=Split(artifact=blob("sha256:" + "1" * 64), rows=700),
        validation=Split(artifact=blob("sha256:" + "2" * 64), rows=100),
        held_out=Split(artifact=blob(HELD_OUT), rows=rows),
        sources={},
        rows_read=1000,
        dropped={},
        validation_page=blob("sha256:" + "4" * 64),
    )


def outcome(number: int, score: float, **changed: Any) -> Outcome:
    """What was answered to one example."""
    values: dict[str, Any] = {
        "id": f"{number:064d}",
        "prompt": f"Where is parcel {number}?",
        "expected": "shipping",
        "answer": "shipping" if score else "billing",
        "predicted": "shipping" if score else "billing",
        "correct": score == 1,
        "latency_s": 0.01,
        "scores": {"accuracy": score, "valid_label": 1.0},
    }
    return Outcome.model_validate(values | changed)


def answers(*scores: float | tuple[int, float], **changed: Any) -> list[Outcome]:
    """Outcomes by score; a pair stands for so many of one score."""
    flat: list[float] = []
    for score in scores:
        flat += [score[1]] * score[0] if isinstance(score, tuple) else [score]
    return [outcome(number, score, **changed) for number, score in enumerate(flat)]


def failing(rows: Sequence[Outcome], count: int) -> list[Outcome]:
    """The same outcomes, of which the first calls brought no answer and no score."""
    failed = {"error": "timeout", "answer": "", "predicted": "", "correct": False, "scores": {}}
    return [row.model_copy(update=failed) if at < count else row for at, row in enumerate(rows)]


def report(name: str, rows: Sequence[Outcome], set_name: SetName = "held_out", **changed: Any) -> EvalReport:
    """A contender's report over outcomes."""
    score = fsum(row.scores.get("accuracy", 0.0) for row in rows) / max(len(rows), 1)
    found = EvalReport(
        spec_digest="spec",
        contender=Contender(spec_digest="spec", name=name, model_name=name, model_digest=f"digest of {name}"),
        set_name=set_name,
        set_digest=HELD_OUT if set_name == "held_out" else f"sha256 of {set_name}",
        metrics={"accuracy": MetricValue(value=score, low=0, high=1, n=len(rows))},
        outcomes=blob("sha256:" + "5" * 64),
        n=len(rows),
        failed=sum(bool(row.error) for row in rows),
        latency_p50_s=0.01,
        latency_p95_s=0.02,
        seconds=1.0,
    )
    return found.model_copy(update=changed)


def reports_of(found: Mapping[str, Sequence[Outcome]]) -> dict[str, EvalReport]:
    """Reports by the gate's key: `base`, or `safety:base` and the like."""
    made = []
    for key, rows in found.items():
        set_name, _, name = key.rpartition(":")
        made.append(report(name, rows, set_name or "held_out"))  # type: ignore[arg-type]
    return {key_of(one): one for one in made}


def judge(
    rules: PipelineSpec,
    found: Mapping[str, Sequence[Outcome]],
    live: str | None = None,
    /,
    changed: Mapping[str, Mapping[str, Any]] | None = None,
    **known: Any,
) -> Decision:
    """Decide over outcomes by key, with some fields of some reports changed."""
    reports = reports_of(found)
    for key, update in (changed or {}).items():
        reports[key] = reports[key].model_copy(update=dict(update))
    return decide(
        rules,
        dataset(len(found["candidate"])),
        reports,
        found,
        live,
        **({"held_out_uses": 1, "leaked": 0} | known),
    )


def check(decision: Decision, name: str) -> Check:
    """The one check of that name."""
    (found,) = [one for one in decision.checks if one.name == name]
    return found
