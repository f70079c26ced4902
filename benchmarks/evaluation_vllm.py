"""Requests a second of an evaluation against a real vLLM, beside the benchmark client that vLLM brings."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Line
from retune.serving.endpoint import vllm_command, vllm_environment
from retune.serving.processes import end_group, free_ports
from retune.settings import Settings
from retune.spec import load_spec
from retune.testing import tiny_base
from retune.testing.tickets import tickets
from tests.unit.serving.builders import until

ROOT = Path(__file__).resolve().parents[1]
HOST, MODEL = "127.0.0.1", "base"
IN_FLIGHT, MAX_TOKENS = 32, 8
QUESTIONS, TURNS = 600, 3
QUICK_QUESTIONS, QUICK_TURNS = 100, 1
UP_WITHIN_S = 600.0
STEPS = 20
"""Of the base model's training: what it answers does not matter here."""
# `vllm bench serve` by its functions: the command asks for metadata of a package that CPU builds lack.
BENCH = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""
Ask = Callable[[str, str, int, Path, int], dict[str, float]]


def measure(ask: Ask, quick: bool) -> dict[str, Any]:
    """Start vLLM with the tiny base model and let both clients ask it by turns.

    Args:
        ask: Asks as an evaluation does: URL, model, in flight, file of questions, most tokens.
        quick: Little, to see that it works.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings.load(
            {"project": name, "vllm_python": str(ROOT / ".venv-vllm" / "bin" / "python")}.get
        )
        if not Path(settings.vllm_python).exists():
            return {"missing": "no .venv-vllm: run make setup"}
        spec = load_spec(ROOT / "include" / "pipelines" / "support-tickets.yaml")
        ours = Settings.load({"project": str(ROOT)}.get)
        tiny_base.build(spec, ours, folder / MODEL, steps=STEPS, report=lambda line: None)
        port = free_ports(HOST, {"vllm": 0})["vllm"]
        with (folder / "vllm.log").open("wb") as log:
            server = subprocess.Popen(
                vllm_command(settings, MODEL, host=HOST, port=port),
                env={**os.environ, **vllm_environment()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            url = f"http://{HOST}:{port}"
            until(lambda: _up(server, url, folder / "vllm.log"), "vLLM is up", UP_WITHIN_S)
            return _by_turns(ask, settings.vllm_python, url, folder, quick)
        finally:
            end_group(server.pid, server)


def lines(found: dict[str, Any]) -> list[Line]:
    if "missing" in found:
        print(f"vLLM: {found['missing']}")
        return []
    ratio = round(found["retune_per_second"] / found["vllm_bench_per_second"], 3)
    return [
        ("goal", "requests/s of an evaluation by those of vLLM's client", ratio, lambda x: x >= 1, ">= 1")
    ]


def _by_turns(ask: Ask, python: str, url: str, folder: Path, quick: bool) -> dict[str, Any]:
    count, turns = (QUICK_QUESTIONS, QUICK_TURNS) if quick else (QUESTIONS, TURNS)
    texts = [str(ticket["text"]) for ticket in tickets(count, seed=11)]
    plain, rows = folder / "questions.jsonl", folder / "rows.json"
    plain.write_text("".join(json.dumps(text) + "\n" for text in texts))
    # ShareGPT's form: vLLM reads its own with pandas, which its CPU builds come without.
    rows.write_text(
        json.dumps([{"conversations": [{"value": text}, {"value": "billing"}]} for text in texts])
    )
    ours: list[float] = []
    theirs: list[float] = []
    # The first turn fills the server's cache of prompts for both, and does not count.
    for turn in range(turns + 1):
        taken = ask(url, MODEL, IN_FLIGHT, plain, MAX_TOKENS)["seconds"]
        result = _bench(python, url, rows, folder, count)
        if turn:
            ours.append(count / taken)
            theirs.append(result["request_throughput"])
    return {
        "questions": count,
        "in_flight": IN_FLIGHT,
        "retune_per_second": round(statistics.median(ours), 1),
        "vllm_bench_per_second": round(statistics.median(theirs), 1),
        "turns": {"retune": ours, "vllm_bench": theirs},
    }


def _bench(python: str, url: str, rows: Path, folder: Path, count: int) -> dict[str, Any]:
    command = [python, "-c", BENCH, "--backend", "openai-chat", "--base-url", url]
    command += ["--endpoint", "/v1/chat/completions", "--model", MODEL, "--tokenizer", str(folder / MODEL)]
    command += ["--dataset-name", "sharegpt", "--dataset-path", str(rows), "--temperature", "0"]
    command += ["--sharegpt-output-len", str(MAX_TOKENS), "--num-prompts", str(count)]
    command += ["--max-concurrency", str(IN_FLIGHT), "--disable-shuffle", "--disable-tqdm"]
    command += ["--save-result", "--result-dir", str(folder), "--result-filename", "bench.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"vLLM's client failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    assert found["completed"] == count, found
    return found


def _up(server: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if server.poll() is not None:
        raise SystemExit(f"vLLM ended: {log.read_text(errors='replace')[-2000:]}")
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False
