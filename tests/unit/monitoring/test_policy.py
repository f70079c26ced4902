"""When drift starts a training."""

from __future__ import annotations

from datetime import timedelta

from retune.monitoring.policy import should_retrain
from retune.records import Artifact, DriftReport
from tests.unit.monitoring.builders import DIGEST, NOW, SPEC, watching


def report(drifted: bool) -> DriftReport:
    return DriftReport(
        spec_digest=SPEC.digest,
        pipeline=SPEC.pipeline,
        release=3,
        drifted=drifted,
        reason="3 of 6 columns moved",
        columns=(),
        reference_rows=250,
        window_rows=300,
        window_start=NOW,
        window_end=NOW,
        report=Artifact(digest=DIGEST, uri="memory://page", size=1),
    )


def test_no_drift_starts_nothing() -> None:
    assert should_retrain(report(False), None, SPEC, NOW) == (False, "no drift: 3 of 6 columns moved")


def test_the_first_drift_starts_a_training() -> None:
    assert should_retrain(report(True), None, SPEC, NOW) == (True, "drift: 3 of 6 columns moved")


def test_the_cooldown_holds_to_its_last_second() -> None:
    spec = watching(retrain={"cooldown": "2h"})
    start, reason = should_retrain(report(True), NOW - timedelta(hours=1, minutes=59, seconds=59), spec, NOW)
    assert not start
    assert reason == (
        "drift, but drift started a training at 2026-11-02 10:00 UTC;"
        " the cooldown of 2h ends at 2026-11-02 12:00 UTC"
    )
    assert should_retrain(report(True), NOW - timedelta(hours=2), spec, NOW)[0]
