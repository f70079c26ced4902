"""Where planted cases play: tickets, models that answer as they are told to, and a run's real evaluation."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from retune.artifacts import Artifacts
from retune.evaluation.contenders import finalists
from retune.evaluation.evaluate import evaluate
from retune.evaluation.gate import decide, leaked_rows
from retune.evaluation.outcomes import read_outcomes
from retune.evaluation.prompting.prompters import prompter_for
from retune.records import (
    Artifact,
    Attributes,
    Check,
    Contender,
    Dataset,
    Decision,
    EvalReport,
    Model,
    Outcome,
    SetName,
    Split,
)
from retune.settings import EndpointAddress, EnvironmentConnections, Settings
from retune.spec import PipelineSpec
from retune.testing.ticket_phrases import QUEUES
from retune.testing.tickets import tickets
from retune.testing.vllm_stub import VllmStub
from retune.text.conversations import Conversation, conversation, write_conversations

Answering = Callable[[str, int], str]
"""(question, examples that the prompt shows before it) -> answer."""
BASE, SYSTEM = "base", "Answer with the queue that the ticket belongs to."
TRAIN, VALIDATION, HELD_OUT = 400, 100, 240
GOLD = 6
"""One customer in so many is on the gold plan."""


@cache
def rows() -> tuple[Conversation, ...]:
    """Sample tickets, no question twice."""
    made = [conversation(SYSTEM, row["text"], row["queue"]) for row in tickets(1200, seed=7)]
    return tuple({row.fingerprint: row for row in made}.values())


@cache
def queues() -> dict[str, str]:
    """Question -> its queue."""
    return {row.prompt: row.completion for row in rows()}


def drawn(name: str, question: str) -> float:
    """A number from 0 to 1 that is the same each time."""
    return int.from_bytes(hashlib.sha256(f"{name}\0{question}".encode()).digest()[:6]) / 2**48


def plan_of(question: str) -> str:
    """The plan of the customer who asks."""
    return "gold" if drawn("plan", question) < 1 / GOLD else "basic"


def wrong(question: str) -> str:
    """Another queue than the question's."""
    return QUEUES[(QUEUES.index(queues()[question]) + 1) % len(QUEUES)]


def knows(share: float, name: str) -> Answering:
    """A model that is right on a share of the questions; another name is right on others."""
    return lambda question, shown: queues()[question] if drawn(name, question) < share else wrong(question)


def spec(gate: Mapping[str, Any] | None = None, **parts: Any) -> PipelineSpec:
    """The spec of a run that promotes an ordinary candidate, but for what a case changes."""
    rules = {"beats": {"base": 0.05}, "slices": {"by": ["plan"], "max_drop": 0.1}}
    data = {
        "version": 1,
        "pipeline": "tickets",
        "data": {
            "sources": ["rows.jsonl"],
            "columns": {"prompt": "text", "completion": "queue"},
            "system_prompt": SYSTEM,
            # Sample tickets are a few templates, filled in.
            "split": {"leak_similarity": 1},
        },
        "task": {"labels": list(QUEUES)},
        "recipes": [{"base_model": BASE}],
        "evaluation": {"endpoint": "vllm"},
        "gate": rules | dict(gate or {}),
        "deploy": {"endpoint": "vllm", "alias": "tickets"},
    }
    return PipelineSpec.model_validate(data | parts)


class OneEndpoint(EnvironmentConnections):
    """Knows one endpoint, by every name."""

    def __init__(self, url: str) -> None:
        self._url = url

    def endpoint(self, name: str) -> EndpointAddress:
        return EndpointAddress(self._url)


@dataclass(frozen=True)
class Run:
    """What contenders answered, and what the gate made of it."""

    reports: dict[str, EvalReport]
    outcomes: dict[str, list[Outcome]]
    decision: Decision

    @property
    def said(self) -> str:
        """The verdict and its reason."""
        return f"{self.decision.verdict.value}: {self.decision.reason}"

    def check(self, name: str) -> Check:
        """The one check of that name."""
        [found] = [check for check in self.decision.checks if check.name == name]
        return found


class Stage:
    """A project of its own with a server, whose models answer as they are told to."""

    def __init__(self, folder: Path, server: VllmStub) -> None:
        self.folder, self.server = folder, server
        self.settings = Settings.load({"project": str(folder)}.get)
        self.artifacts = Artifacts(self.settings.artifacts_url)
        self.connections = OneEndpoint(server.url)
        self._models: dict[str, Answering] = {BASE: knows(0.7, BASE)}
        self._thread = threading.local()
        server.on_body, server.answer = self._seen, self._answered

    def base(self, answering: Answering) -> None:
        """Let the base model answer otherwise."""
        self._models[BASE] = answering

    def serve(self, name: str, answering: Answering) -> Model:
        """Serve a tuned model; another name is another model."""
        digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
        self._models[digest] = answering
        self.server.adapters[digest] = name
        return Model(
            spec_digest="",
            kind="adapter",
            digest=digest,
            uri="memory://adapter",
            base_model=BASE,
            base_digest="sha256:" + "b" * 64,
            job_key=name,
            recipe_index=0,
            seconds=1.0,
        )

    def dataset(
        self, held_out: Sequence[Conversation] | None = None, more: Sequence[Conversation] = ()
    ) -> Dataset:
        """Store a dataset; `more` rows stand on its training side besides."""
        train, validation = rows()[:TRAIN], rows()[TRAIN : TRAIN + VALIDATION]
        held_out = held_out or rows()[TRAIN + VALIDATION : TRAIN + VALIDATION + HELD_OUT]
        return Dataset(
            spec_digest="",
            pipeline="tickets",
            digest="sha256:" + "d" * 64,
            train=self._side([*train, *more]),
            validation=self._side(validation),
            held_out=self._side(held_out),
            labels=tuple(sorted(QUEUES)),
            sources={},
            rows_read=len(rows()),
            dropped={},
            validation_page=Artifact(digest="sha256:" + "4" * 64, uri="memory://page", size=1),
        )

    def ask(
        self,
        contender: Contender,
        rules: PipelineSpec,
        dataset: Dataset,
        set_name: SetName = "held_out",
        split: Split | None = None,
    ) -> EvalReport:
        """Let a contender answer a set, as the tune DAG's task does."""
        prompter = prompter_for(
            contender, rules, dataset, self.artifacts, self.settings, self.connections, report=silent
        )
        return evaluate(
            contender.model_copy(update={"prompt_digest": prompter.digest}),
            split or getattr(dataset, set_name),
            set_name,
            spec=rules,
            labels=dataset.labels,
            connections=self.connections,
            artifacts=self.artifacts,
            settings=self.settings,
            prompter=prompter,
            noise=set_name == "held_out" and contender.name == "candidate",
            report=silent,
        )

    def run(
        self,
        rules: PipelineSpec,
        candidate: Model,
        dataset: Dataset | None = None,
        *,
        champion: Model | None = None,
        uses: int = 1,
    ) -> Run:
        """Let everyone whom the spec compares answer the held-out set, and let the gate decide."""
        dataset = dataset or self.dataset()
        asked = [one for one, _ in finalists(candidate, champion, None, rules)]
        reports = {one.name: self.ask(one, rules, dataset) for one in asked}
        outcomes = {name: read_outcomes(report, self.artifacts) for name, report in reports.items()}
        return self.judge(rules, dataset, reports, outcomes, champion=champion, uses=uses)

    def judge(
        self,
        rules: PipelineSpec,
        dataset: Dataset,
        reports: dict[str, EvalReport],
        outcomes: dict[str, list[Outcome]],
        *,
        champion: Model | None = None,
        uses: int = 1,
    ) -> Run:
        """Let the gate decide on what was answered."""
        lines = [
            self.artifacts.get_bytes(side.artifact.digest).split(b"\n")
            for side in (dataset.train, dataset.validation, dataset.held_out)
        ]
        decision = decide(
            rules,
            dataset,
            reports,
            outcomes,
            champion.digest if champion else None,
            held_out_uses=uses,
            leaked=leaked_rows([*lines[0], *lines[1]], lines[2]),
        )
        return Run(reports, outcomes, decision)

    def _side(self, some: Sequence[Conversation]) -> Split:
        belongs = [Attributes(id=row.id, slices={"plan": plan_of(row.prompt)}) for row in some]
        lines = "".join(one.model_dump_json() + "\n" for one in belongs)
        return Split(
            artifact=self.artifacts.put_bytes(write_conversations(some), "application/jsonl"),
            rows=len(some),
            attributes=self.artifacts.put_bytes(lines.encode(), "application/jsonl"),
        )

    def _seen(self, body: dict[str, Any]) -> None:
        # The server answers in the thread that it read the body in.
        self._thread.shown = sum(turn["role"] == "assistant" for turn in body["messages"])

    def _answered(self, model: str, question: str) -> str:
        return self._models[model](question, self._thread.shown)


def silent(line: str) -> None:
    """Say nothing."""


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, VllmStub(BASE) as server:
        yield Stage(Path(folder), server)
