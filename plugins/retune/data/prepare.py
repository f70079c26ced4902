"""The data stage: from source rows to a registered dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from retune.artifacts import Artifacts, canonical_json
from retune.data.cleaning import Cleaned, clean
from retune.data.intake import Sources, read_sources
from retune.data.splits import SIDES, assign_sides
from retune.data.validation import validate
from retune.errors import DataError, Problem
from retune.records import Artifact, Dataset, Split
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import artifacts_index, dataset_records, splits
from retune.state.database import Database
from retune.text.conversations import write_conversations

JSONL = "application/jsonl"


def prepare(
    spec: PipelineSpec,
    *,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Callable[[str], None] = print,
) -> Dataset:
    """Read, validate, clean and split the spec's rows, and register the dataset.

    The same rows give the same digest, in whatever order and in however many files they stand.

    Args:
        spec: The frozen spec.
        settings: Where sources and suite lie.
        db: Keeps the splits, the dataset and the index of pages.
        artifacts: Takes the three sides and the validation page.
        now: When the dataset is registered.
        report: Takes a line of progress.

    Raises:
        DataError: The rows cannot be read, fail the suite, or are too few to train on.
    """
    sources = read_sources(spec, settings)
    report(f"read {len(sources.rows)} rows from {len(sources.digests)} files")
    page = _validated(sources, spec, settings, db, artifacts, now, report)
    cleaned = clean(sources.rows, spec)
    reasons = ", ".join(f"{count} {reason}" for reason, count in cleaned.dropped.items() if count)
    report(f"kept {len(cleaned.rows)} examples; dropped {reasons or 'none'}")
    _require_enough(cleaned, spec)
    sides = _sides(cleaned, spec, db, artifacts, now)
    dataset = Dataset(
        spec_digest=spec.digest,
        pipeline=spec.pipeline,
        digest=_manifest(sides, artifacts),
        train=sides["train"],
        validation=sides["validation"],
        held_out=sides["held_out"],
        labels=tuple(sorted({row.completion for row in cleaned.rows})),
        sources=sources.digests,
        rows_read=len(sources.rows),
        dropped=cleaned.dropped,
        validation_page=page,
    )
    with db.write() as tx:
        dataset_records.add(tx, dataset, now)
    report(f"dataset {dataset.digest}: " + ", ".join(f"{split.rows} {side}" for side, split in sides.items()))
    return dataset


def _manifest(sides: dict[str, Split], artifacts: Artifacts) -> str:
    """Store what the dataset consists of; the manifest's digest names the dataset."""
    parts = {side: {"digest": split.artifact.digest, "rows": split.rows} for side, split in sides.items()}
    return artifacts.put_bytes(canonical_json(parts), "application/json").digest


def _validated(
    sources: Sources,
    spec: PipelineSpec,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Callable[[str], None],
) -> Artifact:
    suite = settings.resolve(spec.data.expectations)
    verdict = validate(sources.rows, suite, spec.pipeline)
    page = artifacts.put_bytes(verdict.page, "text/html")
    with db.write() as tx:
        artifacts_index.add(tx, spec.pipeline, "validation", page, now)
    if verdict.failures:
        action = f"mend the rows or {spec.data.expectations}; the page is {page.digest}"
        raise DataError([Problem(failure, action) for failure in verdict.failures])
    report(f"{verdict.expectations} expectations met; the page is {page.digest}")
    return page


def _require_enough(cleaned: Cleaned, spec: PipelineSpec) -> None:
    problems: list[Problem] = []
    found, least = len(cleaned.rows), spec.data.min_examples
    if found < least:
        what = f"{found} examples are left, and data.min_examples is {least} (dropped: {cleaned.dropped})"
        problems.append(Problem(what, "add rows"))
    counts = Counter(row.completion for row in cleaned.rows)
    if len(counts) == 1:
        what = f"all {found} examples have the label {next(iter(counts))!r}"
        problems.append(Problem(what, "add rows of other labels: there is nothing to learn"))
    single = sorted(label for label, count in counts.items() if count < 2)
    if single:
        what = f"one example only for {len(single)} labels: {', '.join(map(repr, single[:20]))}"
        problems.append(Problem(what, "add rows, or list in task.labels only those that count"))
    if problems:
        raise DataError(problems)


def _sides(
    cleaned: Cleaned, spec: PipelineSpec, db: Database, artifacts: Artifacts, now: datetime
) -> dict[str, Split]:
    with db.write() as tx:
        earlier = splits.assigned(tx, spec.pipeline)
        sides = assign_sides(cleaned.rows, earlier, spec.data.split, spec.seed)
        rows = {side: [row for row in cleaned.rows if sides[row.fingerprint] == side] for side in SIDES}
        empty = [side for side in SIDES if not rows[side]]
        if empty:
            raise DataError(f"no example for {' and '.join(empty)}", "add rows, or raise data.split's shares")
        splits.assign(tx, spec.pipeline, sides, now)
    data = {side: write_conversations(rows[side]) for side in SIDES}
    return {
        side: Split(artifact=artifacts.put_bytes(data[side], JSONL), rows=len(rows[side])) for side in SIDES
    }
