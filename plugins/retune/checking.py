"""`retune check`: would this spec and its data run, seen without Airflow."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retune.artifacts import Artifacts, write_atomically
from retune.data.prepare import prepare
from retune.records import Dataset
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec
from retune.state import artifacts_index
from retune.state.database import Database
from retune.text.conversations import read_conversations

SIDES = ("train", "validation", "held_out")


def check(path: Path, settings: Settings, console: Console) -> None:
    """Read a spec, prepare its data in a throwaway place and print what came of it.

    Args:
        path: The pipeline's YAML.
        settings: Where the spec's paths resolve.
        console: Takes the summary.

    Raises:
        SpecError: The spec cannot be used.
        DataError: The rows cannot be read or are not good enough.
    """
    spec = load_spec(path)
    console.print(f"[bold]{spec.pipeline}[/bold]: the spec is good ({path})")
    with tempfile.TemporaryDirectory(prefix="retune-check-") as folder:
        place = Path(folder)
        throwaway = replace(
            settings,
            home=place,
            state_url=f"sqlite:///{place / 'state.db'}",
            artifacts_url=(place / "artifacts").as_uri(),
        )
        artifacts = Artifacts(throwaway.artifacts_url)
        db = Database(throwaway.state_url)
        db.migrate()
        now = datetime.now(UTC)
        try:
            dataset = prepare(
                spec,
                settings=throwaway,
                db=db,
                artifacts=artifacts,
                now=now,
                report=lambda line: _say(console, line),
            )
            _print(spec, dataset, artifacts, console)
        finally:
            _keep_page(spec.pipeline, settings.home / "checks", db, artifacts, now, console)
            db.engine.dispose()


def _keep_page(
    pipeline: str, folder: Path, db: Database, artifacts: Artifacts, now: datetime, console: Console
) -> None:
    """Keep Great Expectations' page, also and above all where it says what is wrong."""
    with db.read() as tx:
        page = artifacts_index.newest(tx, pipeline, "validation", now)
    if page:
        target = folder / f"{pipeline}.html"
        write_atomically(target, artifacts.get_bytes(page.digest))
        _say(console, f"validation page: {target}")


def _say(console: Console, line: str) -> None:
    console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _print(spec: PipelineSpec, dataset: Dataset, artifacts: Artifacts, console: Console) -> None:
    rows = Table(title="rows", title_justify="left", show_header=False)
    rows.add_row("read", str(dataset.rows_read))
    for reason, count in dataset.dropped.items():
        rows.add_row(f"dropped: {reason.replace('_', ' ')}", str(count))
    for side in SIDES:
        rows.add_row(side.replace("_", "-"), str(getattr(dataset, side).rows))
    console.print(rows)
    counts = {side: _labels(getattr(dataset, side).artifact.digest, artifacts) for side in SIDES}
    table = Table("label", *(side.replace("_", "-") for side in SIDES), title="labels", title_justify="left")
    for label in dataset.labels:
        table.add_row(label, *(str(counts[side][label]) for side in SIDES))
    console.print(table)
    console.print(f"[green]{spec.pipeline} can run[/green]: dataset {dataset.digest}", soft_wrap=True)


def _labels(digest: str, artifacts: Artifacts) -> Counter[str]:
    return Counter(row.completion for row in read_conversations(artifacts.get_bytes(digest)))
