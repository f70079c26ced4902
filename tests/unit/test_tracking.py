"""MLflow holds what was told, once; without it the work goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retune import tracking
from retune.artifacts import digest_of
from retune.errors import SetupError
from retune.records import Artifact, Contender, Decision, EvalReport, JobStatus, Model, Release, Verdict
from retune.tracking import KEY_TAG, Tracking
from tests.tuning import NOW, Bench, make_bench

POINTS = [
    (10, 1.0, {"loss": 2.0, "learning_rate": 0.1}),
    (20, 2.0, {"loss": 1.0}),
    (20, 2.1, {"eval_loss": 1.5}),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = make_bench(tmp_path_factory.mktemp("project"))
    bench = replace(bench, settings=replace(bench.settings, mlflow_page="https://mlflow.example/"))
    tracking.initialise(bench.settings)
    tracking.initialise(bench.settings)
    return bench


@pytest.fixture
def lines() -> list[str]:
    return []


def client(bench: Bench) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(bench.settings.mlflow_uri, bench.settings.mlflow_uri)


def model(bench: Bench) -> Model:
    return Model(
        spec_digest=digest_of(b"spec"),
        kind="adapter",
        digest=digest_of(b"adapter"),
        uri="file:///artifacts/ad",
        base_model="base",
        base_digest=digest_of(b"base"),
        job_key="k",
        recipe_index=0,
        seconds=12.0,
    )


def test_a_run_has_its_parameters_curves_and_page_and_is_adopted_by_key(
    bench: Bench, lines: list[str]
) -> None:
    recipe, dataset = bench.recipe(), bench.dataset()
    first = Tracking(bench.settings, lines.append).run("tiny", "key-1", recipe, dataset)
    first.log(POINTS[:2])
    second = Tracking(bench.settings, lines.append).run("tiny", "key-1", recipe, dataset)
    second.log(POINTS)
    second.log(POINTS)
    second.finish(JobStatus.SUCCEEDED, model(bench))
    assert lines == []
    mlflow = client(bench)
    experiment = mlflow.get_experiment_by_name("tiny")
    (run,) = mlflow.search_runs([experiment.experiment_id])
    assert (
        second.url
        == f"https://mlflow.example/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    )
    assert run.info.status == "FINISHED"
    assert run.data.params["lora.r"] == "4" and run.data.params["dataset"] == dataset.digest
    assert run.data.tags[KEY_TAG] == "key-1" and run.data.tags["digest"] == digest_of(b"adapter")
    curve = [(m.step, m.value) for m in mlflow.get_metric_history(run.info.run_id, "loss")]
    assert curve == [(10, 2.0), (20, 1.0)]
    assert Path(bench.settings.home / "mlruns").as_uri() in experiment.artifact_location


@pytest.mark.parametrize(("status", "said"), [(JobStatus.FAILED, "FAILED"), (JobStatus.CANCELLED, "KILLED")])
def test_a_job_that_brought_nothing_is_closed_as_such(
    bench: Bench, lines: list[str], status: JobStatus, said: str
) -> None:
    run = Tracking(bench.settings, lines.append).run("broken", status.value, bench.recipe(), bench.dataset())
    run.finish(status, None)
    mlflow = client(bench)
    experiment = mlflow.get_experiment_by_name("broken").experiment_id
    (found,) = mlflow.search_runs([experiment], filter_string=f"tags.`{KEY_TAG}` = '{status.value}'")
    assert found.info.status == said and lines == []


def release(bench: Bench, number: int) -> Release:
    contender = Contender(spec_digest="s", name="candidate", model_name="m", model_digest="d")
    report = EvalReport(
        spec_digest="s",
        contender=contender,
        set_name="held_out",
        set_digest="d",
        metrics={},
        outcomes=Artifact(digest="d", uri="u", size=1),
        n=1,
        failed=0,
        latency_p50_s=0.1,
        latency_p95_s=0.1,
        seconds=1.0,
    )
    decision = Decision(
        spec_digest="s",
        verdict=Verdict.PROMOTE,
        reason="better than base",
        checks=(),
        candidate=contender,
        reports={"candidate": report},
        dataset_digest=digest_of(b"data"),
    )
    return Release(
        spec_digest="s",
        pipeline="tiny",
        number=number,
        model=model(bench),
        dataset_digest=digest_of(b"data"),
        decision=decision,
        dag_run_id="manual",
        created_at=NOW,
    )


def test_releases_are_mirrored_once_and_live_follows_the_route(bench: Bench, lines: list[str]) -> None:
    mirror = Tracking(bench.settings, lines.append).mirror
    for number in (1, 2, 1):  # 2 went live, and was rolled back
        mirror(release(bench, number))
    assert lines == []
    mlflow = client(bench)
    versions = mlflow.search_model_versions("name = 'tiny'")
    assert sorted(version.tags["release"] for version in versions) == ["1", "2"]
    live = mlflow.get_model_version_by_alias("tiny", tracking.LIVE)
    assert (live.tags["release"], live.source) == ("1", "file:///artifacts/ad")
    assert live.tags["digest"] == digest_of(b"adapter") and live.description == "better than base"


def test_a_dead_server_is_said_loudly_and_stops_nothing(bench: Bench, lines: list[str]) -> None:
    dead = Tracking(replace(bench.settings, mlflow_uri="http://127.0.0.1:1"), lines.append)
    run = dead.run("tiny", "key-2", bench.recipe(), bench.dataset())
    run.log(POINTS)
    run.finish(JobStatus.SUCCEEDED, model(bench))
    dead.mirror(release(bench, 3))
    assert run.url == ""
    assert [line.split(":")[1].strip() for line in lines] == [
        "MLflow could not start the run",
        "MLflow could not mirror release 3 of tiny",
    ]


def test_a_store_that_is_no_store_stops_set_up(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_text("no database" * 100)
    with pytest.raises(SetupError, match="cannot be opened"):
        tracking.initialise(replace(bench.settings, mlflow_uri=f"sqlite:///{tmp_path / 'broken.db'}"))


def test_no_password_is_said(bench: Bench, lines: list[str]) -> None:
    # A database that is only not there would be tried for 100 s by MLflow.
    uri = "nosuch+driver://me:s3c@ret@host/x"
    with pytest.raises(SetupError, match=r"://me:\*\*\*@") as caught:
        tracking.initialise(replace(bench.settings, mlflow_uri=uri))
    assert "s3c" not in str(caught.value)
    server = replace(bench.settings, mlflow_uri="http://me:s3cret@127.0.0.1:1")
    Tracking(server, lines.append).run("tiny", "key-2", bench.recipe(), bench.dataset())
    assert len(lines) == 1 and "s3cret" not in lines[0]


def test_what_holds_no_password_is_left_as_it_is() -> None:
    for text in ("sqlite:////a/b.db", "http://[::1]:5000", "me@host: no"):
        assert tracking.without_passwords(text) == text
