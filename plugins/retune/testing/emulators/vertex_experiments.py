"""The curves of tuning jobs, as Vertex AI keeps them: an experiment, and time series of its TensorBoard.

A job's `experiment` is a context of the metadata store; its metadata's `backing_tensorboard_resource` names
the TensorBoard, and the context below it of the schema `system.ExperimentRun` is called
`<experiment>-<run>`. The series lie at `<tensorboard>/experiments/<experiment>/runs/<run>/timeSeries`. So
does Google's notebook `sft_gemini_qa.ipynb` (GoogleCloudPlatform/generative-ai) find them. Their names:
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/gemini-use-supervised-tuning and
`gemini-use-preference-tuning`, "Model tuning metrics".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from retune.testing.emulators.curves import Step
from retune.testing.emulators.lifecycle import Phase
from retune.testing.emulators.server import Call, Route
from retune.testing.emulators.store import Store
from retune.testing.emulators.vertex_filters import parse_filter
from retune.testing.emulators.vertex_names import number_of, project_number, timestamp
from retune.testing.emulators.vertex_refusals import VertexRefused
from retune.testing.emulators.vertex_work import PREFERENCE, Curves, Job, Work

_PLACE = "/v1beta1/projects/{project}/locations/{location}"
_CONTEXTS = f"{_PLACE}/metadataStores/default/contexts"
_BOARD = f"{_PLACE}/tensorboards/{{tensorboard}}"
_RUNS = f"{_BOARD}/experiments/{{experiment}}/runs"
_SERIES = f"{_RUNS}/{{run}}/timeSeries"
_MOST_POINTS = 1000
_RUN = "tuning-run"
Measure = Callable[[Step], float | None]


@dataclass(frozen=True)
class Series:
    """One time series of a job.

    Attributes:
        name: Its resource name.
        title: Its display name, such as `/train_total_loss`.
        measure: A step -> its value.
    """

    name: str
    title: str
    measure: Measure


class Experiments:
    """The routes of experiments and TensorBoards.

    Args:
        store: Knows the experiments.
        work: Moves jobs on.
        curves: Where steps come from.
    """

    def __init__(self, store: Store, work: Work, curves: Curves) -> None:
        self._store = store
        self._work = work
        self._curves = curves

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", _CONTEXTS.replace("default", "{store}"), self._list_contexts),
            Route("GET", f"{_CONTEXTS.replace('default', '{store}')}/{{context}}", self._get_context),
            Route("GET", _RUNS, self._list_runs),
            Route("GET", _SERIES, self._list_series),
            Route("GET", f"{_SERIES}/{{series}}:read", self._read),
            Route("GET", f"{_BOARD}:batchRead", self._read_many),
        ]

    async def _get_context(self, call: Call) -> dict[str, Any]:
        name = call.path("context")
        experiment = name.removesuffix(f"-{_RUN}")
        contexts = _contexts(self._job(call, experiment))
        return contexts[0] if experiment == name else contexts[1]

    async def _list_contexts(self, call: Call) -> dict[str, Any]:
        text = call.request.query_params.get("filter", "")
        fields = {
            "name": "name",
            "display_name": "displayName",
            "schema_title": "schemaTitle",
            "parent_contexts": "parentContexts",
        }
        takes, place = parse_filter(text, fields), _place(call)
        found = [
            context
            for entry in self._store.all("experiment")
            for context in _contexts(self._job(call, entry.id))
            if context["name"].startswith(f"{place}/") and takes(context)
        ]
        return {"contexts": found} if found else {}

    async def _list_runs(self, call: Call) -> dict[str, Any]:
        job = self._job(call, call.path("experiment"))
        run = {
            "name": _run(job),
            "displayName": _RUN,
            "createTime": timestamp(job.life.entered[Phase.RUNNING]),
            "updateTime": timestamp(job.life.since),
        }
        return {"tensorboardRuns": [run]}

    async def _list_series(self, call: Call) -> dict[str, Any]:
        job = self._job(call, call.path("experiment"))
        takes = parse_filter(call.request.query_params.get("filter", ""), {"display_name": "displayName"})
        shown = [self._shown(job, series, call) for series in _series(job)]
        return {"tensorboardTimeSeries": [one for one in shown if takes(one)]}

    async def _read(self, call: Call) -> dict[str, Any]:
        job = self._job(call, call.path("experiment"))
        most = int(call.request.query_params.get("maxDataPoints", _MOST_POINTS))
        return {"timeSeriesData": self._data(job, call.path("series"), call, most)}

    async def _read_many(self, call: Call) -> dict[str, Any]:
        found = []
        for name in call.request.query_params.getlist("timeSeries"):
            parts = name.split("/")
            if len(parts) != 12:
                raise VertexRefused(400, f"Invalid resource name: {name}.")
            found.append(self._data(self._job(call, parts[7]), parts[11], call, _MOST_POINTS))
        return {"timeSeriesData": found}

    def _job(self, call: Call, experiment: str) -> Job:
        entry = self._store.get("experiment", experiment, call.now)
        found = self._store.get("job", entry.body["job"], call.now) if entry else None
        if found is None:
            raise VertexRefused(404, f"The experiment {experiment} is not found.")
        return self._work.look(found, call.now, call.options)

    def _shown(self, job: Job, series: Series, call: Call) -> dict[str, Any]:
        points = self._points(job, series, call, _MOST_POINTS)
        begun = timestamp(job.life.entered[Phase.RUNNING])
        last = points[-1] if points else {"step": "0", "wallTime": begun}
        return {
            "name": series.name,
            "displayName": series.title,
            "valueType": "SCALAR",
            "pluginName": "scalars",
            "createTime": begun,
            "updateTime": last["wallTime"],
            "metadata": {"maxStep": last["step"], "maxWallTime": last["wallTime"]},
        }

    def _data(self, job: Job, name: str, call: Call, most: int) -> dict[str, Any]:
        for series in _series(job):
            if series.name.endswith(f"/{name}"):
                points = self._points(job, series, call, most if most > 0 else job.steps)
                return {"tensorboardTimeSeriesId": name, "valueType": "SCALAR", "values": points}
        raise VertexRefused(404, f"The TensorboardTimeSeries {name} is not found.")

    def _points(self, job: Job, series: Series, call: Call, most: int) -> list[dict[str, Any]]:
        begun = job.life.entered[Phase.RUNNING]
        length = job.life.since - begun if job.life.phase.ended else call.options.seconds(Phase.RUNNING)
        return [
            {
                "step": str(step.number),
                "wallTime": timestamp(step.at or begun + length * step.number / (job.steps + 1)),
                "scalar": {"value": value},
            }
            for step in self._curves.steps(job, call.now, call.options, most)
            if (value := series.measure(step)) is not None
        ]


def _place(call: Call) -> str:
    return f"projects/{project_number(call.path('project'))}/locations/{call.path('location')}"


def _contexts(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contexts of a job's experiment and of the one run in it."""
    at, title = timestamp(job.life.entered[Phase.RUNNING]), job.experiment.rpartition("/")[2]
    shared = {"createTime": at, "updateTime": at, "etag": "1", "schemaVersion": "0.0.1"}
    metadata = {"experiment_deleted": False, "backing_tensorboard_resource": _board(job)}
    experiment = {
        **shared,
        "name": job.experiment,
        "displayName": title,
        "schemaTitle": "system.Experiment",
        "metadata": metadata,
    }
    run = {
        **shared,
        "name": f"{job.experiment}-{_RUN}",
        "displayName": _RUN,
        "schemaTitle": "system.ExperimentRun",
        "metadata": {},
        "parentContexts": [job.experiment],
    }
    return experiment, run


def _board(job: Job) -> str:
    return f"{job.place}/tensorboards/{number_of(job.place, 'tensorboard')}"


def _run(job: Job) -> str:
    return f"{_board(job)}/experiments/{job.experiment.rpartition('/')[2]}/runs/{_RUN}"


def _series(job: Job) -> Iterator[Series]:
    predictions = max(1, job.tokens // job.steps)
    measures: dict[str, Measure] = {
        "/train_total_loss": lambda step: step.train_loss,
        "/train_fraction_of_correct_next_step_preds": lambda step: step.train_accuracy,
        "/train_num_predictions": lambda step: predictions,
    }
    validation: dict[str, Measure] = {
        "/eval_total_loss": lambda step: step.valid_loss,
        "/eval_fraction_of_correct_next_step_preds": lambda step: step.valid_accuracy,
        "/eval_num_predictions": lambda step: None if step.valid_loss is None else predictions,
    }
    if job.spec == PREFERENCE:
        measures = {"/preference_optimization_train_loss": lambda step: step.train_loss}
        validation = {"/eval_total_loss": lambda step: step.valid_loss}
    for title, measure in (measures | (validation if job.is_validated else {})).items():
        yield Series(f"{_run(job)}/timeSeries/{number_of(job.id, title)}", title, measure)
