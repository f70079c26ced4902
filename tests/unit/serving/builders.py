"""Records and adapters for tests of serving."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from retune.artifacts import Artifacts
from retune.records import Decision, Model, Release, Route, Target, Verdict
from retune.state import releases, specs
from retune.state.database import Database
from tests.unit.evaluation import builders

SPEC = builders.SPEC
ENDPOINT = SPEC.deploy.endpoint
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def digest(letter: str) -> str:
    """A digest made of one character."""
    return "sha256:" + letter * 64


def route(*targets: tuple[int, str, int], alias: str = "tickets", version: int = 1) -> Route:
    """A route to (release, digest, weight)s."""
    return Route(
        spec_digest=SPEC.digest,
        alias=alias,
        pipeline="tickets",
        endpoint=ENDPOINT,
        version=version,
        targets=tuple(Target(release=r, model_digest=d, weight=w) for r, d, w in targets),
    )


def adapter_files(folder: Path, rank: int = 8, word: str = "a") -> Path:
    """A folder that looks like an adapter; `word` makes it another one."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "peft_type": "LORA"}))
    header = json.dumps({"__metadata__": {"word": word}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def stored_model(artifacts: Artifacts, folder: Path, rank: int = 8) -> Model:
    """A model whose adapter lies in the store; each folder name is another model."""
    stored = artifacts.put_tree(adapter_files(folder, rank, folder.name))
    return builders.model().model_copy(update={"digest": stored.digest, "uri": stored.uri})


def stored_release(db: Database, model: Model, run: str, folder: Path) -> Release:
    """The next release of the sample pipeline, promoted."""
    found = builders.dataset(200)
    report = builders.report("candidate", builders.outcomes([True] * 200), folder, model.digest)
    decision = Decision(
        spec_digest=SPEC.digest,
        verdict=Verdict.PROMOTE,
        reason="It is better.",
        checks=(),
        reports={"candidate": report},
        candidate=report.contender,
        dataset_digest=found.digest,
    )
    with db.write() as tx:
        specs.freeze(tx, SPEC, NOW)
        return releases.create(tx, "tickets", SPEC.digest, model, found.digest, decision, run, NOW)


def until(true: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait until something is so; a test fails where it never is."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"after {timeout_s} s not yet: {what}"
        time.sleep(0.02)
