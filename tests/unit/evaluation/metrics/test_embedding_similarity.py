"""Similarity by embeddings: the scores come before the measuring, which asks nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from retune.errors import EndpointError
from retune.evaluation.metrics import Task
from retune.evaluation.metrics.embedding_similarity import NAME, with_similarity
from tests.unit.evaluation.metrics.builders import measure, outcome, outcomes

TASK = Task(kind="generation", embeds=True)
KNOWN = {"cat": [2.0, 0.0], "kitten": [3.0, 4.0], "dog": [0.0, 1.0], "anti": [-1.0, 0.0], "void": [0.0, 0.0]}


class Endpoint:
    """Embeds a few words, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += texts
        return [KNOWN[text] for text in texts]


def test_the_score_is_the_cosine_and_nothing_below_0() -> None:
    pairs = [("cat", "cat"), ("cat", "kitten"), ("cat", "dog"), ("cat", "anti"), ("cat", " "), ("cat", "cat")]
    endpoint = Endpoint()
    found = with_similarity(outcomes(pairs, TASK), endpoint)
    assert [one.scores[NAME] for one in found] == pytest.approx([1, 0.6, 0, 0, 0, 1])
    assert sorted(endpoint.asked) == ["anti", "cat", "dog", "kitten"]
    value = measure(NAME, found, TASK)[NAME]
    assert (value.value, value.n) == (pytest.approx(2.6 / 6), 6)


def test_a_failed_call_is_unlike_everything_and_not_asked() -> None:
    endpoint = Endpoint()
    [found] = with_similarity([outcome("cat", "", TASK, error="timeout")], endpoint)
    assert found.scores == {NAME: 0} and not endpoint.asked


def test_what_has_no_direction_has_no_score() -> None:
    found = with_similarity(outcomes([("cat", "void"), ("", "cat")], TASK), Endpoint())
    assert [one.scores for one in found] == [{}, {}]
    assert measure(NAME, found, TASK) == {}


@pytest.mark.parametrize(
    "vectors", [[[1.0]], [[1.0], [float("nan")]], [[1.0], [1.0, 2.0]], [1.0, 2.0], [["a"], ["b"]]]
)
def test_an_endpoint_that_embeds_badly_is_said(vectors: object) -> None:
    with pytest.raises(EndpointError, match="embedded as an array|no table of numbers"):
        with_similarity(outcomes([("cat", "dog")], TASK), lambda texts: vectors)
