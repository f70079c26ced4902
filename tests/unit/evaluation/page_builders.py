"""Evidence for tests of the page, its JSON and the model card: many contenders, many labels, free texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from retune.evaluation.evidence import Beside, Evidence, LearningCurve, Opinion
from retune.records import (
    Check,
    Contender,
    Decision,
    EvalReport,
    Latency,
    MetricValue,
    Outcome,
    Verdict,
)
from retune.spec import PipelineSpec
from retune.stats.intervals import wilson
from tests.unit.evaluation.builders import SPEC, blob, dataset, model

HOSTILE = "<script>alert(1)</script>"
RIGHT = {
    "base": 0.35,
    "few_shot": 0.62,
    "rag": 0.58,
    "candidate": 0.84,
    "candidate+few_shot": 0.85,
    "champion": 0.79,
    "previous": 0.75,
}


def labels_of(count: int) -> tuple[str, ...]:
    """So many labels, some of them long."""
    return tuple(
        f"{'card_payment' if n % 3 else 'transfer_not_received_by_recipient'}_{n:02d}" for n in range(count)
    )


def answered(name: str, labels: Sequence[str], n: int, right: float) -> list[Outcome]:
    """Outcomes over so many labels, of which a share is right; one call in a hundred fails."""
    chance = random.Random(name)
    found = []
    for index in range(n):
        expected = labels[index % len(labels)]
        wrong = labels[(index + chance.choice((1, 1, 1, 2, 5))) % len(labels)]
        failed = chance.random() < 0.01
        predicted = "" if failed else expected if chance.random() < right else wrong
        found.append(
            Outcome(
                id=f"{index:064d}",
                prompt=f"Where is parcel {index}? {HOSTILE}",
                expected=expected,
                answer=predicted,
                predicted=predicted,
                correct=predicted == expected,
                error="timeout" if failed else "",
                latency_s=0.02,
                scores={"accuracy": float(predicted == expected)},
                slices={"language": ("en", "de", "fr")[index % 3]},
            )
        )
    return found


def measured(name: str, found: Sequence[Outcome], **changed: Any) -> EvalReport:
    """The report of a contender, with what is measured by itself."""
    right = sum(outcome.correct for outcome in found)
    low, high = wilson(right, len(found), 0.95)
    share = right / len(found)
    values: dict[str, Any] = {
        "contender": Contender(
            spec_digest=SPEC.digest,
            name=name,
            model_name=f"sha256:{name}",
            model_digest=f"digest of {name}",
            strategy="few_shot" if "few_shot" in name else "rag" if "rag" in name else "plain",
        ),
        "set_name": "held_out",
        "set_digest": blob("3").digest,
        "metrics": {
            "accuracy": MetricValue(value=share, low=low, high=high, n=len(found)),
            "macro_f1": MetricValue(value=share - 0.02, low=low - 0.03, high=high - 0.01, n=len(found)),
            "valid_label": MetricValue(value=0.99, low=0.97, high=0.997, n=len(found)),
        },
        "n": len(found),
        "failed": sum(bool(outcome.error) for outcome in found),
        "latency": Latency(concurrency=4, n=50, p50_s=0.12, p95_s=0.31, p95_low_s=0.25, p95_high_s=0.42),
        "cost_per_1000_usd": 0.0123,
    }
    return EvalReport(
        spec_digest=SPEC.digest,
        outcomes=blob("5"),
        latency_p50_s=0.4,
        latency_p95_s=0.9,
        seconds=12.0,
        **values | changed,
    )


CHECKS = (
    Check(
        name="enough examples",
        verdict=Verdict.PROMOTE,
        value=616,
        threshold=50,
        n=616,
        sentence="The held-out set has 616 examples.",
        kind="precondition",
    ),
    Check(
        name="beats base",
        verdict=Verdict.PROMOTE,
        value=0.49,
        low=0.43,
        high=0.54,
        threshold=0.05,
        n=616,
        sentence="Candidate against base: +49.0 points of accuracy on 616 examples; the gain is shown.",
        method="paired e-process",
        beside={"mcnemar_p": 1.2e-9, "bootstrap_low": 0.44, "bootstrap_high": 0.53},
    ),
    Check(
        name="not_worse_than champion",
        verdict=Verdict.INCONCLUSIVE,
        value=0.02,
        low=-0.03,
        threshold=-0.01,
        n=616,
        sentence="Candidate against champion: +2.0 points; a loss of 1 point or more is not ruled out.",
        method="paired e-process",
        beside={"mcnemar_p": 0.21},
        needed=310,
    ),
    Check(
        name="slices by label",
        verdict=Verdict.REJECT,
        value=-0.4,
        threshold=-0.1,
        n=77,
        sentence=f"On {HOSTILE} the candidate lost 40 points against the champion.",
        kind="guard",
        method="exact sign test, Holm",
    ),
)


def rich(labels: int = 77, n: int = 616, **changed: Any) -> Evidence:
    """A decision over all contenders, with everything that can stand on the page."""
    names = labels_of(labels)
    found = {name: answered(name, names, n, right) for name, right in RIGHT.items()}
    reports = {name: measured(name, outcomes) for name, outcomes in found.items()}
    reports["candidate"] = measured(
        "candidate",
        found["candidate"],
        noise=MetricValue(value=0.033, low=0.006, high=0.167, n=30, higher_is_better=False),
        parity="8 of 8 prompts agree",
    )
    found["safety:candidate"] = answered("safety", names, 20, 0.9)
    reports["safety:candidate"] = measured(
        "candidate", found["safety:candidate"], set_name="safety", set_digest=blob("9").digest
    )
    spec = with_spec({"gate": SPEC.gate.model_dump() | {"slices": {"by": ["label", "language"]}}})
    data = dataset(n).model_copy(update={"labels": names})
    values: dict[str, Any] = {
        "spec": spec,
        "reports": reports,
        "outcomes": found,
        "labels": names,
        "decision": decided(reports),
        "dataset": data,
        "model": model(),
        "held_out_uses": 3,
        "beside": Beside(
            findings=("A better prompt brought 27 points over base.",),
            learning_curve=LearningCurve(
                ((2500, 0.71, 200), (5000, 0.78, 200), (10000, 0.84, 200)),
                ((2500, 0.71, 0.65, 0.76), (10000, 0.84, 0.8, 0.87), (20000, 0.87, 0.81, 0.92)),
                "Twice the rows would bring 3 points.",
            ),
            opinions=(Opinion("LLM judge", "It preferred the candidate on 60%.", {"agreement": 0.82}),),
        ),
    }
    return Evidence(**values | changed)


def decided(reports: dict[str, EvalReport]) -> Decision:
    """A decision with a check of every kind and verdict."""
    return Decision(
        spec_digest=SPEC.digest,
        verdict=Verdict.REJECT,
        reason="On one label the candidate lost 40 points against the champion.",
        checks=CHECKS,
        candidate=reports["candidate"].contender,
        reports=reports,
        dataset_digest="sha256:" + "d" * 64,
        advice="A better prompt is enough: ship few_shot.",
        held_out_uses=3,
    )


def with_spec(changed: dict[str, Any]) -> PipelineSpec:
    """The tests' spec with other sections."""
    return PipelineSpec.from_json(SPEC.to_json() | changed)


def texts(answer: str, other: str, n: int = 30) -> Evidence:
    """Free texts: the candidate says one thing to every prompt, base another."""
    spec = with_spec({"task": {"kind": "generation"}, "gate": SPEC.gate.model_dump() | {"metric": "chrf"}})
    found = {
        name: [
            Outcome(
                id=f"{index:064d}",
                prompt="Sum it up." * 100,
                expected="The parcel arrives on Monday morning.",
                answer=text,
                predicted=text,
                correct=False,
                latency_s=0.1,
                scores={"chrf": score},
            )
            for index in range(n)
        ]
        for name, text, score in (("candidate", answer, 0.7), ("base", other, 0.2))
    }
    metrics = {"chrf": MetricValue(value=0.7, low=0.6, high=0.8, n=n)}
    reports = {name: measured(name, rows, metrics=metrics, latency=None) for name, rows in found.items()}
    return Evidence(spec=spec, reports=reports, outcomes=found, headline="The candidate gains 50 points.")
