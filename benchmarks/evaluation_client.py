"""How fast are questions asked? Beside AsyncOpenAI, lm-evaluation-harness, inspect_ai, and vLLM's own client.

    python -m benchmarks.evaluation_client [--quick] [--rounds N] [--no-peers] [--vllm]

All ask the same questions of the same endpoint, which takes 1 s for each. Ideal is as many seconds as
there are rounds of calls. Retune's time is all of an evaluation's asking (the check, the connections,
answers on the disk). Held beside a peer is what the endpoint sees of each, from the first question to
the last answer, so that a peer's start and its scoring do not count. Peers live in environments of
their own under `.retune/peers`, which are made where they are missing; a peer that cannot be installed
is left out, and this is said.
`--vllm`: also against a real vLLM with the tiny base model, beside the client that vLLM brings.

A goal that is missed is printed as SHORT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks import evaluation_peers, evaluation_vllm, slow_endpoint
from benchmarks.evaluation_peers import Load
from benchmarks.figures import Line, tell
from retune.evaluation.answers import Answers
from retune.evaluation.client import ask_all
from retune.evaluation.endpoint_respondent import EndpointRespondent
from retune.settings import EndpointAddress
from retune.text.conversations import Message

RESULTS = Path(__file__).parent / "results" / "evaluation_client.json"
QUICK_RESULTS = evaluation_peers.PEERS_FOLDER / "quick.json"
DELAY_S = 1.0
GOALS = {256: 0.95, 1000: 0.90}
ROUNDS, QUICK_ROUNDS, QUICK_IN_FLIGHT = 20, 3, 64


def ask(url: str, model: str, in_flight: int, file: Path, max_tokens: int) -> dict[str, float]:
    """Ask the questions of a file (JSON texts, one a line) as an evaluation does; in this process."""
    asked = [(Message(role="user", content=json.loads(line)),) for line in file.read_text().splitlines()]
    respondent = EndpointRespondent(
        EndpointAddress(url), "benchmark", model, max_tokens=max_tokens, timeout_s=120.0
    )
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder) / "answers.jsonl")
        began, cpu = time.perf_counter(), time.process_time()
        found = asyncio.run(
            ask_all(asked, respondent, max_in_flight=in_flight, report=lambda line: None, answers=answers)
        )
        taken, cpu = time.perf_counter() - began, time.process_time() - cpu
    failed = [answer.error for answer in found if answer.error]
    if failed:
        sys.exit(f"{len(failed)} of {len(found)} calls failed: {failed[0]}")
    return {"seconds": taken, "cpu_ms_per_call": 1000 * cpu / len(found)}


def asked_apart(url: str, model: str, in_flight: int, file: Path, max_tokens: int = 8) -> dict[str, float]:
    """Ask in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.evaluation_client", "--ask", url, model]
    command += [str(in_flight), str(file), str(max_tokens)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(load: Load, url: str, peers: bool) -> dict[str, Any]:
    """Let everybody ask the same."""
    ideal = load.rounds * DELAY_S
    slow_endpoint.seen(url)
    ours = asked_apart(url, slow_endpoint.MODEL, load.in_flight, load.questions_file)
    there = slow_endpoint.seen(url)
    assert there["answered"] == load.questions, there
    found: dict[str, Any] = {
        "retune": {
            **figures(load, ours["seconds"], ideal),
            "at_the_endpoint": figures(load, there["seconds"], ideal),
            "cpu_ms_per_call": round(ours["cpu_ms_per_call"], 3),
        }
    }
    for name, run in evaluation_peers.PEERS.items() if peers else ():
        problem = run(load, url)
        there = slow_endpoint.seen(url)
        if problem:
            found[name] = {"missing": problem}
        elif there["answered"] < load.questions:
            found[name] = {"missing": f"asked {there['answered']} of {load.questions} questions"}
        else:
            found[name] = {**figures(load, there["seconds"], ideal), "most_in_flight": there["most"]}
        print(f"{load.in_flight} in flight, {name}: {found[name]}", flush=True)
    return found


def figures(load: Load, seconds: float, ideal: float) -> dict[str, float]:
    return {
        "seconds": round(seconds, 2),
        "per_second": round(load.questions / seconds, 1),
        "of_ideal": round(ideal / seconds, 3),
    }


def lines(found: dict[int, dict[str, Any]]) -> list[Line]:
    told: list[Line] = []
    for in_flight, clients in found.items():
        goal = GOALS.get(in_flight, 0.95)
        name = f"share of the ideal speed with {in_flight:,} in flight"
        told.append(
            ("goal", name, clients["retune"]["of_ideal"], lambda x, goal=goal: x >= goal, f">= {goal}")
        )
        for peer, one in clients.items():
            if peer != "retune" and "of_ideal" in one:
                ratio = round(one["seconds"] / clients["retune"]["at_the_endpoint"]["seconds"], 2)
                what = f"times the speed of {peer} with {in_flight:,} in flight"
                told.append(("goal", what, ratio, lambda x: x >= 1, ">= 1"))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little, to see that it works")
    parser.add_argument("--rounds", type=int, help="calls that each slot makes one after the other")
    parser.add_argument("--no-peers", action="store_true", help="Retune alone")
    parser.add_argument("--vllm", action="store_true", help="also against a real vLLM")
    parser.add_argument("--ask", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        url, model, in_flight, file, max_tokens = options.ask
        print(json.dumps(ask(url, model, int(in_flight), Path(file), int(max_tokens))))
        return
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    found: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, slow_endpoint.running(DELAY_S) as url:
        for in_flight in (QUICK_IN_FLIGHT,) if options.quick else tuple(GOALS):
            load = Load.made(Path(folder), in_flight, rounds)
            found[in_flight] = measure(load, url, peers=not options.no_peers)
    results: dict[str, Any] = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
        "load_1m": os.getloadavg()[0],
        "seconds_of_an_answer": DELAY_S,
        "rounds": rounds,
        "in_flight": found,
    }
    told = lines(found)
    if options.vllm:
        results["vllm"] = evaluation_vllm.measure(asked_apart, quick=options.quick)
        told += evaluation_vllm.lines(results["vllm"])
    tell(results, told, QUICK_RESULTS if options.quick else RESULTS)


if __name__ == "__main__":
    main()
