"""`retune check`: would this spec and its data run, seen without Airflow."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retune.artifacts import Artifacts, write_atomically
from retune.data.drops import REASONS
from retune.data.figures import SIDES
from retune.data.prepare import prepare
from retune.evaluation.ready import check_evaluation
from retune.prices import load_prices
from retune.records import Dataset
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec
from retune.state import artifacts_index
from retune.state.database import Database
from retune.text.conversations import read_conversations

_PAGES = {"validation": "validation page", "card": "data card"}
_PRIVACY = {"redact": "redacted", "reject": "their rows were dropped", "allow": "left as it is"}


def check(path: Path, settings: Settings, console: Console) -> None:
    """Read a spec, prepare its data in a throwaway place and print what came of it.

    Args:
        path: The pipeline's YAML.
        settings: Where the spec's paths resolve.
        console: Takes the summary.

    Raises:
        SpecError: The spec, or a file or metric that it names, cannot be used.
        DataError: The rows cannot be read or are not good enough.
        StateError: What earlier datasets have settled cannot be read.
    """
    spec = load_spec(path)
    load_prices(settings)
    check_evaluation(spec, settings)
    console.print(f"[bold]{spec.pipeline}[/bold]: the spec is good ({path})")
    settings.home.mkdir(parents=True, exist_ok=True)
    # Named as a preparation's, so that a cleanup takes what a killed check leaves.
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=settings.home) as folder:
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
        known = _settled(settings, console)
        now = datetime.now(UTC)
        try:
            dataset = prepare(
                spec,
                settings=throwaway,
                db=db,
                artifacts=artifacts,
                now=now,
                report=lambda line: _say(console, line),
                known=known,
            )
            _print(spec, dataset, artifacts, console)
        finally:
            _keep_pages(spec.pipeline, settings.home / "checks", db, artifacts, now, console)
            db.engine.dispose()
            if known:
                known.engine.dispose()


def _settled(settings: Settings, console: Console) -> Database | None:
    """Return the state, which a check only reads; None where there is none yet.

    Raises:
        StateError: It cannot be read.
    """
    db = Database(settings.state_url)
    url = db.engine.url
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).exists()):
        _say(console, f"checked as the pipeline's first dataset: there is no state in {settings.home} yet")
        return None
    db.check()
    return db


def _keep_pages(
    pipeline: str, folder: Path, db: Database, artifacts: Artifacts, now: datetime, console: Console
) -> None:
    """Keep the pages, also and above all where they say what is wrong."""
    with db.read() as tx:
        pages = {kind: artifacts_index.newest(tx, pipeline, kind, now) for kind in _PAGES}
    for kind, page in pages.items():
        if page:
            target = folder / f"{pipeline}-{kind}.html"
            write_atomically(target, artifacts.get_bytes(page.digest))
            _say(console, f"{_PAGES[kind]}: {target}")


def _say(console: Console, line: str) -> None:
    console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _print(spec: PipelineSpec, dataset: Dataset, artifacts: Artifacts, console: Console) -> None:
    rows = Table(title="rows", title_justify="left", show_header=False)
    rows.add_row("read", f"{dataset.rows_read:,}", f"in {len(dataset.sources)} files")
    for reason, count in dataset.dropped.items():
        if count:
            rows.add_row(f"dropped: {reason.replace('_', ' ')}", f"{count:,}", REASONS[reason])
    for side in SIDES:
        rows.add_row(side.replace("_", "-"), f"{getattr(dataset, side).rows:,}")
    for kind, count in sorted(dataset.personal.items()):
        rows.add_row(f"personal data: {kind.replace('_', ' ')}", f"{count:,}", _PRIVACY[spec.data.privacy])
    for base, tokens in dataset.tokens.items():
        rows.add_row("tokens to train on", f"{tokens:,}", f"of {base}, one epoch; the card says how sure")
    console.print(rows)
    if spec.task.kind == "classification":
        console.print(_label_table(dataset, artifacts))
    console.print(f"[green]{spec.pipeline} can run[/green]: dataset {dataset.digest}", soft_wrap=True)


def _label_table(dataset: Dataset, artifacts: Artifacts) -> Table:
    counts = {side: _labels(getattr(dataset, side).artifact.digest, artifacts) for side in SIDES}
    table = Table("label", *(side.replace("_", "-") for side in SIDES), title="labels", title_justify="left")
    for label in dataset.labels:
        table.add_row(Text(label), *(f"{counts[side][label]:,}" for side in SIDES))
    return table


def _labels(digest: str, artifacts: Artifacts) -> Counter[str]:
    return Counter(row.completion for row in read_conversations(artifacts.get_bytes(digest)))
