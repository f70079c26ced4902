"""The records from models to decisions."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from retune.records.base import Artifact, Frozen, Record

ENDPOINT = "endpoint"
"""The `backend` of contenders on an OpenAI-compatible endpoint of one's own."""


Strategy = Literal["plain", "few_shot", "rag"]
SetName = Literal["train", "validation", "held_out", "forgetting", "safety"]


class Contender(Record):
    """A model plus a prompt strategy: something that can answer the task."""

    name: str
    """Its role before the gate: `base`, `few_shot`, `rag`, `candidate`, `champion`, `previous`."""
    model_name: str
    """What its server calls it in a request."""
    model_digest: str
    strategy: Strategy = "plain"
    """How it is asked: the bare question, with examples before it, or with passages of documents."""
    prompt_digest: str = ""
    """What the strategy puts into prompts, by digest; empty where it is plain."""
    backend: str = ENDPOINT
    """Who serves it: an endpoint of one's own, or the backend that hosts it."""
    place: dict[str, str] = {}
    """How that is reached: `connection`, `location`; empty, as in old records: the spec's endpoint."""


class MetricValue(Frozen):
    """A measured figure with its interval."""

    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool = True


class Outcome(Frozen):
    """What one contender answered to one example."""

    id: str
    prompt: str
    """The last user message."""
    expected: str
    answer: str
    """As it came; empty where the call failed."""
    predicted: str
    """The label that the answer names, empty where it names none; of a text, the text without outer space."""
    correct: bool
    error: str = ""
    latency_s: float
    scores: dict[str, float] = {}
    """Metric -> this example's score, 0 to 1."""
    group: str = ""
    """What else it belongs to, such as a customer: examples of one group are not independent."""
    slices: dict[str, str] = {}
    """Slice column -> this example's value."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    """None where the price is not known."""
    cut: bool = False
    """Whether the answer ended at `evaluation.max_tokens`."""
    expected_logprob: float | None = None
    """Natural logarithm of how probable the expected text was; None where the server did not tell it."""
    expected_tokens: int = 0
    """How many tokens that is over."""


class Latency(Frozen):
    """How long answers take, measured by itself."""

    concurrency: int
    n: int
    p50_s: float
    p95_s: float
    p95_low_s: float
    p95_high_s: float


class EvalReport(Record):
    """How one contender did on one set of examples."""

    contender: Contender
    set_name: SetName
    set_digest: str
    metrics: dict[str, MetricValue]
    outcomes: Artifact
    """JSONL, one line an example: `Outcome`."""
    n: int
    failed: int
    """Calls that brought no answer."""
    latency_p50_s: float
    latency_p95_s: float
    """Of the bulk run, under load: for orientation, never for a latency rule."""
    seconds: float
    latency: Latency | None = None
    """Measured by itself; None where it was not."""
    cost_per_1000_usd: float | None = None
    """Of a thousand answers; None where the price is not known."""
    noise: MetricValue | None = None
    """Share of examples whose score changed when they were asked again; None where none was."""
    parity: str = ""
    """What was seen when trainer and server were compared; empty where they were not."""


class Verdict(StrEnum):
    """The gate's words."""

    PROMOTE = "PROMOTE"
    REJECT = "REJECT"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def of_check(self) -> str:
        """What it means for one check, as people read it."""
        return {"PROMOTE": "passed", "REJECT": "failed", "INCONCLUSIVE": "not settled"}[self]


class Check(Frozen):
    """One rule of the gate with its numbers."""

    name: str
    verdict: Verdict
    """PROMOTE: passed. REJECT: shown to fail. INCONCLUSIVE: not settled."""
    value: float | None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int
    sentence: str
    """One plain sentence for people."""
    kind: Literal["precondition", "claim", "guard"] = "claim"
    """What must hold at all, what must be proven, or what vetoes on evidence of harm."""
    method: str = ""
    """What the interval and the verdict come from."""
    beside: dict[str, float] = {}
    """Classical figures shown beside, such as `mcnemar_p`."""
    needed: int | None = None
    """Examples more that would likely settle it; None where it is settled or no number would."""


class Decision(Record):
    """The gate's answer with its evidence."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]
    candidate: Contender
    reports: dict[str, EvalReport]
    """Contender name -> how it did: the evidence."""
    dataset_digest: str
    report: Artifact | None = None
    """A page that shows the evidence."""
    figures: Artifact | None = None
    """What the page shows, as JSON; none in records before 0.2."""
    card: Artifact | None = None
    """The candidate's model card, Markdown; none in records before 0.2."""
    advice: str = ""
    """What to do instead, where the evidence says so: such as to ship a prompt."""
    held_out_uses: int = 0
    """Runs that had used the held-out set, this one counted."""
    forced_by: str = ""
    """Who decided where the gate had left it to a person."""
