"""An evaluation that is killed goes on where it stopped: what was answered is not asked again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from retune.artifacts import Artifacts
from retune.evaluation.answers import Answers, key_of
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.records import Contender, EvalReport, Split
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import conversation, write_conversations
from tests.unit.evaluation.builders import SPEC

ROWS, IN_FLIGHT = 400, 8
SPEC = SPEC.model_copy(update={"evaluation": SPEC.evaluation.model_copy(update={"max_in_flight": IN_FLIGHT})})
WITHIN_S = 120.0
LABELS = ("billing", "shipping")
QUESTIONS = [f"parcel {row}" for row in range(ROWS)]
CHILD = """
import sys
from pathlib import Path
from tests.faults.test_evaluation_killed import run
run(sys.argv[1], Path(sys.argv[2]))
"""


class OneEndpoint(EnvironmentConnections):
    """Knows one endpoint, by every name."""

    def __init__(self, url: str) -> None:
        self._url = url

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._url)


def run(url: str, folder: Path) -> tuple[EvalReport, Artifacts]:
    """Evaluate the stub's base model in a project of its own."""
    artifacts = Artifacts((folder / "artifacts").as_uri())
    examples = [conversation("Pick.", question, "shipping") for question in QUESTIONS]
    stored = artifacts.put_bytes(write_conversations(examples), "application/x-ndjson")
    found = evaluate(
        Contender(spec_digest=SPEC.digest, name="base", model_name="base", model_digest="d"),
        Split(artifact=stored, rows=ROWS),
        "held_out",
        spec=SPEC,
        labels=LABELS,
        connections=OneEndpoint(url),
        artifacts=artifacts,
        settings=Settings.load({"project": str(folder)}.get),
    )
    return found, artifacts


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join((str(root), str(root / "plugins")))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(folder)],
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )


def answer(model: str, question: str) -> str:
    """Answer a third of the questions wrongly."""
    return "billing" if int(question.split()[1]) % 3 == 0 else "shipping"


def kept_of(folder: Path) -> set[str]:
    """The questions whose answers lie on the disk."""
    [*files] = (folder / ".retune" / "answers" / SPEC.pipeline).glob("*.jsonl")
    kept = [Answers(file) for file in files]
    asked = {question: key_of(conversation("Pick.", question, "").context) for question in QUESTIONS}
    return {question for question, key in asked.items() if any(one.get(key) for one in kept)}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"not seen within {WITHIN_S} s"
        time.sleep(0.01)


def served_out(stub: VllmStub) -> None:
    """Wait until nothing that a dead run has asked can be counted any more.

    On a busy machine the stub may not even have accepted all of its connections; they are accepted in
    order, so those before one of ours are.
    """
    with urlopen(f"{stub.url}/health"):
        pass
    until(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))


@pytest.mark.parametrize(
    ("kills", "settled"), [(1, True), (3, True), (1, False)], ids=["once", "thrice", "amid answers"]
)
def test_the_rerun_asks_only_what_is_missing_and_the_scores_are_the_same(
    tmp_path: Path, kills: int, settled: bool
) -> None:
    asked: list[str] = []
    kill_at, full, dead, counting = 0, threading.Event(), threading.Event(), threading.Lock()

    def killing(model: str, question: str) -> str:
        with counting:  # else two threads may each take the other's question for the last one
            asked.append(question)
            number = len(asked)
        if number >= kill_at:
            full.set()
            dead.wait(WITHIN_S)  # so that the evaluation cannot end before it is killed
        elif not settled:
            stub.stopped.wait(0.05)  # the answers of a moment are some of them, not all
        return answer(model, question)

    step = ROWS // (kills + 2)
    with VllmStub(answer=killing) as stub:
        for _ in range(kills):
            enough = len(kept_of(tmp_path)) + step - 1
            kill_at = len(asked) + step
            full.clear()
            dead.clear()
            child = start(stub.url, tmp_path)
            assert full.wait(WITHIN_S)
            if settled:
                until(lambda enough=enough: len(kept_of(tmp_path)) >= enough)  # type: ignore[misc]
            os.killpg(child.pid, signal.SIGKILL)
            assert child.wait(WITHIN_S) == -signal.SIGKILL
            dead.set()
            served_out(stub)
        kept, before, kill_at = kept_of(tmp_path), len(asked), sys.maxsize
        [file] = (tmp_path / ".retune" / "answers" / SPEC.pipeline).iterdir()
        with file.open("ab") as torn:
            torn.write(b'{"asked":"0123')
        found, artifacts = run(stub.url, tmp_path)
        assert sorted(asked[before:]) == sorted(set(QUESTIONS) - kept)
        assert 0 < len(kept) < ROWS
        if settled:
            assert len(kept) >= kills * (step - 1)
        unharmed, others = run(stub.url, tmp_path / "unharmed")
    assert found.metrics == unharmed.metrics
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3, abs=0.01)
    told = [(one.id, one.answer, one.scores) for one in read_outcomes(found, artifacts)]
    assert told == [(one.id, one.answer, one.scores) for one in read_outcomes(unharmed, others)]
