"""Records for tests of the gate and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retune.artifacts import Artifacts
from retune.evaluation.evaluate import summarise
from retune.records import Artifact, Contender, Curve, Dataset, EvalReport, Model, Outcome, Split
from retune.spec import PipelineSpec

SPEC = PipelineSpec.model_validate(
    {
        "version": 1,
        "pipeline": "tickets",
        "data": {
            "sources": ["rows.jsonl"],
            "columns": {"prompt": "text", "completion": "queue"},
            "expectations": "suite.json",
        },
        "recipes": [{"base_model": "base"}],
        "evaluation": {"endpoint": "vllm_default"},
        "gate": {"beats": {"base": 0.05}, "not_worse_than": {"champion": 0.02}},
        "deploy": {"endpoint": "vllm_default", "alias": "tickets"},
    }
)


def blob(letter: str) -> Artifact:
    """An artifact of which only the digest matters."""
    return Artifact(digest="sha256:" + letter * 64, uri=f"memory://{letter}", size=1)


def dataset(rows: int) -> Dataset:
    """A dataset with so many held-out rows."""
    return Dataset(
        spec_digest=SPEC.digest,
        pipeline="tickets",
        digest="sha256:" + "d" * 64,
        train=Split(artifact=blob("1"), rows=700),
        validation=Split(artifact=blob("2"), rows=100),
        held_out=Split(artifact=blob("3"), rows=rows),
        labels=("billing", "shipping"),
        sources={},
        rows_read=1000,
        dropped={"duplicate": 3},
        validation_page=blob("4"),
    )


def outcomes(right: Sequence[bool], failed: int = 0) -> list[Outcome]:
    """Outcomes of which the first `failed` calls brought no answer."""
    return [
        Outcome(
            id=f"{index:064d}",
            prompt=f"Where is parcel {index}? <script>alert(1)</script>",
            expected="shipping",
            answer="" if index < failed else "shipping" if good else "billing",
            predicted="" if index < failed else "shipping" if good else "billing",
            correct=good and index >= failed,
            scores={"accuracy": float(good and index >= failed)},
            error="timeout" if index < failed else "",
            latency_s=0.01,
        )
        for index, good in enumerate(right)
    ]


def report(
    name: str, found: Sequence[Outcome], folder: Path, digest: str = "", set_digest: str = ""
) -> EvalReport:
    """The report of a contender over outcomes."""
    held_out = Split(artifact=blob("3"), rows=len(found))
    if set_digest:
        artifact = held_out.artifact.model_copy(update={"digest": set_digest})
        held_out = Split(artifact=artifact, rows=len(found))
    return summarise(
        Contender(
            spec_digest=SPEC.digest, name=name, model_name=name, model_digest=digest or f"digest of {name}"
        ),
        held_out,
        "held_out",
        found,
        spec=SPEC,
        artifacts=Artifacts(folder.as_uri()),
        elapsed_s=1.0,
    )


def model() -> Model:
    """A trained model with curves."""
    return Model(
        spec_digest=SPEC.digest,
        kind="adapter",
        digest="digest of candidate",
        uri="memory://m",
        base_model="base",
        base_digest="sha256:" + "b" * 64,
        job_key="key",
        recipe_index=0,
        curves=(
            Curve(name="loss", points=((1, 2.0), (2, 1.0))),
            Curve(name="eval_loss", points=((2, 1.2),)),
        ),
        seconds=12.0,
    )
