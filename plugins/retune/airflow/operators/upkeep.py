"""The verbs of `retune.cleanup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from retune.airflow.operators.base import RetuneOperator, now

if TYPE_CHECKING:
    from retune.upkeep.sweep import Upkeep


class _Cleaning(RetuneOperator):
    """Base of the verbs that look through what is stored."""

    def upkeep(self) -> Upkeep:
        """Return the cleanup of this installation as of now."""
        from retune.upkeep.sweep import Upkeep

        return Upkeep(self.settings, self.db, self.artifacts, now())


class MarkUnused(_Cleaning):
    """Marks what nothing points at and no `retention` keeps, and says it; removes nothing.

    Returns a list of `{"what", "count", "bytes", "why"}`.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Mark; raises ArtifactError where a tree that must stay is damaged."""
        from retune.upkeep.command import summary

        rows = list(summary(self.upkeep().plan()))
        for what, count, size, why in rows:
            self.log.info("%d %s, %d bytes: %s", count, what, size, why)
        if not rows:
            self.log.info("nothing may go")
        return [dict(zip(("what", "count", "bytes", "why"), row, strict=True)) for row in rows]


class SweepUnused(_Cleaning):
    """Removes what may go, looking anew; skips where the run's param `dry_run` is set.

    Returns the bytes that became free.
    """

    def execute(self, context: Context) -> int:
        """Sweep; raises ArtifactError as MarkUnused, StateError where the state cannot be written."""
        if context["params"]["dry_run"]:
            raise AirflowSkipException("a dry run: nothing is removed")
        upkeep = self.upkeep()
        return upkeep.sweep(upkeep.plan(), self.log.info)
