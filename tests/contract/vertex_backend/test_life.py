"""A job of the Vertex AI backend through the real SDKs: asked for, found, read, and what it cost."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from retune.backends.base import TransientError, View
from retune.backends.vertex_jobs import VertexBackend
from retune.errors import BackendError
from retune.records import JobStatus
from retune.testing.emulators.process import Running
from tests.contract.desk import pairs
from tests.contract.house import WITHIN_S, ended
from tests.contract.vertex_house import (
    BUCKET,
    GET,
    LIST,
    MODEL,
    OPEN_MODEL,
    PROJECT,
    REGION,
    Desk,
    lines,
    made_of,
    shown,
    submit,
)


def test_supervised_tuning_asks_for_what_the_recipe_says(desk: Desk) -> None:
    order = desk.order(epochs=3, adapter_size=8, learning_rate_multiplier=0.5)
    _, job = submit(desk, order)
    asked = shown(desk, job)
    spec = asked["supervisedTuningSpec"]
    assert asked["baseModel"] == MODEL
    assert spec["hyperParameters"] == {
        "epochCount": "3",
        "adapterSize": "ADAPTER_SIZE_EIGHT",
        "learningRateMultiplier": 0.5,
    }
    assert spec["exportLastCheckpointOnly"] is True
    assert asked["tunedModelDisplayName"] == f"retune tiny {order.key[:12]}"
    assert asked["labels"] == {
        "retune_key": order.key[:60],
        "retune_pipeline": "tiny",
        "retune_checkpoint": "last",
    }
    rows = lines(desk, spec["trainingDatasetUri"])
    assert len(rows) == 16 and len(lines(desk, spec["validationDatasetUri"])) == 4
    assert [content["role"] for content in rows[0]["contents"]] == ["user", "model"]
    assert spec["trainingDatasetUri"].startswith(f"{BUCKET}/retune/")


def test_preference_tuning_takes_pairs_and_beta(desk: Desk) -> None:
    order = desk.order(desk.dataset_of(pairs(12), pairs(4, 100)), method="dpo", beta=0.2, epochs=None)
    backend = desk.backend()
    backend.validate(order)
    spec = shown(desk, backend.submit(order, lambda: None))["preferenceOptimizationSpec"]
    assert spec["hyperParameters"]["beta"] == 0.2
    row = lines(desk, spec["trainingDatasetUri"])[0]
    assert [one["score"] for one in row["completions"]] == [1, 0]


def test_an_open_model_gets_messages_and_goes_into_the_bucket(desk: Desk) -> None:
    order = desk.order(desk.bench.dataset(validation=3), base_model=OPEN_MODEL, adapter_size=16)
    backend = desk.backend(bucket=f"{BUCKET}/house/")
    backend.validate(order)
    job = backend.submit(order, lambda: None)
    asked = shown(desk, job)
    assert asked["outputUri"] == f"{BUCKET}/house/retune/models/{order.key}"
    assert asked["supervisedTuningSpec"]["tuningMode"] == "TUNING_MODE_PEFT_ADAPTER"
    row = lines(desk, asked["supervisedTuningSpec"]["trainingDatasetUri"])[0]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert ended(backend, job).status is JobStatus.SUCCEEDED
    trained = backend.fetch(job)
    assert trained.uri == f"vertex:{asked['outputUri']}"
    assert trained.served_as == ""
    assert trained.cost_usd is None  # nobody said what it costs


def test_a_bucket_may_be_a_folder_of_one(desk: Desk) -> None:
    backend = desk.backend(bucket=f"{BUCKET}/teams/support/")
    job = backend.submit(desk.order(), lambda: None)
    uri = shown(desk, job)["supervisedTuningSpec"]["trainingDatasetUri"]
    assert uri.startswith(f"{BUCKET}/teams/support/retune/")


def test_an_orphan_is_found_by_its_label_and_others_are_not(desk: Desk) -> None:
    # Long enough to be seen under way on a busy machine.
    order, other = desk.order(epochs=20), desk.order()
    submit(desk, other)
    _, job = submit(desk, order)
    [seen] = desk.backend().find(order)
    assert seen.job == job
    assert seen.status in (JobStatus.PENDING, JobStatus.RUNNING)
    assert abs(seen.created_at - time.time()) < WITHIN_S
    assert not desk.backend().find(desk.order())


def test_a_twin_and_an_ended_job_are_seen_too(desk: Desk) -> None:
    order = desk.order()
    backend, first = submit(desk, order)
    assert ended(backend, first).status is JobStatus.SUCCEEDED
    second = backend.submit(order, lambda: None)
    seen = {one.job.provider_id: one.status for one in backend.find(order)}
    assert seen.keys() == {first.provider_id, second.provider_id}
    assert seen[first.provider_id] is JobStatus.SUCCEEDED


def test_where_the_filter_is_refused_all_jobs_are_read(desk: Desk, emulator: Running) -> None:
    order = desk.order()
    _, job = submit(desk, order)
    emulator.set_faults([{"on": LIST, "do": "refuse", "status": 400, "message": "Invalid filter."}])
    assert [one.job for one in desk.backend().find(order)] == [job]


def test_cancelling_is_final_and_may_be_repeated(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(epochs=20))
    backend.cancel(job)
    assert ended(backend, job).status is JobStatus.CANCELLED
    backend.cancel(job)
    _, done = submit(desk, desk.order())
    ended(backend, done)
    backend.cancel(done)
    assert backend.poll(done).status is JobStatus.SUCCEEDED


def test_a_job_that_ends_while_it_is_cancelled_is_no_error(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order())
    ended(backend, job)
    # The first look still shows it running, as a look a moment ago would have.
    emulator.set_faults([{"on": GET, "do": "unknown_status", "status": "JOB_STATE_RUNNING"}])
    backend.cancel(job)
    assert backend.poll(job).status is JobStatus.SUCCEEDED


def test_curves_have_the_names_that_all_backends_share(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(epochs=3, checkpoint="best"))
    ended(backend, job)
    curves = backend.curves(job)
    assert curves.points[-1].step == curves.total_steps > 0
    names = {"loss", "eval_loss", "mean_token_accuracy", "eval_mean_token_accuracy"}
    assert curves.points[-1].values.keys() == names
    assert [point.seconds for point in curves.points] == sorted(point.seconds for point in curves.points)
    trained = backend.fetch(job)
    best = min(curves.points, key=lambda point: point.values["eval_loss"]).step
    checkpoints = shown(desk, job)["tunedModel"]["checkpoints"]
    assert trained.served_as in {one["endpoint"] for one in checkpoints if int(one["step"]) >= best}
    assert trained == desk.backend().fetch(job)
    assert trained.kind == "hosted" and trained.uri == f"vertex:{trained.served_as}"


def test_preference_curves_have_a_loss_too(desk: Desk) -> None:
    order = desk.order(desk.dataset_of(pairs(12), pairs(4, 100)), method="dpo")
    backend, job = submit(desk, order)
    ended(backend, job)
    assert backend.curves(job).points[-1].values.keys() == {"loss", "eval_loss"}


def test_curves_that_may_not_be_seen_do_not_stop_a_paid_job(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(checkpoint="best"))
    assert backend.curves(job).points == ()  # nothing runs yet
    ended(backend, job)
    contexts = "GET /v1beta1/projects/*/contexts*"
    emulator.set_faults([{"on": contexts, "do": "refuse", "refusal": "no_permission", "times": None}])
    assert backend.curves(job).points == ()
    assert backend.fetch(job).served_as == shown(desk, job)["tunedModel"]["endpoint"]
    emulator.set_faults([{"on": contexts, "do": "refuse", "refusal": "unavailable"}])
    with pytest.raises(TransientError):
        backend.curves(job)


def test_what_a_job_cost_is_its_billed_tokens_at_the_price(desk: Desk) -> None:
    order = desk.order(epochs=4)
    backend, job = submit(desk, order)
    ended(backend, job)
    stats = shown(desk, job)["tuningDataStats"]["supervisedTuningDataStats"]
    tokens = int(stats["totalBillableTokenCount"])
    assert backend.fetch(job).cost_usd == pytest.approx(tokens * 4 * 5.00 / 1e6)
    assert made_of(desk, order)[0]["billed"] == tokens * 4


def test_a_service_account_of_an_airflow_connection_signs_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.airflow.configuration import AirflowConnections
    from retune.testing.emulators.vertex_accounts import airflow_extra, service_account_key

    key = service_account_key(desk.emulator.url, PROJECT)
    extra = json.loads(airflow_extra(key)) | {"vertex_base_url": desk.emulator.url}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_TUNER", json.dumps(connection))
    installation = replace(desk.bench, connections=AirflowConnections()).installation
    place = {"connection": "google_tuner", "location": REGION, "bucket": BUCKET}
    backend = VertexBackend(installation, place)
    order = desk.order()
    job = backend.submit(order, lambda: None)
    assert [one.job for one in backend.find(order)] == [job]
    assert ended(backend, job).status is JobStatus.SUCCEEDED
    assert backend.curves(job).points
    assert isinstance(asyncio.run(backend.poll_many([job]))[job.key], View)
    assert backend.account == f"{PROJECT}/{REGION}"
    # A key of another account, as after a rotation.
    other = {**key, "client_email": f"nobody@{PROJECT}.iam.gserviceaccount.com"}
    extra["keyfile_dict"] = json.dumps(other)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_TUNER", json.dumps(connection))
    with pytest.raises(BackendError, match="no token for connection 'google_tuner'") as caught:
        VertexBackend(installation, place).find(order)
    assert not caught.value.may_pass
    assert key["private_key"][100:160] not in str(caught.value)
