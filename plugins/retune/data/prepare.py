"""The data stage: from source rows to a registered dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from retune.artifacts import Artifacts
from retune.data.collect import Collected, collect
from retune.data.drops import Drops
from retune.data.intake import Plan
from retune.data.judging import judge
from retune.data.publishing import HTML, Judged, Publisher
from retune.data.requirements import flaws, nothing_to_learn, one_label, too_few
from retune.data.selection import History, distinct, examples_of, select
from retune.data.sources import find_sources
from retune.data.spool import Spool, no_room
from retune.data.suites import Suite, needs, suite_for
from retune.data.traffic_distance import MOST_PROMPTS
from retune.errors import DataError, Problem
from retune.records import Dataset
from retune.settings import EnvironmentFileSystems, FileSystems, Settings
from retune.spec import PipelineSpec, seconds
from retune.state import subjects
from retune.state.database import Database
from retune.text.captured import read_window

Report = Callable[[str], None]


def prepare(
    spec: PipelineSpec,
    *,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Report = print,
    files: FileSystems | None = None,
    known: Database | None = None,
) -> Dataset:
    """Read, validate, clean and split the spec's rows, and register the dataset.

    The same rows give the same digest, in whatever order and in however many files they stand.

    Args:
        spec: The frozen spec.
        settings: Where sources and suite lie.
        db: Keeps the splits, what was held out, the dataset and the index of pages.
        artifacts: Takes the three sides, the pages, and what was left out.
        now: When the dataset is registered.
        report: Takes a line of progress.
        files: Opens stores such as `s3://`; by default with what the environment says.
        known: Tells what is settled: sides, what was held out, who is forgotten; by default `db`.

    Raises:
        DataError: The rows cannot be read, fail the suite, or are too few to train on.
        StateError: Another run of the pipeline held out more rows meanwhile, or the state fails.
    """
    suite = suite_for(spec, settings.resolve(spec.data.expectations) if spec.data.expectations else None)
    settings.home.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="prepare-", dir=settings.home) as name,
        closing(Spool(Path(name))) as spool,
    ):
        publisher = Publisher(spec, settings, db, artifacts, now, Path(name))
        collected = _collect(spec, suite, settings, known or db, Path(name), files, report)
        judged = _judge(collected, suite, spool, publisher, report)
        drops = Drops()
        tally, examples = collected.tally, examples_of(collected.rows, drops)
        # A million rows take some of the memory that looking for near-duplicates needs.
        del collected
        with (known or db).read() as tx:
            history = History.read(tx, spec.pipeline)
        found = distinct(examples, spec, spool, history, drops)
        del examples
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in drops.counts.items() if count)
        report(f"kept {found.examples.height:,} examples; dropped {reasons or 'none'}")
        _require(too_few(found.examples, spec, drops) + nothing_to_learn(found.examples, spec))
        selection = select(found, spec, spool, history, drops, report)
        del found
        train = selection.examples.filter(selection.examples["side"] == "train")
        _require(too_few(selection.examples, spec, drops) + one_label(train, spec))
        traffic = _asked(spec, settings, now, report)
        dataset = publisher.publish(tally, selection, history, spool, judged, traffic)
    sides = {"train": dataset.train, "validation": dataset.validation, "held_out": dataset.held_out}
    report(
        f"dataset {dataset.digest}: " + ", ".join(f"{split.rows:,} {side}" for side, split in sides.items())
    )
    return dataset


def _collect(
    spec: PipelineSpec,
    suite: Suite,
    settings: Settings,
    db: Database,
    folder: Path,
    files: FileSystems | None,
    report: Report,
) -> Collected:
    wanted = needs(suite)
    with db.read() as tx:
        forgotten = frozenset(subjects.forgotten(tx))
    columns = tuple(sorted(wanted.columns))
    plan = Plan(spec, folder, columns, "retune_language" in wanted.features, forgotten)
    sources = find_sources(spec.data.sources, settings, files or EnvironmentFileSystems())
    try:
        collected = collect(sources, plan, report)
    except OSError as error:
        raise no_room(folder, error) from error
    report(f"read {collected.rows.height:,} rows from {len(collected.tally.digests)} files")
    return collected


def _asked(spec: PipelineSpec, settings: Settings, now: datetime, report: Report) -> list[str]:
    """Return what callers asked of late; the data card does without where it cannot be read."""
    since = now - timedelta(seconds=seconds(spec.retention.captured))
    try:
        traffic = read_window(settings.captured_url, spec.pipeline, None, since, MOST_PROMPTS)
    except (DataError, OSError) as error:
        report(f"warning: captured traffic cannot be read, so the card says nothing of it: {error}")
        return []
    return [exchange.prompt for exchange in traffic]


def _require(problems: list[Problem]) -> None:
    if problems:
        raise DataError(problems)


def _judge(collected: Collected, suite: Suite, spool: Spool, publisher: Publisher, report: Report) -> Judged:
    """Keep Great Expectations' page, and stop where a row or the suite fails."""
    spec = publisher.spec
    verdict = judge(collected, suite, spec, spool, publisher.settings.project)
    page = publisher.put_page("validation", verdict.page, HTML)
    action = f"mend the rows or {spec.data.expectations or 'the spec'}; the page is {page.digest}"
    _require([*flaws(collected), *(Problem(failure, action) for failure in verdict.failures)])
    for warning in verdict.warnings:
        report(f"warning: {warning}")
    report(f"{verdict.expectations} expectations checked; the page is {page.digest}")
    return Judged(page, verdict.warnings)
