"""What the prompts say of each other: what helps, in which form they answer, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retune.advice.budget import Cost
from retune.advice.evidence import Prompt, Scored, gain, is_shown
from retune.records.advice import AdviceVerdict, Finding
from retune.spec import PipelineSpec
from retune.spec.budget import dollars

LEAST_VALID = 0.95
"""Share of answers of the wanted form below which the form is short, where gate.valid_format says nothing."""
OPEN_ENDED = 0.9
"""Share of different answers from which a generation is called open-ended."""
_HELPS: tuple[tuple[Prompt, str, str, AdviceVerdict], ...] = (
    ("few_shot", "Examples in the prompt", "how to answer can be taught", "fine_tune"),
    ("rag", "Passages of documents", "they give knowledge that lacks", "use_rag"),
)


def gain_findings(spec: PipelineSpec, prompts: Mapping[Prompt, Scored]) -> list[Finding]:
    """Say what examples and documents add to the bare question, where both were measured."""
    base = prompts.get("base")
    if base is None:
        return []
    found = []
    for name, what, meant, speaks_for in _HELPS:
        if name not in prompts:
            continue
        it = gain(prompts[name], base, spec)
        shown = is_shown(it.e_above, spec.gate.confidence)
        found.append(
            Finding(
                what=f"{name}_gain",
                value=it.value,
                threshold=0.0,
                low=it.low,
                high=it.high,
                sentence=f"{what} change {spec.gate.metric} by {it.value:+.3f} ({it.low:+.3f} to"
                f" {it.high:+.3f}) against the bare question: "
                + (f"{meant}." if shown else "that they help is not shown."),
                speaks_for=speaks_for if shown else None,
            )
        )
    return found


def form_findings(spec: PipelineSpec, prompts: Mapping[Prompt, Scored]) -> list[Finding]:
    """Say how many answers of the richest prompt have the wanted form; nothing where no metric says."""
    least = spec.gate.valid_format or LEAST_VALID
    one = prompts.get("rag") or prompts.get("few_shot") or prompts.get("base")
    if one is None or one.valid is None:
        return []
    short = one.valid < least
    return [
        Finding(
            what="valid_format",
            value=one.valid,
            threshold=least,
            sentence=f"{one.valid:.1%} of the answers of {one.name} have the wanted form,"
            f" {'fewer than' if short else 'at least'} {least:.0%}.",
            speaks_for="fine_tune" if short else None,
        )
    ]


def open_ended_findings(spec: PipelineSpec, prompts: Mapping[Prompt, Scored]) -> list[Finding]:
    """Warn of a task so general that a score sees little of it, and a training may cost other abilities.

    Source: Luo et al. 2023, "An Empirical Study of Catastrophic Forgetting in Large Language Models During
    Continual Fine-tuning" (arXiv 2308.08747).
    """
    if spec.task.kind != "generation" or not prompts:
        return []
    different, all_of_them = next(iter(prompts.values())).answers
    share = different / all_of_them
    open_ended = share >= OPEN_ENDED
    return [
        Finding(
            what="open_ended",
            value=share,
            threshold=OPEN_ENDED,
            sentence=f"{share:.0%} of the expected answers are different ones"
            + (
                ": the task is general, and a training on it may cost other abilities." if open_ended else "."
            ),
            action="set gate.forgetting, and let evaluation.judge or evaluation.people look as well"
            if open_ended
            else "",
        )
    ]


def price_findings(costs: Sequence[Cost], prompts: Mapping[Prompt, Scored]) -> list[Finding]:
    """Say what the training costs, and after how many answers a shorter prompt has earned it back.

    Args:
        costs: One for each recipe; none where nobody estimated.
        prompts: Those that were measured, with what their answers cost.
    """
    if not costs:
        return []
    unknown = [cost.title for cost in costs if cost.usd is None]
    total = sum(cost.usd for cost in costs if cost.usd is not None)
    if unknown:
        what = f"Nobody knows what {', '.join(unknown)} would cost."
        return [
            Finding(what="price", value=None, sentence=what, action="put the price into include/prices.yaml")
        ]
    what = "Training" if len(costs) == 1 else f"Training {len(costs)} recipes"
    sentence = f"{what} costs {dollars(total)}."
    saved = _saved_a_thousand(prompts)
    if saved and total > 0:
        sentence += (
            f" Without examples in the prompt a thousand answers cost {dollars(saved)} less, which pays for"
            f" it after {1000 * total / saved:,.0f} answers, if a tuned model's tokens cost the same."
        )
    return [Finding(what="price", value=total, sentence=sentence)]


def _saved_a_thousand(prompts: Mapping[Prompt, Scored]) -> float | None:
    plain, richer = (
        prompts[name].report.cost_per_1000_usd if name in prompts else None for name in ("base", "few_shot")
    )
    return richer - plain if plain is not None and richer is not None and richer > plain else None
