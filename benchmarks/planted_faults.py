"""What is planted beside a model's answers: a weak judge, another template, metrics that go wrong."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.planted_stage import Stage, queues, rows, wrong
from retune.evaluation.metrics.base import MeanMetric, Task
from retune.evaluation.metrics.registry import GROUP
from retune.records import Outcome
from retune.training.parity import Answer, ParityRecord, Probe, Turns, write

TEMPLATE = "sha256:" + "7" * 64
END, SURE = 0, 5.0


def write_judged(folder: Path) -> None:
    """Write pairs that people judged, of the training side."""
    lines = []
    for number, row in enumerate(rows()[:6]):
        places = ("first", "second") if number % 2 else ("second", "first")
        pair = dict(zip(places, (row.completion, wrong(row.prompt)), strict=True))
        lines.append(json.dumps({"prompt": row.prompt, **pair, "better": places[0]}))
    (folder / "judged.jsonl").write_text("\n".join(lines))


def fair(asked: str, shown: int) -> str:
    """A judge that knows the queues."""
    return _verdict(asked, lambda pair: [])


def weak(asked: str, shown: int) -> str:
    """The same, but it falls for a colon."""
    return _verdict(asked, lambda pair: [place for place in ("first", "second") if pair[place] == ":"])


def _verdict(asked: str, preferred: Callable[[dict[str, str]], list[str]]) -> str:
    if not asked.startswith("<pair>"):
        return "pong"
    pair = json.loads(asked.removeprefix("<pair>").removesuffix("</pair>"))
    right = queues()[pair["question"]]
    best = preferred(pair) or [place for place in ("first", "second") if pair[place] == right]
    return json.dumps({"better": best[0] if len(best) == 1 else "tie"})


class Told(MeanMetric):
    """A third party's metric that can say nothing of an empty answer."""

    name = "told"

    def score(self, outcome: Outcome, task: Task) -> float | None:
        return float(outcome.correct) if outcome.answer else None


class Ratio(MeanMetric):
    """A third party's metric that divides by the answer's length as numpy does: 0 / 0 is NaN."""

    name = "ratio"

    def score(self, outcome: Outcome, task: Task) -> float:
        return float(outcome.correct) if outcome.answer else math.nan


@contextmanager
def third_party(folder: Path) -> Iterator[None]:
    """A package is installed that brings both metrics."""
    place = folder / "third-party"
    metadata = place / "planted-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    brought = "".join(f"{one.name} = {__name__}:{one.__name__}\n" for one in (Told, Ratio))
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{brought}")
    sys.path.insert(0, str(place))
    try:
        yield
    finally:
        sys.path.remove(str(place))


def trained_template(messages: Turns) -> str:
    """ChatML."""
    turns = (f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def other_template(messages: Turns) -> str:
    """The same with a space after the role, as a copy by hand has it."""
    return trained_template(messages).replace("user\n", "user ")


def load_adapter(stage: Stage) -> str:
    """Store an adapter with what its training recorded, let the server load it, and return its digest."""
    folder = stage.folder / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    write(_trainers_record(), folder)
    stored = stage.artifacts.put_tree(folder)
    asked = {"lora_name": stored.digest, "lora_path": str(folder)}
    httpx.post(f"{stage.server.url}/v1/load_lora_adapter", json=asked).raise_for_status()
    return stored.digest


def _trainers_record() -> ParityRecord:
    """What a training records, with a token a character."""
    return ParityRecord(
        template=TEMPLATE,
        end=END,
        end_text="<|im_end|>",
        as_trained=True,
        unanswered="",
        precision="float32",
        libraries={},
        probes=[_probe(row.prompt, row.completion) for row in rows()[:4]],
    )


def _probe(question: str, answer: str) -> Probe:
    messages = [{"role": "user", "content": question}]
    text = trained_template(messages)
    ids = [*map(ord, answer), END]
    texts = [*(answer[: end + 1] for end in range(len(answer))), answer]
    said = Answer(ids, [SURE] * len(ids), texts, ended=True)
    return Probe(messages, [*map(ord, text)], list(text), text, said)


def serve_tokens(stage: Stage, template: Callable[[Turns], str]) -> None:
    """Give the server vLLM's `/tokenize` and `/detokenize`, with a token a character."""
    plain: Any = stage.server.http.RequestHandlerClass

    class Answers(plain):  # type: ignore[misc]
        def do_POST(self) -> None:
            if self.path not in ("/tokenize", "/detokenize"):
                super().do_POST()
                return
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found: dict[str, Any] = (
                {"tokens": [*map(ord, template(body["messages"]))]}
                if self.path == "/tokenize"
                else {"prompt": "".join(map(chr, body["tokens"]))}
            )
            data = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    stage.server.http.RequestHandlerClass = Answers
