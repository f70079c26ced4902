"""MLflow: experiments, curves, and a mirror of the releases.

It decides nothing: a failure is reported, loudly, and never fails a job that somebody paid for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from filelock import FileLock

from retune.errors import SetupError
from retune.records import Dataset, JobStatus, Model, Recipe, Release
from retune.settings import Settings

KEY_TAG = "retune.job"
LIVE = "live"
"""The registered model's alias that names the release in production."""
_BATCH = 900  # MLflow takes 1,000 metrics, parameters and tags at once
_PASSWORD = re.compile(r"(://[^:/@\s]*):\S*@")  # up to the last @: a raw password may hold one
_ENDS = {
    JobStatus.SUCCEEDED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "KILLED",
}


Measured = tuple[int, float, Mapping[str, float]]
"""Step, seconds spent training until then, metric -> value."""


def initialise(settings: Settings) -> None:
    """Bring MLflow's own store to its version's schema; does nothing where a server keeps it.

    Several processes that open a fresh store at once break its migration, hence the lock.

    Raises:
        SetupError: The store cannot be opened.
    """
    if _is_server(settings):
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.home / "mlflow.lock"):
            _client(settings).search_experiments(max_results=1)
    except Exception as error:  # MLflow and its drivers raise many kinds
        what = f"MLflow's store {settings.mlflow_uri} cannot be opened: {error}"
        raise SetupError(without_passwords(what), "set RETUNE_MLFLOW_URI") from error


def without_passwords(text: str) -> str:
    """Return the text with the password of every URL in it hidden."""
    return _PASSWORD.sub(r"\1:***@", text)


class Tracking:
    """Writes to MLflow.

    Args:
        settings: Names the store or server, and the address of its pages.
        report: Takes a line for each thing that could not be written.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None] = print) -> None:
        self._settings = settings
        self._report = report

    def run(self, pipeline: str, key: str, recipe: Recipe, dataset: Dataset) -> TrackedRun:
        """Start the run of a job, or adopt the one that has its key.

        Args:
            pipeline: Names the experiment.
            key: The job's.
            recipe: Becomes the run's parameters.
            dataset: Becomes the run's parameters.

        Returns:
            The run; one that writes nothing where MLflow cannot be reached.
        """
        tracked = TrackedRun(self._settings, self._report)
        with tracked.guard("start the run"):
            tracked.open(pipeline, key, recipe, dataset)
        return tracked

    def mirror(self, release: Release) -> None:
        """Register a release as a version of the pipeline's model, and point `live` at it.

        Args:
            release: The one that went live; one that is registered already only gets the alias.
        """
        with _guarded(self._report, f"mirror release {release.number} of {release.pipeline}"):
            client = _client(self._settings)
            version = _version(client, release) or self._register(client, release)
            client.set_registered_model_alias(release.pipeline, LIVE, version)

    def _register(self, client: Any, release: Release) -> str:
        if not client.search_registered_models(filter_string=f"name = '{release.pipeline}'"):
            client.create_registered_model(release.pipeline)
        model = release.model
        # A server refuses files that lie outside its own folders.
        local = _is_server(self._settings) and model.uri.startswith("file:")
        made = client.create_model_version(
            release.pipeline,
            source=f"retune:/{model.digest}" if local else model.uri,
            tags={
                "release": str(release.number),
                "digest": model.digest,
                "dataset": release.dataset_digest,
                KEY_TAG: model.job_key,
            },
            description=release.decision.reason,
        )
        return str(made.version)


class TrackedRun:
    """One job's run in MLflow. None of its methods raises."""

    def __init__(self, settings: Settings, report: Callable[[str], None]) -> None:
        self.url = ""
        """The run's page for people; empty where there is none."""
        self._settings = settings
        self._report = report
        self._client: Any = None
        self._id = ""
        self._began_ms = 0
        self._logged: set[tuple[int, str]] = set()
        self._complained = False

    def open(self, pipeline: str, key: str, recipe: Recipe, dataset: Dataset) -> None:
        """Find the run of the key, or create it with its parameters."""
        self._client = _client(self._settings)
        experiment = _experiment(self._client, pipeline, self._settings)
        found = self._client.search_runs([experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'")
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(experiment, tags={KEY_TAG: key}, run_name=recipe.title)
            for name, value in _parameters(recipe, dataset).items():
                self._client.log_param(run.info.run_id, name, value)
        self._id = run.info.run_id
        self._began_ms = run.info.start_time
        if self._settings.mlflow_page:
            page = self._settings.mlflow_page.rstrip("/")
            self.url = f"{page}/#/experiments/{experiment}/runs/{self._id}"

    def log(self, points: Iterable[Measured]) -> None:
        """Write the points that were not written yet.

        Args:
            points: All of the training so far.
        """
        fresh = {
            (step, name): (seconds, value)
            for step, seconds, values in points
            for name, value in values.items()
            if (step, name) not in self._logged
        }
        if not fresh or not self._id:
            return
        with self.guard("write the curves"):
            from mlflow.entities import Metric

            # Counted from the run's start, so that whoever adopts the run writes the same points.
            metrics = [
                Metric(name, value, self._began_ms + round(1000 * seconds), step)
                for (step, name), (seconds, value) in fresh.items()
            ]
            for start in range(0, len(metrics), _BATCH):
                self._client.log_batch(self._id, metrics=metrics[start : start + _BATCH])
            self._logged |= fresh.keys()

    def finish(self, status: JobStatus, model: Model | None) -> None:
        """Close the run.

        Args:
            status: How the job ended.
            model: What it made, if it succeeded.
        """
        if not self._id:
            return
        self._complained = False
        with self.guard("close the run"):
            if model is not None:
                self._client.set_tag(self._id, "digest", model.digest)
                self._client.set_tag(self._id, "seconds", f"{model.seconds:.1f}")
            self._client.set_terminated(self._id, _ENDS[status])

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Report what fails inside the block, once, and go on."""
        with _guarded(self._tell, what):
            yield

    def _tell(self, line: str) -> None:
        if not self._complained:
            self._report(line)
        self._complained = True


@contextmanager
def _guarded(report: Callable[[str], None], what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # MLflow and its drivers raise many kinds
        reason = without_passwords(next(iter(str(error).strip().splitlines()), ""))
        report(
            f"WARNING: MLflow could not {what}: {type(error).__name__}: {reason}; the work goes on without it"
        )


def _is_server(settings: Settings) -> bool:
    return settings.mlflow_uri.startswith(("http://", "https://"))


def _client(settings: Settings) -> Any:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # By default a dead server is asked for many minutes, while a job waits.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import logging

    from mlflow import MlflowClient

    # It narrates each of its 50 migrations.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)


def _experiment(client: Any, name: str, settings: Settings) -> str:
    """Return the id of the experiment, which two jobs may want to create at the same moment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Else MLflow takes the working directory's mlruns.
        place = None if _is_server(settings) else (settings.home / "mlruns").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _version(client: Any, release: Release) -> str | None:
    """Return the registered version of a release, if there is one."""
    versions = client.search_model_versions(f"name = '{release.pipeline}'")
    return next((str(v.version) for v in versions if v.tags.get("release") == str(release.number)), None)


def _parameters(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in recipe.hyperparameters.items():
        nested = value if isinstance(value, dict) else {"": value}
        given |= {f"{name}.{part}".rstrip("."): single for part, single in nested.items()}
    return given | {
        "backend": recipe.backend,
        "base_model": recipe.base_model,
        "base_digest": recipe.base_digest,
        "method": recipe.method,
        "trainer": recipe.trainer,
        "seed": recipe.seed,
        "dataset": dataset.digest,
        "train_rows": dataset.train.rows,
        "validation_rows": dataset.validation.rows,
        "spec": recipe.spec_digest,
    }
