"""Perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from retune.evaluation.metrics.base import NotMeasuredError, Task
from retune.evaluation.metrics.resampling import resampled_value
from retune.records import MetricValue, Outcome

NAME = "perplexity"


class Perplexity:
    """How surprised a model is by the expected texts: e to the mean loss of a token, 1 and up.

    The mean is over the tokens of all examples, not over examples. Contenders can be compared by it only
    where they share a tokenizer. Measuring asks nobody, so outcomes bring how likely the expected text
    was. Source: Jelinek et al. 1977, "Perplexity, a measure of the difficulty of speech recognition
    tasks"; as in huggingface.co/docs/transformers/perplexity.
    """

    name = NAME
    higher_is_better = False

    def unfit(self, task: Task) -> str:
        """Say that it fits every task."""
        return ""

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return perplexity over the examples whose likelihood is known, with a bootstrap interval.

        Raises:
            NotMeasuredError: It is known of none.
        """
        import numpy as np

        told = [one for one in outcomes if one.expected_logprob is not None]
        if not told:
            raise NotMeasuredError("how likely the expected texts are is not known")
        table = np.array([[one.expected_logprob, one.expected_tokens] for one in told], dtype=np.float64)
        groups = [one.group for one in told]
        loss = resampled_value(table, groups, lambda sums: -sums[:, 0] / sums[:, 1], confidence, seed)
        try:
            value, low, high = (math.exp(one) for one in (loss.value, loss.low, loss.high))
        except OverflowError:
            raise NotMeasuredError("an expected text is impossible by the model") from None
        found = MetricValue(value=value, low=low, high=high, n=loss.n, higher_is_better=False)
        return {self.name: found}
