"""What a page shows, as data: without a prompt or an answer, so that it may be kept and compared."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any

from retune.evaluation.comparison import against, differences, slice_scores
from retune.evaluation.differences import confusions, label_pairs, lost, won
from retune.evaluation.evidence import Evidence
from retune.records import EvalReport
from retune.stats.training_curves import diagnose

SCHEMA_VERSION = 1
"""Goes up when a name changes its meaning or goes; new names come without."""


def figures(evidence: Evidence) -> dict[str, Any]:
    """Return an evaluation's figures as plain JSON types; what is no number is null.

    Examples stand in it by their ids, labels and slices by their names; texts do not.

    Args:
        evidence: What was measured, and what was made of it.
    """
    report, decision = evidence.report, evidence.decision
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "retune_version": report.retune_version,
        "pipeline": evidence.spec.pipeline,
        "spec_digest": report.spec_digest,
        "dataset_digest": evidence.dataset.digest if evidence.dataset else None,
        "set": {"name": report.set_name, "digest": report.set_digest, "n": report.n},
        "held_out_uses": evidence.held_out_uses,
        "subject": evidence.subject,
        "rival": evidence.rival or None,
        "metric": evidence.metric,
        "confidence": evidence.spec.gate.confidence,
        "headline": evidence.headline or None,
        "decision": decision.model_dump(mode="json", include=_DECISION) if decision else None,
        "contenders": {name: _contender(one) for name, one in evidence.contenders},
        "other_sets": {name: _contender(one) for name, one in evidence.other_sets},
        "differences": [asdict(one) for one in differences(evidence)],
        "slices": [asdict(one) for one in slice_scores(evidence)],
        "confusion": _confusion(evidence),
        "examples": _examples(evidence),
        "training": _training(evidence),
        "beside": asdict(evidence.beside),
        "data": _data(evidence),
    }
    plain: dict[str, Any] = _plain(found)
    return plain


_DECISION = {"verdict", "reason", "advice", "forced_by", "checks"}


def _contender(report: EvalReport) -> dict[str, Any]:
    shown = report.model_dump(
        mode="json", exclude={"outcomes", "schema_version", "spec_digest", "set_digest"}
    )
    contender = shown.pop("contender")
    names = ("name", "model_name", "model_digest", "strategy", "prompt_digest", "backend")
    return {**{name: contender[name] for name in names}, **shown}


def _confusion(evidence: Evidence) -> dict[str, Any] | None:
    if not evidence.labels:
        return None
    mine = evidence.outcomes[evidence.subject]
    right = {label: 0 for label in evidence.labels}
    for outcome in mine:
        if outcome.predicted == outcome.expected and not outcome.error:
            right[outcome.expected] = right.get(outcome.expected, 0) + 1
    wrong = [
        {"expected": expected, "answered": answered, "n": count}
        for expected, answered, count in confusions(mine)
    ]
    return {"labels": list(evidence.labels), "right": right, "wrong": wrong}


def _examples(evidence: Evidence) -> dict[str, Any] | None:
    if not evidence.rival:
        return None
    pairs = against(evidence, evidence.rival)
    sides = {"won": won(pairs), "lost": lost(pairs)}
    found: dict[str, Any] = {side: [pair.mine.id for pair in some] for side, some in sides.items()}
    if evidence.labels:
        found["label_pairs"] = {
            side: [asdict(one) for one in label_pairs(some)] for side, some in sides.items()
        }
    return found


def _training(evidence: Evidence) -> dict[str, Any] | None:
    model = evidence.model
    if model is None:
        return None
    return {
        "model_digest": model.digest,
        "base_model": model.base_model,
        "base_digest": model.base_digest,
        "seconds": model.seconds,
        "cost_usd": model.cost_usd,
        "curves": {curve.name: [list(point) for point in curve.points] for curve in model.curves},
        "findings": [{"kind": one.kind, "sentence": one.sentence} for one in diagnose(model.curves)],
    }


def _data(evidence: Evidence) -> dict[str, Any] | None:
    dataset = evidence.dataset
    if dataset is None:
        return None
    sides = {side: getattr(dataset, side).rows for side in ("train", "validation", "held_out")}
    return {"rows_read": dataset.rows_read, **sides, "dropped": dict(dataset.dropped)}


def _plain(value: Any) -> Any:
    """Return a value without what JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value
