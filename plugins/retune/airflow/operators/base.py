"""What every operator of Retune does the same way."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperator, Context, XComArg
from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

from retune.airflow import configuration
from retune.artifacts import Artifacts
from retune.records import Artifact, Dataset
from retune.settings import Settings
from retune.spec import PipelineSpec
from retune.state import specs
from retune.state.database import Database
from retune.state.replaced import open_artifacts


class RetuneOperator(BaseOperator):
    """Base of the verbs.

    Inputs that come from other tasks are XComArgs which `read` resolves while the task runs. They
    are no template fields on purpose: so they draw no lines, and the graph shows the story only.

    Args:
        pipeline: The pipeline's name.
        kwargs: What every task takes.
    """

    ui_color = "#e8f0ea"
    page: str = ""
    """Address of what the task made; its link shows it."""

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def read(self, value: Any, context: Context) -> Any:
        """Return an input's plain JSON: what the task behind an XComArg returned, or the value itself."""
        found = value.resolve(context) if isinstance(value, XComArg) else value
        return _of_mapped(found, value, context) if isinstance(found, LazyXComSequence) else found

    def frozen(self, digest: Any, context: Context) -> PipelineSpec:
        """Return the spec that the run froze."""
        with self.db.read() as tx:
            return specs.load(tx, self.read(digest, context))

    def page_of(self, artifact: Artifact) -> str:
        """Return an artifact's address on Airflow's own pages."""
        from airflow.sdk import conf

        # Of the base URL only the path: people may reach Airflow by another name than workers do.
        prefix = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        return f"{prefix}/retune/{self.pipeline}/artifacts/{artifact.digest}"

    @cached_property
    def settings(self) -> Settings:
        """This installation's places."""
        return configuration.settings()

    @cached_property
    def db(self) -> Database:
        """Retune's own database."""
        return Database(self.settings.state_url)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The artifacts' store."""
        return open_artifacts(self.settings, self.db)

    def actor(self, context: Context) -> str:
        """Return who acts, for the ledger."""
        return f"airflow {self.dag_id} {context['run_id']}"


class OnDataset(RetuneOperator):
    """Base of the verbs of a run that work on its dataset, by the spec that it froze.

    Args:
        spec: Digest of the frozen spec.
        dataset: A Dataset.
        kwargs: As RetuneOperator.
    """

    def __init__(self, *, spec: Any, dataset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.dataset = dataset

    def inputs(self, context: Context) -> tuple[PipelineSpec, Dataset]:
        """Return the frozen spec and the dataset."""
        return self.frozen(self.spec, context), Dataset.from_json(self.read(self.dataset, context))


def _of_mapped(found: LazyXComSequence[Any], value: Any, context: Context) -> list[Any]:
    """Return what the instances of a mapped task returned, in their order, without those that are no more.

    Where a clear leads to fewer instances Airflow marks the others as removed, and keeps what they returned.
    """
    ti, name = context["ti"], value.operator.task_id
    seen = ti.get_task_states(dag_id=ti.dag_id, task_ids=[name], run_ids=[ti.run_id]).get(ti.run_id, {})
    if "removed" not in seen.values():
        # All at once: they come lazily, one request each, and the end is found by an error.
        return list(found[:])
    there = [one for one, state in seen.items() if state != "removed" and one != name]
    kept = [int(one.removeprefix(f"{name}_")) for one in there]
    pulled = ti.xcom_pull(task_ids=name, map_indexes=sorted(kept))
    return [one for one in pulled if one is not None]


def now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)
