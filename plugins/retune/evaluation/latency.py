"""How long answers take, measured by itself: never under the load of the bulk run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, islice

from retune.errors import EndpointError
from retune.evaluation.client import together
from retune.evaluation.respondents import Respondent
from retune.records.evaluation import Latency
from retune.spec.evaluation import LatencyProbe
from retune.text.conversations import Message

_MOST_FAILED = 0.1
"""Share of calls that may fail."""


async def probe_latency(
    respondent: Respondent,
    conversations: Sequence[Sequence[Message]],
    probe: LatencyProbe,
    *,
    longest_s: float,
    confidence: float = 0.95,
) -> Latency:
    """Ask at a stated concurrency, keep nothing, and close the respondent.

    A call that fails counts as one that takes the longest: an answer that never comes is no quick one.
    As many questions as are under way at once come first and do not count: they open the connections.
    Where there are fewer questions than the probe asks, they are asked again, and a server that keeps
    prompts answers those quicker than new ones.

    Args:
        respondent: Who answers.
        conversations: What is asked; at least one, better as many as the probe asks.
        probe: How many are asked, and how many at once.
        longest_s: No answer that came can have taken longer: the time-out of a call.
        confidence: Two-sided coverage of the interval of the 95th percentile.

    Raises:
        EndpointError: The model does not answer, or more than a tenth of the calls failed.
    """
    taken: list[float] = []
    failed: list[str] = []
    try:
        await respondent.check()
        asked = islice(cycle(conversations), probe.concurrency + probe.requests)
        numbered = enumerate(asked, start=-probe.concurrency)

        async def work() -> None:
            for number, messages in numbered:
                answer = await respondent.answer(messages)
                if number >= 0 and answer.error:
                    failed.append(answer.error)
                    taken.append(longest_s)
                elif number >= 0:
                    taken.append(answer.latency_s)

        await together(work, probe.concurrency)
    finally:
        await respondent.close()
    if len(failed) > _MOST_FAILED * probe.requests:
        raise EndpointError(
            f"{respondent.address}: {len(failed)} of {probe.requests} calls failed while latency was"
            f" measured: {failed[-1]}",
            "see its log, and measure again once it answers",
        )
    low, high = quantile_bounds(taken, 0.95, confidence)
    return Latency(
        concurrency=probe.concurrency,
        n=len(taken),
        p50_s=quantile(taken, 0.5),
        p95_s=quantile(taken, 0.95),
        p95_low_s=low or 0.0,
        p95_high_s=longest_s if high is None else high,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed.

    Args:
        values: At least one, in any order.
        share: Such as 0.95.
    """
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def quantile_bounds(
    values: Sequence[float], share: float, confidence: float
) -> tuple[float | None, float | None]:
    """Return bounds of a quantile that hold whatever the distribution is.

    They are values of the sample: how many of n lie below the quantile is binomial. Source: David and
    Nagaraja 2003, "Order Statistics", 3rd edition, section 7.1. Calls that run at once are not quite
    independent, which this leaves out.

    Args:
        values: The sample, in any order.
        share: Which quantile, such as 0.95.
        confidence: Two-sided coverage.

    Returns:
        Low and high; None where the sample is too small to have one: the 95th percentile has a high end
        at 95% from 72 values on.
    """
    from scipy.stats import binom

    ordered, n = sorted(values), len(values)
    low = int(binom.ppf((1 - confidence) / 2, n, share))
    high = int(binom.ppf((1 + confidence) / 2, n, share)) + 1
    return ordered[low - 1] if low >= 1 else None, ordered[high - 1] if high <= n else None
