"""Whether a training memorised its rows, and whether its base model was the wrong one, from figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from retune.advice.evidence import is_shown
from retune.errors import DataError
from retune.records import Curve, MetricValue
from retune.records.advice import Finding
from retune.spec import PipelineSpec
from retune.stats.training_curves import diagnose

ASKED = 200
"""Most training examples that a candidate is asked to see what it made of them."""
HIGH, LOW, APART = 0.9, 0.8, 0.1
"""Score on training rows that means learned by heart, that means not learned, and a gap that matters."""
MARGIN = 0.05
"""How much worse a smaller model may be; wider than a gate's, since validation sets are small."""
_SIZE = re.compile(r"(?<![\d.a-z])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Peer:
    """A model of the run on the validation side.

    Attributes:
        title: The recipe, as people know it.
        base_model: What it was trained from.
        scores: Example id -> its score by `gate.metric`, 0 to 1.
        groups: Example id -> the group it is of; empty or missing where it is of none.
        cost_per_1000_usd: Of a thousand answers; None where it is not known.
    """

    title: str
    base_model: str
    scores: Mapping[str, float]
    groups: Mapping[str, str]
    cost_per_1000_usd: float | None = None


def diagnose_model(
    spec: PipelineSpec,
    train: MetricValue,
    validation: MetricValue,
    curves: Sequence[Curve],
    candidate: Peer,
    others: Sequence[Peer],
) -> tuple[Finding, ...]:
    """Say what is wrong with a candidate, each in one sentence with what to do; nothing where nothing is.

    Nor is anything said by a metric of which less is better: all figures here are of scores that rise.

    The validation score of a recipe that won by it is a little too good, so that a gap below it is real.

    Args:
        spec: The frozen spec.
        train: Its score on up to `ASKED` examples that it was trained on.
        validation: Its score on the validation side.
        curves: Of its training.
        candidate: The same model example by example.
        others: The other recipes' models.

    Raises:
        DataError: Another model answered other examples than the candidate.
    """
    if not train.higher_is_better:
        return ()
    found = [
        _memorised(train, validation),
        _too_small(spec, train, curves),
        _too_large(spec, candidate, others),
    ]
    return tuple(one for one in found if one is not None)


def parameters_of(base_model: str) -> float | None:
    """Return a base model's parameters as its name has them by custom, such as `Qwen3-0.6B`; else None."""
    # The first: names go on with other figures, such as the room for a million tokens in `-7B-Instruct-1M`.
    found = _SIZE.search(base_model.rstrip("/").rsplit("/", 1)[-1])
    return float(found[1]) * {"b": 1e9, "m": 1e6}[found[2].lower()] if found else None


def _memorised(train: MetricValue, validation: MetricValue) -> Finding | None:
    """Find a model that is right on what it was shown and wrong on what it was not.

    The interval of the gap is Newcombe's for independent proportions (1998, Statistics in Medicine
    17:873-890, method 10), from the intervals of both scores.
    """
    gap = train.value - validation.value
    low = gap - hypot(train.value - train.low, validation.high - validation.value)
    high = gap + hypot(train.high - train.value, validation.value - validation.low)
    if train.value < HIGH or gap < APART or low <= 0:
        return None
    return Finding(
        what="memorised",
        value=gap,
        threshold=APART,
        low=low,
        high=high,
        sentence=f"Memorised: {train.value:.3f} on {train.n} examples that it was trained on, and only"
        f" {validation.value:.3f} on {validation.n} that it was not.",
        action="train for fewer epochs or with a smaller lora.r, or on more and more varied rows",
    )


def _too_small(spec: PipelineSpec, train: MetricValue, curves: Sequence[Curve]) -> Finding | None:
    """Find a model that could not even learn its own rows, although its loss has come to rest."""
    # A free text is seldom hit to the letter, so a low score there does not tell of the model's size.
    if spec.task.kind == "generation" or train.high >= LOW:
        return None
    loss = [curve for curve in curves if curve.name == "loss"]
    if not loss or {one.kind for one in diagnose(loss)} != {"fine", "unseen"}:
        return None
    return Finding(
        what="too_small",
        value=train.value,
        threshold=LOW,
        low=train.low,
        high=train.high,
        sentence=f"Too small: {train.value:.3f} on {train.n} examples that it was trained on, and its loss no"
        " longer falls, so it cannot take in what the rows hold.",
        action="take a larger base model or lora.r; if that changes nothing, the questions do not determine"
        " the answers",
    )


def _too_large(spec: PipelineSpec, candidate: Peer, others: Sequence[Peer]) -> Finding | None:
    """Find the smallest model of the run that is shown not to be worse."""
    from retune.stats.sequential import paired_sequential

    if wrong := [one.title for one in others if one.scores.keys() != candidate.scores.keys()]:
        what = f"{', '.join(wrong)} answered other examples than {candidate.title}"
        raise DataError(what, "evaluate all recipes on the same validation side")
    ids = sorted(candidate.scores)
    for one in sorted((one for one in others if _smaller(one, candidate)), key=_size):
        differences = [one.scores[each] - candidate.scores[each] for each in ids]
        groups = [candidate.groups.get(each, "") for each in ids]
        it = paired_sequential(differences, -MARGIN, spec.gate.confidence, groups)
        if is_shown(it.e_above, spec.gate.confidence):
            return Finding(
                what="too_large",
                value=it.value,
                threshold=-MARGIN,
                low=it.low,
                high=it.high,
                sentence=f"Larger than needed: {one.title} is smaller and not more than {MARGIN:g} worse"
                f" ({it.value:+.3f} on {len(ids)} examples).",
                action=f"leave the larger base model out and let {one.base_model} stand before the gate",
            )
    return None


def _smaller(one: Peer, other: Peer) -> bool:
    """Say whether a model has fewer parameters, or where names do not say, costs less to ask."""
    sizes = parameters_of(one.base_model), parameters_of(other.base_model)
    if None in sizes:
        sizes = one.cost_per_1000_usd, other.cost_per_1000_usd
    return sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1]


def _size(one: Peer) -> tuple[float, float, str]:
    return parameters_of(one.base_model) or float("inf"), one.cost_per_1000_usd or 0.0, one.title
