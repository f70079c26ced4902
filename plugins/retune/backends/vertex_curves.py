"""What Vertex AI measures while it tunes.

A tuning job names an experiment (a metadata context), the experiment a TensorBoard, and the TensorBoard
holds a time series for each metric of the experiment's one run. So read by Google's own notebooks
(github.com/GoogleCloudPlatform/generative-ai, gemini/tuning/sft_gemini_qa.ipynb), here by the REST methods
that the discovery document of aiplatform v1beta1 describes. Names of the metrics: docs.cloud.google.com/
vertex-ai/generative-ai/docs/models/tune-gemini-model and gemini-preference-tuning.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retune.backends.base import Curves, Point, TransientError
from retune.backends.vertex_client import READ_S, VertexClient
from retune.backends.vertex_costs import total_steps
from retune.backends.vertex_errors import Refusal, refused, translated

if TYPE_CHECKING:
    from google.genai import types

METRICS = {
    "train_total_loss": "loss",
    "preference_optimization_train_loss": "loss",
    "eval_total_loss": "eval_loss",
    "train_fraction_of_correct_next_step_preds": "mean_token_accuracy",
    "eval_fraction_of_correct_next_step_preds": "eval_mean_token_accuracy",
}
"""Vertex AI's name, without its slash -> the name that all backends share."""
_BATCH = 20
Series = Mapping[str, Any]


def curves_of(job: types.TuningJob, client: VertexClient) -> Curves:
    """Return what was measured of a job so far; nothing where Vertex AI shows nothing.

    Raises:
        TransientError: It did not answer.
    """
    steps = total_steps(job)
    if not job.experiment:
        return Curves((), steps)
    reader = _Reader(client)
    run = _run_of(job.experiment, reader)
    series = list(_series_of(run, reader)) if run else []
    began = job.start_time or job.create_time
    return Curves(_points(series, began.timestamp() if began else 0.0), steps)


def best_checkpoint(
    checkpoints: Sequence[types.TunedModelCheckpoint], points: Iterable[Point]
) -> types.TunedModelCheckpoint | None:
    """Return the checkpoint with the least validation loss; of equals the earliest.

    A checkpoint's loss is the last that was measured up to its step.

    Returns:
        None where no loss was measured.
    """
    losses = [
        (point.step, point.values["eval_loss"])
        for point in points
        if math.isfinite(point.values.get("eval_loss", math.nan))
    ]
    ranked = []
    for checkpoint in checkpoints:
        step = int(checkpoint.step or 0)
        until = [loss for at, loss in losses if at <= step]
        if until and checkpoint.endpoint:
            ranked.append((until[-1], step, checkpoint))
    return min(ranked, key=lambda one: one[:2])[2] if ranked else None


def _run_of(experiment: str, reader: _Reader) -> str:
    """Return the name of an experiment's run in its TensorBoard; empty where there is none yet."""
    context = reader.get(experiment) or {}
    board = (context.get("metadata") or {}).get("backing_tensorboard_resource")
    if not board:
        return ""
    store, _, name = experiment.partition("/contexts/")
    wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
    runs = (reader.get(f"{store}/contexts", {"filter": wanted}) or {}).get("contexts", [])
    if not runs:
        return ""
    run = runs[0]["name"].rpartition("/")[2].removeprefix(f"{name}-")
    return f"{board}/experiments/{name}/runs/{run}"


def _series_of(run: str, reader: _Reader) -> Iterator[tuple[str, Series]]:
    """Yield the run's series that the house knows: its name for it, and the data."""
    names: dict[str, str] = {}
    for one in (reader.get(f"{run}/timeSeries", {"pageSize": "1000"}) or {}).get("tensorboardTimeSeries", []):
        metric = METRICS.get(str(one.get("displayName", "")).lstrip("/"))
        if metric:
            names[one["name"]] = metric
    board = run.partition("/experiments/")[0]
    listed = list(names)
    by_id = {name.rpartition("/")[2]: metric for name, metric in names.items()}
    for start in range(0, len(listed), _BATCH):
        asked = {"timeSeries": listed[start : start + _BATCH]}
        for data in (reader.get(f"{board}:batchRead", asked) or {}).get("timeSeriesData", []):
            yield by_id[data["tensorboardTimeSeriesId"]], data


def _points(series: Iterable[tuple[str, Series]], begun: float) -> tuple[Point, ...]:
    values: dict[int, dict[str, float]] = defaultdict(dict)
    seconds: dict[int, float] = {}
    for metric, data in series:
        for one in data.get("values", []):
            # Proto JSON leaves out zeros, and writes what is no number as a word.
            step, value = int(one.get("step", 0)), float((one.get("scalar") or {}).get("value", 0.0))
            values[step][metric] = value
            if one.get("wallTime"):
                at = datetime.fromisoformat(one["wallTime"]).timestamp() - begun
                seconds[step] = max(seconds.get(step, 0.0), at)
    return tuple(Point(step, max(0.0, seconds.get(step, 0.0)), values[step]) for step in sorted(values))


class _Reader:
    """Reads resources that google-genai has no methods for."""

    def __init__(self, client: VertexClient) -> None:
        from google.auth.transport.requests import AuthorizedSession

        self._client = client
        self._session = AuthorizedSession(client.account.credentials)  # type: ignore[no-untyped-call]

    def get(self, name: str, query: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return a resource; None where it is not there or may not be seen.

        Curves are a kindness: that this account may not read a TensorBoard must not stop a paid job.
        """
        doing = f"the measures of {name} cannot be read"
        where = self._client.where()
        try:
            answer = self._session.get(self._client.url_of(name), params=query, timeout=READ_S)
            body = answer.json() if answer.content else {}
        except Exception as error:  # requests, google.auth and JSON raise many kinds
            raise translated(error, doing, where) from None
        if answer.ok:
            found: dict[str, Any] = body
            return found
        message = str((body.get("error") or {}).get("message", "")) if isinstance(body, dict) else ""
        refusal = refused(Refusal(answer.status_code, message, headers=answer.headers), doing, where)
        if isinstance(refusal, TransientError):
            raise refusal
        return None
