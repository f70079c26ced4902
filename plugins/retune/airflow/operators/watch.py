"""The verbs of `<pipeline>.watch`."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.assets import drift_asset
from retune.airflow.links import DriftPage
from retune.airflow.operators.base import RetuneOperator, now
from retune.airflow.pipelines import find_pipeline
from retune.state import drift, releases, retrains, specs


class CheckDrift(RetuneOperator):
    """Compares captured traffic with what the live release was judged on, and keeps the report.

    The spec is the file's as it stands, frozen here, so that a new threshold counts at once; the
    reference is the release's own held-out answers. Returns `{"report": its number, "retrain": whether a
    training shall start, "reason": why}`, or skips where nothing is live.
    """

    operator_extra_links = (DriftPage(),)

    def execute(self, context: Context) -> dict[str, Any]:
        """Check; raises SpecError where the file is broken."""
        from retune.monitoring.watch import watch

        spec = find_pipeline(self.settings.project, self.pipeline).require()
        with self.db.write() as tx:
            specs.freeze(tx, spec, now())
            release = releases.live(tx, self.pipeline)
        if release is None:
            raise AirflowSkipException("nothing is live, so there is nothing to watch")
        watched = watch(
            spec,
            release,
            settings=self.settings,
            db=self.db,
            artifacts=self.artifacts,
            now=now(),
            report=self.log.info,
        )
        self.page = self.page_of(watched.report.report)
        return {"report": watched.number, "retrain": watched.retrain, "reason": watched.reason}


class RaiseDrift(RetuneOperator):
    """Wakes the tune DAG where a training shall start; skips, and so emits nothing, otherwise.

    The cool-down begins here, with the event; a try that died is made again and emits again.

    Args:
        checked: What CheckDrift returned.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, checked: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checked = checked

    def execute(self, context: Context) -> None:
        """Raise the event; raises StateError where the cool-down cannot be written."""
        checked = self.read(self.checked, context)
        if not checked["retrain"]:
            raise AirflowSkipException(checked["reason"])
        with self.db.write() as tx:
            drift.mark_triggered(tx, checked["report"])
            retrains.raised(tx, self.pipeline, now())
        context["outlet_events"][drift_asset(self.pipeline)].extra = {"reason": checked["reason"]}
