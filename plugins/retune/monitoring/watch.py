"""One look at a live release: read its traffic, compare, decide, and write it all down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from retune.artifacts import Artifacts
from retune.monitoring.drift import check_drift
from retune.monitoring.policy import should_retrain
from retune.records import DriftReport, Release
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import artifacts_index, drift, ledger, retrains
from retune.state.database import Database
from retune.text.captured import read_window


@dataclass(frozen=True)
class Watched:
    """What a look at a live release brought."""

    report: DriftReport
    number: int
    """The report's, in the state."""
    retrain: bool
    """Whether a training must be started; `drift.mark_triggered` notes that it was."""
    reason: str
    """Why, or why not, in one line."""


def watch(
    spec: PipelineSpec,
    release: Release,
    *,
    settings: Settings,
    db: Database,
    artifacts: Artifacts,
    now: datetime,
    report: Callable[[str], None] = print,
) -> Watched:
    """Compare the traffic that a release has answered with what it was judged on.

    Drift goes into the ledger; looks that found none are in the drift table.

    Args:
        spec: The pipeline.
        release: The live release.
        settings: Where captured traffic lies.
        db: Retune's database.
        artifacts: Where the page goes.
        now: The time.
        report: Takes a line of progress.

    Raises:
        DataError: Captured traffic cannot be read.
        ArtifactError: The release's held-out answers cannot be read.
        StateError: The database failed.
    """
    window = read_window(
        settings.captured_url, spec.pipeline, release.number, release.created_at, spec.watch.window
    )
    report(f"{len(window)} requests that release {release.number} answered")
    found = check_drift(release, spec, window, artifacts=artifacts, now=now)
    with db.write() as tx:
        owed = retrains.owed(tx, spec.pipeline, now)
        retrain, reason = should_retrain(found, drift.last_trigger(tx, spec.pipeline), spec, now, owed)
        number = drift.add(tx, found, now)
        artifacts_index.add(tx, spec.pipeline, "drift", found.report, now)
        if found.drifted:
            detail = {
                "report": number,
                "page": found.report.digest,
                "release": release.number,
                "retrain": retrain,
                "reason": reason,
            }
            ledger.append(tx, spec.pipeline, "drift", "watch", detail, now)
    report(reason)
    return Watched(found, number, retrain, reason)
