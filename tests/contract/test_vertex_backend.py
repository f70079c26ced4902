"""The Vertex AI backend through the real SDKs: what it asks for, what it finds, and what it reads."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials

from retune.backends.base import (
    Backend,
    InDoubtError,
    JobGoneError,
    Order,
    PollsTogether,
    TransientError,
    View,
)
from retune.backends.posting import place_order
from retune.backends.vertex_jobs import VertexBackend
from retune.backends.vertex_states import STATES
from retune.errors import BackendError
from retune.records import Job, JobStatus
from retune.settings import GoogleAccount
from retune.testing.emulators.process import Running, running
from tests.contract.vertex_house import (
    BUCKET,
    CANARY,
    CREATE,
    GET,
    JOBS,
    LIST,
    MODEL,
    OPEN_MODEL,
    PROJECT,
    REGION,
    Desk,
    make_desk,
    pairs,
)
from tests.tuning import make_rows

WITHIN_S = 60
SETTLE_S = 3.0
UPLOAD = "POST /upload/storage/v1/b/{bucket}/o"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("vertex")
    with running("vertex", folder, api_key=CANARY, phase_s=0.3) as made:
        yield made
        assert made.problems() == []


@pytest.fixture(scope="module")
def module_desk(emulator: Running, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return make_desk(tmp_path_factory.mktemp("project"), emulator, SETTLE_S)


@pytest.fixture
def desk(module_desk: Desk, emulator: Running) -> Desk:
    emulator.set_faults([])
    return module_desk


def wait(backend: Backend, job: Job, reached: Callable[[View], bool]) -> View:
    deadline = time.monotonic() + WITHIN_S
    while not reached(view := backend.poll(job)):
        assert time.monotonic() < deadline, f"still {view}"
        time.sleep(0.05)
    return view


def end(backend: Backend, job: Job) -> View:
    return wait(backend, job, lambda view: view.ended)


def submit(desk: Desk, order: Order) -> tuple[VertexBackend, Job]:
    backend = desk.backend()
    return backend, backend.submit(order, lambda: None)


def shown(desk: Desk, job: Job) -> dict[str, Any]:
    """The job as the emulator has it."""
    url = f"{desk.emulator.url}/v1beta1/{job.provider_id}"
    answer = httpx.get(url, headers={"Authorization": f"Bearer {CANARY}"}, trust_env=False)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def lines(desk: Desk, address: str) -> list[dict[str, Any]]:
    bucket, _, name = address.removeprefix("gs://").partition("/")
    data = desk.storage.bucket(bucket).blob(name).download_as_bytes()
    return [json.loads(line) for line in data.splitlines()]


def made_of(desk: Desk, order: Order) -> list[dict[str, Any]]:
    return desk.emulator.jobs(retune_key=order.key[:60])


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
    assert end(backend, job).status is JobStatus.SUCCEEDED
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
    order, other = desk.order(), desk.order()
    _, job = submit(desk, order)
    submit(desk, other)
    [seen] = desk.backend().find(order)
    assert seen.job == job
    assert seen.status in (JobStatus.PENDING, JobStatus.RUNNING)
    assert abs(seen.created_at - time.time()) < WITHIN_S
    assert not desk.backend().find(desk.order())


def test_a_twin_and_an_ended_job_are_seen_too(desk: Desk) -> None:
    order = desk.order()
    backend, first = submit(desk, order)
    assert end(backend, first).status is JobStatus.SUCCEEDED
    second = backend.submit(order, lambda: None)
    seen = {one.job.provider_id: one.status for one in backend.find(order)}
    assert seen.keys() == {first.provider_id, second.provider_id}
    assert seen[first.provider_id] is JobStatus.SUCCEEDED


def test_where_the_filter_is_refused_all_jobs_are_read(desk: Desk, emulator: Running) -> None:
    order = desk.order()
    _, job = submit(desk, order)
    emulator.set_faults([{"on": LIST, "do": "refuse", "status": 400, "message": "Invalid filter."}])
    assert [one.job for one in desk.backend().find(order)] == [job]


def test_a_list_that_cannot_be_read_is_no_empty_list(desk: Desk, emulator: Running) -> None:
    emulator.set_faults([{"on": LIST, "do": "refuse", "refusal": "unavailable", "times": None}])
    with pytest.raises(TransientError):
        desk.backend().find(desk.order())


CUT_OFF: list[dict[str, Any]] = [
    {"do": "lose_answer"},
    {"do": "late_commit", "after_s": 0.5},
    {"do": "error", "act": True},
    {"do": "refuse", "refusal": "unavailable"},
    {"do": "hang"},
]


@pytest.mark.parametrize("rule", CUT_OFF, ids=lambda rule: str(rule.get("refusal", rule["do"])))
def test_a_request_that_was_cut_off_is_in_doubt(desk: Desk, emulator: Running, rule: dict[str, Any]) -> None:
    emulator.set_faults([{"on": CREATE, **rule}])
    posted: list[int] = []
    with pytest.raises(InDoubtError):
        desk.backend().submit(desk.order(), lambda: posted.append(1))
    assert posted == [1]


@pytest.mark.parametrize("rule", CUT_OFF, ids=lambda rule: str(rule.get("refusal", rule["do"])))
def test_an_order_whose_request_was_cut_off_is_done_by_one_job(
    desk: Desk, emulator: Running, rule: dict[str, Any]
) -> None:
    emulator.set_faults([{"on": CREATE, **rule}])
    order, told = desk.order(), list[str]()
    job = place_order(order, desk.backend(), desk.bench.db, lambda: datetime.now(UTC), told.append)
    assert [one["id"] for one in made_of(desk, order)] == [job.provider_id]
    assert any("looking whether the job is there" in line for line in told)


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        ({"refusal": "no_quota", "retry_after": 7}, TransientError, "iam-admin/quotas"),
        ({"refusal": "no_permission"}, BackendError, "roles/aiplatform.user on project retune"),
        ({"status": 400, "message": "Row 3 is odd."}, BackendError, "mend what Google names"),
        ({"status": 401, "message": "Invalid credentials."}, BackendError, "'google_cloud_default'"),
        ({"status": 404, "message": "Publisher Model gone."}, BackendError, "may be retired"),
    ],
    ids=["no quota", "no permission", "bad request", "bad token", "unknown model"],
)
def test_a_refused_submit_says_what_to_do_and_leaves_no_doubt(
    desk: Desk, emulator: Running, rule: dict[str, Any], kind: type[BackendError], words: str
) -> None:
    emulator.set_faults([{"on": CREATE, "do": "refuse", **rule}])
    order = desk.order()
    with pytest.raises(BackendError) as caught:
        desk.backend().submit(order, lambda: None)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert getattr(caught.value, "retry_after_s", None) == rule.get("retry_after")
    assert made_of(desk, order) == []


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"base_model": "gemini-1.0-pro-002"}, {}, ["gemini-1.0-pro-002 is not supported", "may be retired"]),
        (
            {"base_model": "gemini-3.5-flash"},
            {"location": "asia-south1"},
            ["region asia-south1", "`location`"],
        ),
        ({"adapter_size": 32}, {}, ["adapter size is not supported", "`adapter_size`"]),
        ({}, {"bucket": "gs://nobodys-rows"}, ["bucket does not exist", "gcloud storage buckets create"]),
    ],
    ids=["model", "region", "adapter", "bucket"],
)
def test_what_google_does_not_have_is_refused_in_its_words(
    desk: Desk, given: dict[str, Any], place: dict[str, str], words: list[str]
) -> None:
    order = desk.order(**given)
    with pytest.raises(BackendError) as caught:
        desk.backend(**place).submit(order, lambda: None)
    assert not caught.value.may_pass
    assert all(word in str(caught.value) for word in words)
    assert made_of(desk, order) == []


def test_a_bucket_that_may_not_be_used_says_who_needs_what(desk: Desk) -> None:
    desk.make_bucket("not-ours", retune_denies="caller")
    desk.make_bucket("not-theirs", retune_denies="tuning")
    posted: list[int] = []
    with pytest.raises(BackendError, match=r"roles/storage.objectUser on gs://not-ours") as ours:
        desk.backend(bucket="gs://not-ours").submit(desk.order(), lambda: posted.append(1))
    assert posted == []  # nothing that costs was asked for
    with pytest.raises(BackendError, match=r"roles/storage.objectViewer to service-") as theirs:
        desk.backend(bucket="gs://not-theirs").submit(desk.order(), lambda: None)
    assert not ours.value.may_pass and not theirs.value.may_pass


def test_a_wrong_token_is_a_wrong_connection(desk: Desk) -> None:
    wrong = GoogleAccount(PROJECT, Credentials(token="ya29.wrong"), desk.emulator.url)
    with pytest.raises(BackendError, match="connection 'google_cloud_default'") as caught:
        desk.backend(account=wrong).find(desk.order())
    assert not caught.value.may_pass
    assert "ya29.wrong" not in str(caught.value)


def test_rows_that_arrived_in_part_are_brought_again(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 500), make_rows(3, 600)))
    emulator.set_faults([{"on": UPLOAD, "do": "half_upload"}])
    _, job = submit(desk, order)
    spec = shown(desk, job)["supervisedTuningSpec"]
    assert len(lines(desk, spec["trainingDatasetUri"])) == 9
    assert len(lines(desk, spec["validationDatasetUri"])) == 3


def test_rows_that_never_arrive_whole_stop_before_anything_is_posted(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 700), make_rows(3, 800)))
    emulator.set_faults([{"on": UPLOAD, "do": "half_upload", "times": None}])
    posted: list[int] = []
    with pytest.raises(TransientError, match="did not arrive whole") as caught:
        desk.backend().submit(order, lambda: posted.append(1))
    assert not isinstance(caught.value, InDoubtError)
    assert posted == []


def test_a_truncated_object_is_replaced_and_a_whole_one_is_used_again(desk: Desk, emulator: Running) -> None:
    order = desk.order(desk.dataset_of(make_rows(9, 900), make_rows(3, 950)))
    _, first = submit(desk, order)
    uri = shown(desk, first)["supervisedTuningSpec"]["trainingDatasetUri"]
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    uploads = emulator.counts()[UPLOAD]
    submit(desk, desk.order(order.dataset))
    assert emulator.counts()[UPLOAD] == uploads
    blob = desk.storage.bucket(bucket).blob(name)
    whole = blob.download_as_bytes()
    blob.upload_from_string(whole[:-20])
    submit(desk, desk.order(order.dataset))
    assert blob.download_as_bytes() == whole


def test_rows_beyond_a_part_are_brought_in_pieces(desk: Desk, emulator: Running) -> None:
    rows = make_rows(90)
    for row in rows:
        row["messages"][0]["content"] += " " + "word " * 20_000
    order = desk.order(desk.dataset_of(rows, make_rows(3, 950)))
    _, job = submit(desk, order)
    assert emulator.counts()["PUT /upload/storage/v1/b/{bucket}/o"] >= 1
    assert len(lines(desk, shown(desk, job)["supervisedTuningSpec"]["trainingDatasetUri"])) == 90


def test_a_row_that_google_refuses_is_named_by_its_line(desk: Desk, emulator: Running) -> None:
    emulator.set_faults(
        [{"on": CREATE, "do": "bad_file", "message": "Row: 5. Missing 'contents'.", "line": 5}]
    )
    backend, job = submit(desk, desk.order())
    view = end(backend, job)
    assert view.status is JobStatus.FAILED
    assert view.error.startswith("train:5: Failed to validate")
    assert "mend that row" in view.error
    with pytest.raises(BackendError, match="JOB_STATE_FAILED"):
        backend.fetch(job)


@pytest.mark.parametrize("word", sorted([*STATES, "JOB_STATE_ON_HOLD"]))
@pytest.mark.filterwarnings("ignore:.*is not a valid JobState")
def test_every_state_is_read_by_its_name(desk: Desk, emulator: Running, word: str) -> None:
    backend, job = submit(desk, desk.order())
    rule = {"on": GET, "do": "unknown_status", "status": word, "times": None}
    emulator.set_faults([rule])
    expected = STATES.get(word, (None, ""))[0]
    if expected is None:
        with pytest.raises(TransientError, match=word):
            backend.poll(job)
        answers = asyncio.run(backend.poll_many([job]))
        assert isinstance(answers[job.key], TransientError)
        return
    assert backend.poll(job).status is expected


def test_cancelling_is_final_and_may_be_repeated(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(epochs=20))
    backend.cancel(job)
    assert end(backend, job).status is JobStatus.CANCELLED
    backend.cancel(job)
    _, done = submit(desk, desk.order())
    end(backend, done)
    backend.cancel(done)
    assert backend.poll(done).status is JobStatus.SUCCEEDED


def test_a_job_that_ends_while_it_is_cancelled_is_no_error(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order())
    end(backend, job)
    # The first look still shows it running, as a look a moment ago would have.
    emulator.set_faults([{"on": GET, "do": "unknown_status", "status": "JOB_STATE_RUNNING"}])
    backend.cancel(job)
    assert backend.poll(job).status is JobStatus.SUCCEEDED


def test_a_job_that_vanished_is_gone_and_not_just_silent(desk: Desk) -> None:
    backend, job = submit(desk, desk.order())
    gone = job.model_copy(update={"provider_id": f"{job.provider_id}1", "key": "gone"})
    for look in (backend.poll, backend.curves, backend.cancel, backend.fetch):
        with pytest.raises(JobGoneError):
            look(gone)
    answers = asyncio.run(backend.poll_many([gone, job]))
    assert isinstance(answers["gone"], JobGoneError)
    assert isinstance(answers[job.key], View)


def test_hundreds_of_jobs_are_looked_at_by_a_few_lists(desk: Desk, emulator: Running) -> None:
    backend, first = submit(desk, desk.order())
    body = {name: shown(desk, first)[name] for name in ("baseModel", "supervisedTuningSpec")}
    url = f"{emulator.url}{JOBS.format(project=PROJECT, location=REGION)}"
    jobs = []
    with httpx.Client(headers={"Authorization": f"Bearer {CANARY}"}, trust_env=False, timeout=60) as client:
        for number in range(220):
            labels = {"retune_key": f"{number:060x}"}
            made = client.post(url, json={**body, "labels": labels}).raise_for_status().json()
            update = {"provider_id": made["name"], "key": f"{number:064x}"}
            jobs.append(first.model_copy(update=update))
    assert isinstance(backend, PollsTogether)
    before = emulator.counts()
    answers = asyncio.run(backend.poll_many(jobs))
    after = emulator.counts()
    assert answers.keys() == {job.key for job in jobs}
    assert all(isinstance(answer, View) for answer in answers.values())
    assert after[LIST] - before[LIST] == 3
    assert after.get(GET, 0) == before.get(GET, 0)


def test_jobs_that_the_list_does_not_show_yet_are_read_one_by_one(desk: Desk, emulator: Running) -> None:
    emulator.set_options(list_lag_s=600.0)
    try:
        backend = desk.backend()
        jobs = [backend.submit(desk.order(), lambda: None) for _ in range(3)]
        before = emulator.counts()
        answers = asyncio.run(backend.poll_many(jobs))
        assert {type(answer) for answer in answers.values()} == {View}
        assert emulator.counts()[GET] - before.get(GET, 0) == 3
    finally:
        emulator.set_options(list_lag_s=0.0)


def test_curves_have_the_names_that_all_backends_share(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(epochs=3, checkpoint="best"))
    end(backend, job)
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
    end(backend, job)
    assert backend.curves(job).points[-1].values.keys() == {"loss", "eval_loss"}


def test_curves_that_may_not_be_seen_do_not_stop_a_paid_job(desk: Desk, emulator: Running) -> None:
    backend, job = submit(desk, desk.order(checkpoint="best"))
    assert backend.curves(job).points == ()  # nothing runs yet
    end(backend, job)
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
    end(backend, job)
    stats = shown(desk, job)["tuningDataStats"]["supervisedTuningDataStats"]
    tokens = int(stats["totalBillableTokenCount"])
    assert backend.fetch(job).cost_usd == pytest.approx(tokens * 4 * 5.00 / 1e6)
    assert made_of(desk, order)[0]["billed"] == tokens * 4


def test_the_token_is_nowhere(
    desk: Desk, emulator: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    backend, job = submit(desk, desk.order())
    end(backend, job)
    found = [
        repr(backend),
        backend.account,
        repr(desk.account),
        job.model_dump_json(),
        repr(backend.fetch(job)),
    ]
    rules: list[dict[str, Any]] = [
        {"do": "refuse", "status": 401, "message": "no"},
        {"do": "lose_answer"},
        {"do": "error"},
    ]
    for rule in rules:
        emulator.set_faults([{"on": LIST, **rule}, {"on": CREATE, **rule}])
        for call in (lambda: backend.find(desk.order()), lambda: backend.submit(desk.order(), lambda: None)):
            with pytest.raises(BackendError) as caught:
                call()
            found += [str(caught.value), repr(caught.value)]
    out, err = capfd.readouterr()
    assert CANARY not in "\n".join([*found, caplog.text, out, err])


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
    assert end(backend, job).status is JobStatus.SUCCEEDED
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
