"""Votes for the candidate or its rival, as a metric beside the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from retune.artifacts import Artifacts, canonical_json
from retune.evaluation.evidence import Opinion
from retune.evaluation.metrics.base import mean_of
from retune.records import Outcome
from retune.records.base import Artifact, Record
from retune.records.evaluation import MetricValue

Source = Literal["judge", "people"]
JUDGE: Source = "judge"
PEOPLE: Source = "people"
_TITLES = {JUDGE: "LLM judge", PEOPLE: "reviewers"}


class Votes(Record):
    """What came of asking a judge, or people, which of two answers is better."""

    source: Source
    """Also the metric's name."""
    rival: str
    """Whom the candidate was held against."""
    counts: bool
    """Whether there is a figure that may be believed."""
    sentence: str
    """What came of it, for people."""
    value: MetricValue | None = None
    """Mean vote: 1 for the candidate, 0 for its rival, 0.5 for neither; None where the votes do not count."""
    figures: dict[str, float] = {}
    """What is shown beside, such as `agreement` and `kappa`."""
    votes: Artifact | None = None
    """JSON, example's id -> vote; None where there is none."""

    @property
    def metrics(self) -> dict[str, MetricValue]:
        """The metric for the candidate's report; empty where the votes do not count."""
        return {self.source: self.value} if self.counts and self.value is not None else {}

    @property
    def opinion(self) -> Opinion:
        """What the evaluation's page shows."""
        return Opinion(_TITLES[self.source], self.sentence, self.figures)


def store_votes(votes: Mapping[str, float], artifacts: Artifacts) -> Artifact:
    """Store votes.

    Args:
        votes: Example's id -> 0 to 1.
        artifacts: Takes them.
    """
    return artifacts.put_bytes(canonical_json(dict(votes)), "application/json")


def with_votes(outcomes: Sequence[Outcome], found: Votes, artifacts: Artifacts) -> list[Outcome]:
    """Return the candidate's outcomes with the votes among their scores, where they count.

    Args:
        outcomes: The candidate's.
        found: What came of asking.
        artifacts: Where the votes lie.

    Raises:
        ArtifactError: The votes cannot be read.
    """
    import json

    if not found.counts or found.votes is None:
        return list(outcomes)
    votes: dict[str, float] = json.loads(artifacts.get_bytes(found.votes.digest))
    return [
        one.model_copy(update={"scores": {**one.scores, found.source: votes[one.id]}})
        if one.id in votes
        else one
        for one in outcomes
    ]


def mean_vote(
    votes: Mapping[str, float], outcomes: Sequence[Outcome], confidence: float, seed: int
) -> MetricValue:
    """Return the mean vote with its interval.

    Args:
        votes: Example's id -> 0 to 1; at least one of the outcomes'.
        outcomes: Say which examples belong together.
        confidence: Two-sided coverage.
        seed: Makes the interval repeatable.
    """
    scores = [votes.get(one.id) for one in outcomes]
    return mean_of(scores, [one.group for one in outcomes], confidence, seed)


def in_words(value: MetricValue) -> str:
    """Return a figure with its interval, as sentences have it."""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
