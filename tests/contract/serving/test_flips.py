"""The route changes while traffic runs, and no request is lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from retune.serving import gateway
from retune.testing.vllm_stub import VllmStub
from tests.unit.serving.builders import digest, route
from tests.unit.serving.conftest import Gateway

ONE, TWO = digest("1"), digest("2")


def test_flips_under_load_lose_no_request(envoy: Gateway, stub: VllmStub) -> None:
    stub.adapters |= {ONE: "/one", TWO: "/two"}
    envoy.lead(route((1, ONE, 100)))
    flips, total = 4, 2_000
    sent = threading.Semaphore(0)

    def one(client: httpx.Client) -> tuple[int, str]:
        answer = client.post("/v1/chat/completions", json={"model": "tickets", "messages": []})
        sent.release()
        return answer.status_code, answer.json()["model"]

    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=envoy.url, timeout=30) as client:
        answers = [pool.submit(one, client) for _ in range(total)]
        for flip in range(flips):
            for _ in range(total // (flips + 1)):
                sent.acquire()
            wanted = route((flip, (TWO, ONE)[flip % 2], 100), version=20 + flip)
            gateway.publish(envoy.folder, gateway.render([wanted], [stub.url]))
        seen = Counter(answer.result() for answer in answers)
    assert set(seen) == {(200, ONE), (200, TWO)}
    assert sum(seen.values()) == total
