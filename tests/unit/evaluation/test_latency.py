"""Latency is measured by itself: at a stated concurrency, of fresh answers, with bounds that hold."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest
from scipy.stats import beta

from retune.errors import EndpointError
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.evaluation.latency import probe_latency, quantile, quantile_bounds
from retune.records.evaluation import Latency
from retune.settings import EndpointAddress
from retune.spec.evaluation import LatencyProbe
from retune.text.conversations import Message
from tests.unit.evaluation.scripted_server import Reply, completion, refusal, scripted


def probe(url: str, concurrency: int, requests: int, questions: int = 1000) -> Latency:
    respondent = EndpointRespondent(EndpointAddress(url), "vllm", "base", max_tokens=8, timeout_s=30.0)
    asked = [(Message(role="user", content=f"question {number}"),) for number in range(questions)]
    wanted = LatencyProbe(concurrency=concurrency, requests=requests)
    return asyncio.run(probe_latency(respondent, asked, wanted, longest_s=30.0))


def test_it_asks_what_was_wished_at_the_concurrency_that_was_wished() -> None:
    inside = most = 0
    lock, full = threading.Lock(), threading.Barrier(4, timeout=30)

    def script(question: str) -> Reply:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        full.wait()
        with lock:
            inside -= 1
        return completion("yes")

    with scripted(script) as it:
        found = probe(it.url, concurrency=4, requests=80)
    # Four open the connections and do not count.
    assert (found.n, found.concurrency, most, len(it.asked)) == (80, 4, 4, 84)
    assert set(Counter(it.asked).values()) == {1}
    assert 0 < found.p95_low_s <= found.p95_s <= found.p95_high_s < 30.0
    assert found.p50_s <= found.p95_s


def test_a_small_probe_has_no_high_end_but_the_time_out() -> None:
    with scripted(lambda question: completion("yes")) as it:
        found = probe(it.url, concurrency=1, requests=20, questions=3)
    assert (found.n, found.p95_high_s) == (20, 30.0)
    assert Counter(it.asked) == {f"question {number}": 7 for number in range(3)}


def test_calls_that_fail_are_no_quick_answers() -> None:
    with scripted(lambda question: refusal(400) if question.endswith("7") else completion("yes")) as it:
        found = probe(it.url, concurrency=1, requests=100)
    # One in ten has no answer within any time, so neither has the slowest twentieth.
    assert (found.n, found.p95_s, found.p95_high_s) == (100, 30.0, 30.0) and found.p50_s < 30.0
    with (
        scripted(lambda question: refusal(400) if question[-1] in "57" else completion("yes")) as it,
        pytest.raises(EndpointError, match="20 of 100 calls failed while latency was measured: HTTP 400"),
    ):
        probe(it.url, concurrency=1, requests=100)


@pytest.mark.parametrize("n", [72, 100, 500, 3000])
@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_bounds_of_a_quantile_cover_it_whatever_the_distribution(
    n: int, share: float, confidence: float
) -> None:
    ranks = list(range(1, n + 1))
    random.Random(n).shuffle(ranks)
    low, high = quantile_bounds(ranks, share, confidence)
    assert low is not None and high is not None
    # The k-th smallest of n uniform values is beta distributed.
    above = float(beta.cdf(share, low, n - low + 1)) - float(beta.cdf(share, high, n - high + 1))
    assert above >= confidence
    narrower = float(beta.cdf(share, low + 1, n - low)) - float(beta.cdf(share, high - 1, n - high + 2))
    assert narrower < confidence
    assert low <= quantile(ranks, share) <= high


def test_bounds_that_a_sample_is_too_small_for_are_none() -> None:
    assert quantile_bounds(range(71), 0.95, 0.95)[1] is None
    assert quantile_bounds(range(72), 0.95, 0.95)[1] == 71
    assert quantile_bounds(range(4), 0.5, 0.95) == (None, None)


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert [quantile([3, 1, 2, 4], share) for share in (0.01, 0.25, 0.5, 0.51, 0.95, 1.0)] == [
        1,
        1,
        2,
        3,
        4,
        4,
    ]
