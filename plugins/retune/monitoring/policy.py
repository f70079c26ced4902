"""When a look at a live release starts a training."""

from __future__ import annotations

from datetime import datetime, timedelta

from retune.records import DriftReport
from retune.spec import PipelineSpec, seconds
from retune.state.retrains import Wish


def should_retrain(
    report: DriftReport,
    last_trigger: datetime | None,
    spec: PipelineSpec,
    now: datetime,
    owed: Wish | None = None,
) -> tuple[bool, str]:
    """Say whether a look at a live release starts a training, and why, in one line.

    Args:
        report: The newest drift report.
        last_trigger: When drift last started a training of this pipeline; None for never.
        spec: The pipeline; `watch.retrain.cooldown` keeps two such trainings apart.
        now: The time.
        owed: A training that must come whatever drift says; asked for again each cool-down.
    """
    cooldown = timedelta(seconds=seconds(spec.watch.retrain.cooldown))
    if owed is not None and (owed.raised_at is None or now >= owed.raised_at + cooldown):
        return True, owed.reason
    if not report.drifted:
        return False, f"no drift: {report.reason}"
    if last_trigger is not None:
        free_from = last_trigger + cooldown
        if now < free_from:
            return False, (
                f"drift, but drift started a training at {last_trigger:%Y-%m-%d %H:%M %Z};"
                f" the cooldown of {spec.watch.retrain.cooldown} ends at {free_from:%Y-%m-%d %H:%M %Z}"
            )
    return True, f"drift: {report.reason}"
