"""A project in a folder, with a spec over `rows.jsonl` and an installation of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts import Artifacts
from retune.data.prepare import prepare
from retune.records import Dataset, Split
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state.database import Database
from retune.text.conversations import Conversation, read_conversations

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Project:
    """A project folder and what prepares its data."""

    settings: Settings
    db: Database
    artifacts: Artifacts

    @property
    def root(self) -> Path:
        return self.settings.project

    def write(self, name: str, data: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def rows(self, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def suite(self, *expectations: dict[str, Any]) -> None:
        self.write("suite.json", json.dumps({"name": "any", "expectations": list(expectations)}))

    def spec(self, *sources: str, **changed: Any) -> PipelineSpec:
        data = {
            "sources": sources or ("rows.jsonl",),
            "columns": {"prompt": "text", "completion": "queue"},
            "expectations": "suite.json",
            "min_examples": 10,
        }
        task = {"labels": changed.pop("labels", ())}
        return PipelineSpec.model_validate(
            {
                "version": 1,
                "pipeline": "tickets",
                "data": data | changed,
                "task": task,
                "recipes": [{"base_model": "base"}],
                "evaluation": {"endpoint": "e"},
                "deploy": {"endpoint": "e", "alias": "tickets"},
            }
        )

    def prepare(self, spec: PipelineSpec | None = None, lines: list[str] | None = None) -> Dataset:
        return prepare(
            spec or self.spec(),
            settings=self.settings,
            db=self.db,
            artifacts=self.artifacts,
            now=NOW,
            report=(lines if lines is not None else []).append,
        )

    def read(self, split: Split) -> list[Conversation]:
        return read_conversations(self.artifacts.get_bytes(split.artifact.digest))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    options = {"project": str(root), "home": str(tmp_path / "home")}
    settings = Settings.load(options.get)
    db = Database(settings.state_url)
    db.migrate()
    made = Project(settings, db, Artifacts(settings.artifacts_url))
    made.suite()
    return made


@pytest.fixture
def tickets() -> Callable[..., list[dict[str, Any]]]:
    """Makes rows `(first, last)` of four balanced queues."""

    def make(first: int, last: int) -> list[dict[str, Any]]:
        queues = ("billing", "shipping", "returns", "account")
        return [{"text": f"ticket {n}", "queue": queues[n % 4]} for n in range(first, last)]

    return make
