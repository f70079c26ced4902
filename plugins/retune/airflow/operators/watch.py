"""The verbs of `<pipeline>.watch`."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.assets import drift_asset
from retune.airflow.links import DriftPage
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.pipelines import find_pipeline
from retune.records import DriftReport
from retune.state import artifacts_index, drift, releases, specs


class CheckDrift(RetuneOperator):
    """Compares captured traffic with what the live release was judged on.

    The spec is the file's as it stands, frozen here, so that a new threshold counts at once; the
    reference is the release's own held-out answers. Returns `{"report": DriftReport, "retrain":
    whether a training shall start, "reason": why}`, or skips where nothing is live.
    """

    operator_extra_links = (DriftPage(),)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check; raises SpecError where the file is broken."""
        from retune.monitoring.capture import read_window
        from retune.monitoring.drift import check_drift
        from retune.monitoring.policy import should_retrain

        spec = find_pipeline(self.settings.project, self.pipeline).require()
        with self.db.write() as tx:
            specs.freeze(tx, spec, now())
            release = releases.live(tx, spec.deploy.alias)
            last = drift.last_trigger(tx, self.pipeline)
        if release is None:
            raise AirflowSkipException("nothing is live, so there is nothing to watch")
        window = read_window(
            self.settings.captured_url, self.pipeline, release.number, release.created_at, spec.watch.window
        )
        report = check_drift(release, spec, window, artifacts=self.artifacts, now=now())
        retrain, reason = should_retrain(report, last, spec, now())
        with self.db.write() as tx:
            artifacts_index.add(tx, self.pipeline, "drift", report.report, now())
        self.page = self.page_of(report.report)
        self.log.info("%d requests of release %d: %s", len(window), release.number, report.reason)
        for column in report.columns:
            moved = "moved" if column.drifted else "stayed"
            self.log.info(
                "  %s %s: %s %.3f, threshold %.3f",
                column.name,
                moved,
                column.method,
                column.score,
                column.threshold,
            )
        self.log.info("retrain: %s", reason)
        return {"report": report.to_json(), "retrain": retrain, "reason": reason}


class RaiseDrift(RetuneOperator):
    """Keeps the report, and wakes the tune DAG where a training shall start; skips otherwise.

    Args:
        checked: What CheckDrift returned.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, checked: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checked = checked

    def execute(self, context: Context) -> None:
        """Keep the report and raise the event."""
        checked = self.read(self.checked, context)
        report = DriftReport.from_json(checked["report"])
        with self.db.write() as tx:
            number = drift.add(tx, report, checked["retrain"], now())
        if not checked["retrain"]:
            raise AirflowSkipException(checked["reason"])
        context["outlet_events"][drift_asset(self.pipeline)].extra = {"drift": number}
