"""Other clients that ask the same questions: each in a process, and an environment, of its own.

    python -m benchmarks.evaluation_peers URL MODEL IN_FLIGHT FILE

asks as AsyncOpenAI does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.slow_endpoint import ANSWER, MODEL

PEERS_FOLDER = Path(__file__).resolve().parents[1] / ".retune" / "peers"
WITHIN_S = 1800
INSPECT = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import exact
from inspect_ai.solver import generate

in_flight, file, target, logs, model = int(sys.argv[1]), *sys.argv[2:6]
samples = [Sample(input=json.loads(line), target=target) for line in open(file)]
[log] = eval(
    Task(dataset=samples, solver=generate(), scorer=exact()), model=f"openai-api/peer/{model}",
    max_connections=in_flight, max_samples=in_flight, max_tokens=8, temperature=0.0,
    display="none", log_dir=logs, log_level="warning",
)
sys.exit(str(log.error) if log.status != "success" else 0)
"""


@dataclass(frozen=True)
class Load:
    """What is asked."""

    folder: Path
    in_flight: int
    rounds: int

    @classmethod
    def made(cls, folder: Path, in_flight: int, rounds: int) -> Load:
        """Write the questions: of usual size, all different."""
        load = cls(folder, in_flight, rounds)
        texts = [f"Ticket {number}: {'where is my parcel? ' * 5}" for number in range(load.questions)]
        load.questions_file.write_text("".join(json.dumps(text) + "\n" for text in texts))
        rows = ({"question": text, "answer": ANSWER} for text in texts)
        load.rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load

    @property
    def questions(self) -> int:
        return self.in_flight * self.rounds

    @property
    def questions_file(self) -> Path:
        return self.folder / f"questions-{self.in_flight}.jsonl"

    @property
    def rows_file(self) -> Path:
        return self.folder / f"rows-{self.in_flight}.jsonl"


def async_openai(load: Load, url: str) -> str:
    """Ask by AsyncOpenAI; returns why that was not possible, or nothing."""
    command = [sys.executable, "-m", "benchmarks.evaluation_peers", url, MODEL]
    return _run([*command, str(load.in_flight), str(load.questions_file)], {})


def lm_eval(load: Load, url: str) -> str:
    """Ask by lm-evaluation-harness; returns why that was not possible, or nothing."""
    python, problem = _environment("lm_eval", "lm_eval[api]")
    if problem:
        return problem
    tasks = load.folder / "lm_eval_tasks"
    tasks.mkdir(exist_ok=True)
    task = {
        "task": "questions",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(load.rows_file)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (tasks / "questions.yaml").write_text(json.dumps(task))
    arguments = f"model={MODEL},base_url={url}/v1/chat/completions,num_concurrent={load.in_flight}"
    command = [str(python), "-m", "lm_eval", "--model", "local-chat-completions", "--apply_chat_template"]
    command += ["--model_args", f"{arguments},max_retries=1,tokenized_requests=False,timeout=600"]
    command += ["--tasks", "questions", "--include_path", str(tasks)]
    return _run(command, {"HF_HOME": str(load.folder / "hf"), "OPENAI_API_KEY": "none"})


def inspect_ai(load: Load, url: str) -> str:
    """Ask by inspect_ai; returns why that was not possible, or nothing."""
    python, problem = _environment("inspect_ai", "inspect_ai", "openai")
    if problem:
        return problem
    command = [str(python), "-c", INSPECT, str(load.in_flight), str(load.questions_file)]
    command += [ANSWER, str(load.folder / "logs"), MODEL]
    return _run(command, {"PEER_BASE_URL": f"{url}/v1", "PEER_API_KEY": "none"})


PEERS: dict[str, Callable[[Load, str], str]] = {
    "AsyncOpenAI": async_openai,
    "lm-evaluation-harness": lm_eval,
    "inspect_ai": inspect_ai,
}


def _environment(name: str, *packages: str) -> tuple[Path, str]:
    """Return the interpreter of a peer's environment, made where it is missing, or why there is none."""
    folder = PEERS_FOLDER / name
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", *packages],
        ):
            if problem := _run(command, {}):
                return python, f"cannot be installed: {problem}"
        made.touch()
    return python, ""


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command; returns the end of what it said where it failed, or nothing."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=WITHIN_S
        )
    except subprocess.TimeoutExpired:
        return f"not done within {WITHIN_S} s"
    said = (done.stderr or done.stdout).strip().splitlines()
    return " ".join(said[-3:])[-500:] or "it failed in silence" if done.returncode else ""


async def ask_by_openai(url: str, model: str, in_flight: int, file: Path) -> None:
    """Ask as the SDK's users do: a task a call, and a semaphore."""
    from openai import AsyncOpenAI

    slots = asyncio.Semaphore(in_flight)
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:

        async def one(question: str) -> str | None:
            async with slots:
                completion = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": question}],
                    max_tokens=8,
                    temperature=0.0,
                )
                return completion.choices[0].message.content

        questions = [json.loads(line) for line in file.read_text().splitlines()]
        answers = await asyncio.gather(*(one(question) for question in questions))
    assert set(answers) == {ANSWER}


if __name__ == "__main__":
    asyncio.run(ask_by_openai(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
