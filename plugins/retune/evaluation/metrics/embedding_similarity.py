"""Similarity of meaning, by an endpoint that embeds texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from retune.errors import EndpointError
from retune.evaluation.metrics.base import MeanMetric, Task, only_texts
from retune.records import Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NAME = "embedding_similarity"

Embed = Callable[[Sequence[str]], Any]
"""Texts -> a table of numbers, one row a text in order, such as `EmbeddingModel.questions`."""


class EmbeddingSimilarity(MeanMetric):
    """Mean cosine of the embeddings of answer and expected text, 0 to 1; opposite ones count as 0.

    Measuring asks nobody, so the scores are put into the outcomes before it, by `with_similarity`.
    """

    name = NAME

    def unfit(self, task: Task) -> str:
        """Say that a label is no text, or that no endpoint is named."""
        unnamed = "" if task.embeds else "evaluation.rag.embeddings names no endpoint that embeds texts"
        return only_texts(task) or unnamed

    def score(self, outcome: Outcome, task: Task) -> float | None:
        """Return the score that the outcome brings; None where nobody embedded it."""
        return outcome.scores.get(self.name)


def with_similarity(outcomes: Sequence[Outcome], embed: Embed) -> list[Outcome]:
    """Return outcomes with their similarity in `scores`, asking each text once.

    An empty answer, of a failed call or not, is unlike everything and not asked. An example whose
    expected text is empty, or whose embedding is zero, has no score.

    Args:
        outcomes: What a contender answered.
        embed: Asks the endpoint.

    Raises:
        EndpointError: The endpoint did not return one embedding of finite numbers a text.
    """
    import numpy as np

    asked = [one for one in outcomes if one.answer.strip() and one.expected.strip()]
    texts = list(dict.fromkeys(text for one in asked for text in (one.answer, one.expected)))
    vectors = _vectors(texts, embed) if texts else np.zeros((0, 1))
    place = {text: number for number, text in enumerate(texts)}
    found = []
    for outcome in outcomes:
        score: float | None = None
        if outcome.expected.strip() and not outcome.answer.strip():
            score = 0.0
        elif outcome.expected.strip():
            first, second = vectors[place[outcome.answer]], vectors[place[outcome.expected]]
            if first.any() and second.any():
                score = float(np.clip(first @ second, 0.0, 1.0))
        scores = {**outcome.scores, NAME: score} if score is not None else outcome.scores
        found.append(outcome.model_copy(update={"scores": scores}))
    return found


def _vectors(texts: list[str], embed: Embed) -> npt.NDArray[np.float64]:
    """Return the texts' embeddings, each of length 1 or zero."""
    import numpy as np

    try:
        vectors = np.array(embed(texts), dtype=np.float64)
    except ValueError as error:
        raise EndpointError(
            f"the embeddings are no table of numbers: {error}", "see that one model embeds all texts"
        ) from error
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise EndpointError(
            f"{len(texts)} texts were embedded as an array of shape {vectors.shape}, or as no finite numbers",
            "see that evaluation.rag.embedding_model names a model that embeds texts",
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=found, where=lengths > 0)
    return found
