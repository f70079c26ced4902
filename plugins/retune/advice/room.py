"""How much room a prompt leaves for a training, and whether the gate could ever show that it was used."""

from __future__ import annotations

from functools import cache

from retune.advice.evidence import TITLES, Scored, is_shown
from retune.records.advice import AdviceVerdict, Finding
from retune.spec import Gate, PipelineSpec

SMALL = 0.05
"""Room up to which a prompt is taken for enough where the gate cannot see it; with more, examples lack."""
_MOST_HELD_OUT = 20_000


@cache
def least_gain(n: int, claim: float, confidence: float) -> float | None:
    """Return the least gain that a gate could show: that of a model which is right wherever the other is.

    A training that loses nothing is the best case, so what is not shown then is never shown.

    Args:
        n: Held-out examples.
        claim: Least gain that the gate's `beats` asks for.
        confidence: The gate's.

    Returns:
        A difference of scores, 0 to 1; None where not even being right each time would be shown.
    """
    from retune.stats.sequential import paired_sequential

    def shows(wins: int) -> bool:
        differences = [1.0] * wins + [0.0] * (n - wins)
        return is_shown(paired_sequential(differences, claim, confidence).e_above, confidence)

    if n == 0 or not shows(n):
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high / n


def claim_against(gate: Gate, prompt: str) -> float:
    """Return the gain over a prompt that the gate asks for; 0, to be better at all, where it claims none."""
    claimed: float | None = getattr(gate.beats, prompt)
    return claimed or 0.0


def room_finding(spec: PipelineSpec, prompt: Scored, held_out: int, target: float | None) -> Finding:
    """Say whether a prompt is enough, and if not, whether the held-out set can show a gain over it.

    A prompt is enough when it reaches the target. It is enough as well when not even a model without a
    mistake could be shown to be better, and it leaves no more than the gate's claim asks for, or (where
    there is no target) than 0.05. Where it leaves more, it is the held-out set that is too small.

    Args:
        spec: The frozen spec.
        prompt: How it did on the validation side.
        held_out: Examples that the gate will judge on.
        target: The score at which a prompt is enough; None where only the room says.
    """
    room = 1 - prompt.score
    claim = claim_against(spec.gate, prompt.name)
    least = least_gain(held_out, claim, spec.gate.confidence)
    seen = least is not None and room >= least
    if target is not None and prompt.score >= target:
        return _finding(spec, prompt, f", and advice.target is {target:g}", target, _enough(prompt))
    can = f"{held_out:,} held-out examples can show {_least_words(least)}"
    asked = f" over the {claim:g} that gate.beats.{prompt.name} asks for" if claim else ""
    said = f": it leaves {room:.3f}, and {can}{asked}"
    threshold = target if target is not None else 1 - (least or 1.0)
    if seen:
        return _finding(spec, prompt, said, threshold)
    if room <= claim or (target is None and room <= SMALL):
        return _finding(spec, prompt, said, threshold, _enough(prompt))
    action = _more_held_out(room, held_out, claim, spec.gate.confidence)
    return _finding(spec, prompt, said, threshold, "collect_more_data", action)


def _finding(
    spec: PipelineSpec,
    prompt: Scored,
    said: str,
    threshold: float,
    speaks_for: AdviceVerdict | None = None,
    action: str = "",
) -> Finding:
    measured = prompt.report.metrics.get(spec.gate.metric)
    return Finding(
        what=prompt.name,
        value=prompt.score,
        threshold=threshold,
        low=measured.low if measured else None,
        high=measured.high if measured else None,
        sentence=f"{TITLES[prompt.name]} ({prompt.name}) scores {prompt.score:.3f} by {spec.gate.metric} on"
        f" {len(prompt.scores):,} validation examples{said}.",
        action=action,
        speaks_for=speaks_for,
    )


def _enough(prompt: Scored) -> AdviceVerdict:
    return "use_rag" if prompt.name == "rag" else "prompt_is_enough"


def _least_words(least: float | None) -> str:
    return "no gain at all" if least is None else f"a gain of {least:.3f} at least"


def _more_held_out(room: float, held_out: int, claim: float, confidence: float) -> str:
    """Say how many held-out examples would show the gain of a model without a mistake."""
    n = max(held_out, 1)
    while n < _MOST_HELD_OUT:
        n *= 2
        least = least_gain(n, claim, confidence)
        if least is not None and least <= room:
            return f"hold more rows out: with {n:,} a model without a mistake would be seen to be better"
    return "hold more rows out"
