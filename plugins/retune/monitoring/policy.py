"""When drift may start a training."""

from __future__ import annotations

from datetime import datetime, timedelta

from retune.records import DriftReport
from retune.spec import PipelineSpec, seconds


def should_retrain(
    report: DriftReport, last_trigger: datetime | None, spec: PipelineSpec, now: datetime
) -> tuple[bool, str]:
    """Say whether a drift report starts a training, and why, in one line.

    Args:
        report: The newest drift report.
        last_trigger: When drift last started a training of this pipeline; None for never.
        spec: The pipeline; `watch.retrain.cooldown` keeps two such trainings apart.
        now: The time.
    """
    if not report.drifted:
        return False, f"no drift: {report.reason}"
    if last_trigger is not None:
        free_from = last_trigger + timedelta(seconds=seconds(spec.watch.retrain.cooldown))
        if now < free_from:
            return False, (
                f"drift, but drift started a training at {last_trigger:%Y-%m-%d %H:%M %Z};"
                f" the cooldown of {spec.watch.retrain.cooldown} ends at {free_from:%Y-%m-%d %H:%M %Z}"
            )
    return True, f"drift: {report.reason}"
