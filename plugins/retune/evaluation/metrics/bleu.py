"""BLEU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.evaluation.metrics.base import NotMeasuredError, Task, only_texts
from retune.evaluation.metrics.resampling import resampled_value
from retune.records import MetricValue, Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ORDERS = 4


class Bleu:
    """BLEU of the whole set, 0 to 1: sacrebleu's (0 to 100) with its defaults, by the hundred.

    Signature `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`. Source: Post 2018, "A Call for Clarity in
    Reporting BLEU Scores", WMT. It has no score for one example, where it is known to say little.
    """

    name = "bleu"
    higher_is_better = True

    def unfit(self, task: Task) -> str:
        """Say that a label is no text."""
        return only_texts(task)

    def measure(
        self, outcomes: Sequence[Outcome], task: Task, confidence: float, seed: int
    ) -> dict[str, MetricValue]:
        """Return BLEU with a bootstrap interval over the examples' n-gram counts.

        Raises:
            NotMeasuredError: All expected texts are empty.
        """
        import numpy as np
        from sacrebleu.metrics.bleu import BLEU

        if not any(outcome.expected.strip() for outcome in outcomes):
            raise NotMeasuredError("all expected texts are empty")
        # For one sentence sacrebleu asks for it; it does not change the counts.
        counting = BLEU(effective_order=True)
        rows = []
        for outcome in outcomes:
            found = counting.sentence_score(outcome.answer, [outcome.expected])
            rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
        table = np.array(rows, dtype=np.float64)
        groups = [outcome.group for outcome in outcomes]
        return {self.name: resampled_value(table, groups, _scores, confidence, seed)}


def _scores(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    found = []
    for answer_length, expected_length, *counts in sums.astype(int).tolist():
        score = BLEU.compute_bleu(
            counts[:_ORDERS], counts[_ORDERS:], answer_length, expected_length, smooth_method="exp"
        )
        # Rounding makes it a little more than 100 where all is right.
        found.append(min(score.score / 100, 1.0))
    return np.array(found)
