"""Blind reviews: which examples people see, in which order, and what their answers come to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from retune.artifacts import Artifacts
from retune.evaluation.judging.agreement import among
from retune.evaluation.judging.pairs import BETTER, Better, Pair, alike, other, score_of
from retune.evaluation.judging.votes import PEOPLE, Votes, in_words, mean_vote, store_votes
from retune.records import Outcome
from retune.records.base import Artifact, Frozen
from retune.spec import PipelineSpec

FIELD = "example_{number}"
"""The form's field of an example, by its number on the page."""


class Placed(Frozen):
    """An example on a reviewer's page."""

    id: str
    candidate: Better
    """Where the candidate's answer stands: `first` or `second`."""


class Sheet(Frozen):
    """What one reviewer is shown."""

    reviewer: int
    """Counted from 1."""
    rival: str
    """Whom the candidate is held against; not on the page."""
    page: Artifact
    """The examples, for people."""
    placed: Artifact
    """JSON, `Key`: where the candidate's answers stand."""
    examples: int
    timeout: str
    """How long an answer is waited for, as the spec says it."""


class Key(Frozen):
    """Where the candidate's answers stand on a reviewer's page, in its order."""

    placed: tuple[Placed, ...]


class Answered(Frozen):
    """What one reviewer answered."""

    reviewer: int
    by: str = ""
    """Who that was, as Airflow knows them; empty where nobody answered in time."""
    better: dict[str, Better] = {}
    """Example's id -> `first` where the candidate's answer is better, `second` where its rival's is."""


def choose(
    candidate: Sequence[Outcome], rival: Sequence[Outcome], most: int, seed: int
) -> list[tuple[Outcome, Outcome]]:
    """Return the examples that people compare: some of those that the two answer differently.

    Where both say the same there is nothing to tell apart, and where a call failed nothing to read.

    Args:
        candidate: Its outcomes.
        rival: Another contender's of the same examples.
        most: How many people see.
        seed: Chooses among them.

    Returns:
        The candidate's outcome with its rival's, in a random order that is the same for the same seed.
    """
    theirs = {one.id: one for one in rival}
    both = [(one, theirs[one.id]) for one in candidate if one.id in theirs]
    open_ones = [(one, two) for one, two in both if not one.error and not two.error and not alike(one, two)]
    return sorted(open_ones, key=lambda two: _drawn(seed, two[0].id))[:most]


def laid_out(
    chosen: Sequence[tuple[Outcome, Outcome]], reviewer: int, seed: int
) -> tuple[list[Pair], tuple[Placed, ...]]:
    """Return what a reviewer sees, and where the candidate's answers stand.

    Args:
        chosen: As `choose` returns them.
        reviewer: Counted from 1; each sees the answers in an order of their own.
        seed: Of the spec.
    """
    pairs, placed = [], []
    for mine, theirs in chosen:
        pair = Pair(mine.prompt, mine.answer, theirs.answer)
        first = _drawn(seed, f"{reviewer}:{mine.id}") % 2 == 0
        pairs.append(pair if first else pair.swapped)
        placed.append(Placed(id=mine.id, candidate="first" if first else "second"))
    return pairs, tuple(placed)


def _drawn(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest())


def read_form(given: Mapping[str, Any], key: Key) -> dict[str, Better]:
    """Return which of the two was found better, by example's id; `first` is the candidate then.

    Args:
        given: The form's fields. Airflow takes whatever is sent to it, so a value that is none of the
            three counts as not answered.
        key: Where the candidate's answers stand.
    """
    found: dict[str, Better] = {}
    for number, one in enumerate(key.placed, start=1):
        value = given.get(FIELD.format(number=number))
        better = next((word for word in BETTER if value == word), None)
        if better is not None:
            found[one.id] = better if one.candidate == "first" else other(better)
    return found


def count_reviews(
    sheets: Sequence[Sheet],
    reviews: Sequence[Answered],
    candidate: Sequence[Outcome],
    *,
    spec: PipelineSpec,
    artifacts: Artifacts,
) -> Votes:
    """Return what reviewers said: an example's score is the mean of the votes on it.

    Who answered two forms is heard once, or the agreement would be with oneself.

    Args:
        sheets: What reviewers were shown; empty where there was nothing to compare.
        reviews: What came back; some may be missing.
        candidate: Its outcomes.
        spec: The frozen spec.
        artifacts: Takes the votes.
    """
    heard: dict[str, Answered] = {}
    for review in sorted(reviews, key=lambda one: one.reviewer):
        if review.better:
            heard.setdefault(review.by, review)
    said = {
        row.id: [one.better[row.id] for one in heard.values() if row.id in one.better] for row in candidate
    }
    votes = {name: sum(map(score_of, some)) / len(some) for name, some in said.items() if some}
    if not votes:
        return _nobody(sheets, spec)
    value = mean_vote(votes, candidate, spec.gate.confidence, spec.seed)
    share, kappa = among(list(said.values()))
    shown = {"agreement": share, "kappa": kappa}
    return Votes(
        spec_digest=spec.digest,
        source=PEOPLE,
        rival=sheets[0].rival,
        counts=True,
        sentence=(
            f"{len(heard)} of {len(sheets)} reviewers compared {value.n} examples that the candidate answers"
            f" otherwise than {sheets[0].rival}: mean vote {in_words(value)}, where 1 is the candidate and"
            f" 0.5 is even.{_agreed(share, kappa)}{_repeated(reviews, heard)}"
        ),
        value=value,
        figures={
            "reviewers": len(heard),
            "asked": len(sheets),
            **{name: found for name, found in shown.items() if found is not None},
        },
        votes=store_votes(votes, artifacts),
    )


def _nobody(sheets: Sequence[Sheet], spec: PipelineSpec) -> Votes:
    if sheets:
        rival, sentence = sheets[0].rival, f"None of the {len(sheets)} reviewers compared an example in time."
    else:
        rival, sentence = "", "There was nothing to review: no example has two answers that differ."
    return Votes(spec_digest=spec.digest, source=PEOPLE, rival=rival, counts=False, sentence=sentence)


def _repeated(reviews: Sequence[Answered], heard: Mapping[str, Answered]) -> str:
    more = sum(bool(review.better) for review in reviews) - len(heard)
    return f" {more} more forms came from the same people and do not count." if more else ""


def _agreed(share: float | None, kappa: float | None) -> str:
    if share is None:
        return ""
    return f" Two reviewers of an example agree in {share:.0%} of cases" + (
        f" (Fleiss' kappa {kappa:.2f})." if kappa is not None else "."
    )
