"""Should you fine-tune at all? A pure function from figures to a verdict with its evidence.

What a training changes is how a model behaves: a format, a style, a set of labels. Facts that it does not
know are better given to it as documents: Ovadia et al. 2023, "Fine-Tuning or Retrieval?" (arXiv
2312.05934), and their gains add up: Balaguer et al. 2024, "RAG vs Fine-tuning" (arXiv 2401.08406).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retune.advice.budget import Cost
from retune.advice.evidence import Prompt, Scored, scored
from retune.advice.prompts import form_findings, gain_findings, open_ended_findings, price_findings
from retune.advice.room import claim_against, least_gain, room_finding
from retune.advice.rows import label_finding, row_findings
from retune.records import Dataset, EvalReport, Outcome
from retune.records.advice import Advice, AdviceVerdict, Finding
from retune.spec import PipelineSpec


def advise(
    spec: PipelineSpec,
    dataset: Dataset,
    figures: Mapping[str, Any],
    reports: Mapping[str, EvalReport],
    outcomes: Mapping[str, Sequence[Outcome]],
    costs: Sequence[Cost] = (),
) -> Advice:
    """Say whether a run should train, before it costs money.

    A prompt that is enough comes first, since no training is cheaper than none; then a gain that documents
    are shown to bring; then what the rows lack. What is not measured decides nothing, and is told.

    Args:
        spec: The frozen spec.
        dataset: What would be trained on, and judged with.
        figures: The data card's (`dataset.figures`); empty where there are none.
        reports: `base`, `few_shot` and `rag`, as far as they were measured on the validation side.
        outcomes: The same keys: per-example outcomes.
        costs: What each recipe's training will cost; none where nobody estimated it.

    Raises:
        DataError: A report is of another set than this dataset's validation side, or of other examples.
    """
    prompts, untold = scored(spec, dataset, reports, outcomes)
    rooms = [room_finding(spec, one, dataset.held_out.rows, spec.advice.target) for one in prompts.values()]
    labels = label_finding(figures, _needed(spec, dataset, prompts, spec.advice.target))
    found = [
        *row_findings(spec, dataset, figures),
        *([labels] if labels else []),
        *rooms,
        *untold,
        *gain_findings(spec, prompts),
        *form_findings(spec, prompts),
        *open_ended_findings(spec, prompts),
        *price_findings(costs, prompts),
    ]
    verdict, reason = _decide(spec, prompts, rooms, found)
    known = [cost.usd for cost in costs if cost.usd is not None]
    return Advice(
        spec_digest=spec.digest,
        verdict=verdict,
        reason=reason,
        evidence=tuple(found),
        dataset_digest=dataset.digest,
        price_usd=sum(known) if costs and len(known) == len(costs) else None,
    )


def _decide(
    spec: PipelineSpec,
    prompts: Mapping[Prompt, Scored],
    rooms: Sequence[Finding],
    found: Sequence[Finding],
) -> tuple[AdviceVerdict, str]:
    enough = [one for one in rooms if one.speaks_for in ("prompt_is_enough", "use_rag")]
    if enough:
        # The cheapest prompt comes first.
        return enough[0].speaks_for or "prompt_is_enough", enough[0].sentence
    short = [one for one in found if one.speaks_for == "collect_more_data"]
    knowledge = next((one for one in found if one.what == "rag_gain" and one.speaks_for), None)
    if knowledge:
        behaviour = [one for one in found if one.speaks_for == "fine_tune"]
        below = spec.advice.target is not None and prompts["rag"].score < spec.advice.target
        if (behaviour or below) and not short:
            why = behaviour[0].sentence if behaviour else f"Alone they stay below {spec.advice.target:g}."
            return "combine", f"{knowledge.sentence} {why}"
        return "use_rag", knowledge.sentence
    if short:
        return "collect_more_data", short[0].sentence
    return "fine_tune", _why_train(spec, prompts, found[0])


def _why_train(spec: PipelineSpec, prompts: Mapping[Prompt, Scored], rows: Finding) -> str:
    if not prompts:
        return f"{rows.sentence.rstrip('.')}; no prompt was measured that could be enough."
    best = max(prompts.values(), key=lambda one: one.score)
    return (
        f"The best prompt, {best.name}, scores {best.score:.3f} by {spec.gate.metric} and leaves"
        f" {1 - best.score:.3f}; {rows.sentence[0].lower()}{rows.sentence[1:]}"
    )


def _needed(
    spec: PipelineSpec, dataset: Dataset, prompts: Mapping[Prompt, Scored], target: float | None
) -> float:
    """Return the score that a training must be able to reach: the target, or what the gate would see."""
    if target is not None:
        return target
    needed = 0.0
    for one in prompts.values():
        least = least_gain(dataset.held_out.rows, claim_against(spec.gate, one.name), spec.gate.confidence)
        # Where even the last point would not be seen, that is told of the held-out set, not of the labels.
        seen = one.score + (least or 1.0)
        needed = max(needed, seen if seen <= 1 else one.score)
    return needed
