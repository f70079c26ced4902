"""What the gateway adds to a request, with capture on, and what flips of the route cost under load.

    PYTHONPATH=plugins python -m benchmarks.gateway_overhead [--requests N --flips N]

The peer is the same request sent to the same server without the gateway, in turns. The server is the
emulator of vLLM in a process of its own, as its answer takes next to no time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from retune.serving import gateway
from retune.serving.endpoint import Replica
from retune.serving.processes import end_group, free_ports
from tests.unit.serving.builders import adapter_files, route, until
from tests.unit.serving.conftest import Gateway

RESULTS = Path(__file__).parent / "results" / "gateway_overhead.json"
NAMES = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)


def body(model: str) -> dict[str, object]:
    """A request of usual size."""
    talk = [
        {"role": "system", "content": "Name the queue."},
        {"role": "user", "content": "Where is it? " * 20},
    ]
    return {"model": model, "messages": talk, "max_tokens": 8}


def latencies(envoy: Gateway, server: str, count: int) -> dict[str, dict[str, float]]:
    """Send to both in turns, one at a time; milliseconds."""
    places = {"direct": (httpx.Client(base_url=server), NAMES[0]), "gateway": (envoy.client, "tickets")}
    taken: dict[str, list[float]] = {name: [] for name in places}
    for number in range(count + 100):
        for name, (client, model) in places.items():
            began = time.perf_counter()
            client.post("/v1/chat/completions", json=body(model)).raise_for_status()
            if number >= 100:
                taken[name].append(1000 * (time.perf_counter() - began))
    found = {
        name: {"p50_ms": statistics.median(times), "p95_ms": statistics.quantiles(times, n=20)[-1]}
        for name, times in taken.items()
    }
    added = {key: found["gateway"][key] - found["direct"][key] for key in ("p50_ms", "p95_ms")}
    return {**found, "added": added}


def flips(envoy: Gateway, server: str, total: int, count: int, workers: int = 8) -> dict[str, object]:
    """Change the route again and again while requests run."""
    sent = threading.Semaphore(0)

    def one(client: httpx.Client) -> str:
        try:
            answer = client.post("/v1/chat/completions", json=body("tickets"))
            return "ok" if answer.status_code == 200 and answer.json()["model"] in NAMES else str(answer)
        except httpx.HTTPError as error:
            return repr(error)
        finally:
            sent.release()

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool, httpx.Client(base_url=envoy.url, timeout=30) as client:
        answers = [pool.submit(one, client) for _ in range(total)]
        for flip in range(count):
            for _ in range(total // (count + 1)):
                sent.acquire()
            wanted = route((flip + 1, NAMES[flip % 2], 100), version=10 + flip)
            gateway.publish(envoy.folder, gateway.render([wanted], [server]))
        seen = Counter(answer.result() for answer in answers)
    seconds = time.perf_counter() - began
    lost = total - seen.pop("ok", 0)
    return {"requests": total, "flips": count, "lost": lost, "errors": dict(seen), "per_s": total / seconds}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--flips", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ports = free_ports("127.0.0.1", {"server": 0, "gateway": 0})
        server = f"http://127.0.0.1:{ports['server']}"
        stub = subprocess.Popen(
            [sys.executable, "-m", "retune.testing.vllm_stub", "--port", str(ports["server"])],
            start_new_session=True,
        )
        try:
            until(lambda: _answers(server), "the server answers")
            for name in NAMES:
                with Replica(server) as client:
                    client.load(name, adapter_files(Path(folder) / name[-1]))
            envoy = Gateway(Path(folder) / "gateway", ports["gateway"], server)
            try:
                envoy.lead(route((1, NAMES[0], 100)))
                found = {
                    "latency": latencies(envoy, server, given.requests),
                    "flips": flips(envoy, server, given.requests * 5, given.flips),
                    "envoy_rss_mb": psutil.Process(envoy.process.pid).memory_info().rss / 1e6,
                    "cores": os.cpu_count(),
                    "load_1m": os.getloadavg()[0],
                }
            finally:
                envoy.end()
        finally:
            end_group(stub.pid, stub)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(RESULTS.read_text())


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
