"""The curves of a tuning job, by the real Google API client, as documented methods give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import types
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from retune.testing.emulators.process import Running
from tests.contract.emulators.vertex_client import TOKEN, client_of, ended, pairs, tune, upload, vertex

TRAINING = {"/train_total_loss", "/train_fraction_of_correct_next_step_preds", "/train_num_predictions"}
VALIDATION = {"/eval_total_loss", "/eval_fraction_of_correct_next_step_preds", "/eval_num_predictions"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with vertex(tmp_path_factory.mktemp("vertex")) as found:
        yield found


@pytest.fixture
def locations(emulator: Running) -> Any:
    options = {"api_endpoint": emulator.url}
    credentials = Credentials(token=TOKEN)
    service = build(
        "aiplatform", "v1beta1", credentials=credentials, client_options=options, cache_discovery=False
    )
    return service.projects().locations()


def run_of(locations: Any, job: types.TuningJob) -> str:
    """The TensorBoard run of a job's experiment."""
    contexts = locations.metadataStores().contexts()
    experiment = contexts.get(name=job.experiment).execute()
    assert experiment["schemaTitle"] == "system.Experiment"
    store, _, title = experiment["name"].partition("/contexts/")
    wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment["name"]}"'
    [run] = contexts.list(parent=store, filter=wanted).execute()["contexts"]
    assert contexts.get(name=run["name"]).execute() == run
    board = experiment["metadata"]["backing_tensorboard_resource"]
    name = run["name"].removeprefix(f"{experiment['name']}-")
    found = f"{board}/experiments/{title}/runs/{name}"
    runs = locations.tensorboards().experiments().runs()
    listed = runs.list(parent=f"{board}/experiments/{title}").execute()["tensorboardRuns"]
    assert [one["name"] for one in listed] == [found]
    return found


def read(locations: Any, job: types.TuningJob) -> dict[str, list[tuple[int, float]]]:
    """Curve -> its points, each read by itself."""
    series = locations.tensorboards().experiments().runs().timeSeries()
    listed = series.list(parent=run_of(locations, job)).execute()["tensorboardTimeSeries"]
    curves = {}
    for one in listed:
        data = series.read(tensorboardTimeSeries=one["name"]).execute()["timeSeriesData"]
        points = [(int(point["step"]), point["scalar"]["value"]) for point in data["values"]]
        curves[one["displayName"]] = points
        assert not points or one["metadata"]["maxStep"] == str(points[-1][0])
    board = listed[0]["name"].partition("/experiments/")[0]
    names = [one["name"] for one in listed]
    at_once = locations.tensorboards().batchRead(tensorboard=board, timeSeries=names).execute()
    found = at_once["timeSeriesData"]
    assert [len(data["values"]) for data in found] == [len(points) for points in curves.values()]
    return curves


def test_a_supervised_job_has_the_documented_curves(emulator: Running, locations: Any) -> None:
    client, rows = client_of(emulator), upload(emulator)
    job = ended(client, tune(client, rows, epoch_count=5, validation_dataset=rows))
    curves = read(locations, job)
    assert set(curves) == TRAINING | VALIDATION
    steps = job.tuning_data_stats.supervised_tuning_data_stats.tuning_step_count
    for points in curves.values():
        assert [step for step, _ in points] == list(range(1, steps + 1))
    losses = [value for _, value in curves["/train_total_loss"]]
    assert losses[-1] < losses[0] / 2
    plain = ended(client, tune(client, rows))
    assert set(read(locations, plain)) == TRAINING


def test_preference_tuning_has_its_own_curves(emulator: Running, locations: Any) -> None:
    client, rows = client_of(emulator), upload(emulator, pairs())
    job = ended(client, tune(client, rows, method="PREFERENCE_TUNING", validation_dataset=rows))
    assert set(read(locations, job)) == {"/preference_optimization_train_loss", "/eval_total_loss"}


def test_a_long_curve_is_thinned_and_read_whole_on_demand(emulator: Running, locations: Any) -> None:
    client, rows = client_of(emulator), upload(emulator)
    job = ended(client, tune(client, rows, epoch_count=1500))
    series = locations.tensorboards().experiments().runs().timeSeries()
    listed = series.list(parent=run_of(locations, job), filter='display_name="/train_total_loss"').execute()
    [loss] = listed["tensorboardTimeSeries"]

    def points(**given: int) -> list[int]:
        data = series.read(tensorboardTimeSeries=loss["name"], **given).execute()["timeSeriesData"]
        return [int(point["step"]) for point in data["values"]]

    assert len(points()) <= 1000 and points()[-1] == 3000
    assert points(maxDataPoints=-1) == list(range(1, 3001))
    assert len(points(maxDataPoints=10)) == 10


def test_curves_grow_while_the_job_runs(emulator: Running, locations: Any) -> None:
    client, rows = client_of(emulator), upload(emulator)
    emulator.set_options(phase_s={"validating": 0.0, "queued": 0.0, "running": 3600.0})
    try:
        made = tune(client, rows, epoch_count=500)
        running = client.tunings.get(name=made.name or "")
        assert running.state == "JOB_STATE_RUNNING"
        before = len(read(locations, running)["/train_total_loss"])
    finally:
        emulator.set_options(phase_s=0.02)
    assert before < len(read(locations, ended(client, made))["/train_total_loss"])


def test_an_experiment_that_is_not_there_is_not_found(emulator: Running, locations: Any) -> None:
    name = "projects/1/locations/us-central1/metadataStores/default/contexts/tuning-experiment-1"
    with pytest.raises(HttpError, match="404"):
        locations.metadataStores().contexts().get(name=name).execute()
