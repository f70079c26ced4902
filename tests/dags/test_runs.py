"""The tune DAG from end to end: real tasks, trainer and agent; a stub in vLLM's place."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseOperatorLink

from retune.airflow.links import DataCard, MLflowRun
from retune.records import JobStatus, Release
from retune.serving import rollout
from retune.state import (
    dataset_records,
    held_out,
    jobs,
    ledger,
    placements,
    releases,
)
from retune.text.conversations import read_conversations
from tests.dags.conftest import FirstRun, House, clueless, events, skilled, states
from tests.unit.serving.builders import stored_model


def now() -> datetime:
    return datetime.now(UTC)


def live(house: House) -> int | None:
    """Return the number of the release that the alias leads to."""
    with house.db.read() as tx:
        release = releases.live(tx, house.pipeline)
    return release.number if release else None


def all_releases(house: House) -> list[Release]:
    with house.db.read() as tx:
        return releases.list_all(tx, house.pipeline)


def job_folders(house: House) -> list[Path]:
    return sorted(path for path in house.settings.jobs.iterdir() if path.is_dir())


def make_live(house: House, release: Release) -> None:
    """Write the route to a release, as the deploy DAG does."""
    rollout.deploy(release, house.spec, db=house.db, now=now())


def shown(run: Any, task: str, link: BaseOperatorLink) -> str:
    """Return the address that a run's task keeps for its link."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(XComModel.value).where(
        XComModel.run_id == run.run_id,
        XComModel.dag_id == run.dag_id,
        XComModel.task_id == task,
        XComModel.key == link.xcom_key,
    )
    with create_session() as session:
        return str(session.scalars(query).one())


def another_release(house: House, tmp_path: Path) -> Release:
    """Release the same evidence with another model."""
    [first] = all_releases(house)
    model = stored_model(house.artifacts, tmp_path / "another")
    model = model.model_copy(update={"base_model": first.model.base_model})
    with house.db.write() as tx:
        return releases.create(
            tx,
            house.pipeline,
            first.spec_digest,
            model,
            first.dataset_digest,
            first.decision,
            "another run",
            now(),
        )


def test_the_dataset_shows_its_card_and_counts_who_saw_what_was_held_out(
    first_run: FirstRun, released: House
) -> None:
    with released.db.read() as tx:
        dataset = dataset_records.get(tx, all_releases(released)[0].dataset_digest)
        assert held_out.uses(tx, released.pipeline, dataset.held_out.artifact.digest) == 1
        known = held_out.known(tx, released.pipeline)
    assert dataset.card and shown(first_run.run, "prepare_data", DataCard()).endswith(dataset.card.digest)
    assert f"{released.pipeline}: the data" in released.artifacts.get_bytes(dataset.card.digest).decode()
    rows = read_conversations(released.artifacts.get_bytes(dataset.held_out.artifact.digest))
    assert {row.fingerprint for row in rows} == known.keys() and None not in known.values()


def test_a_candidate_that_earns_it_is_released_once(first_run: FirstRun, released: House) -> None:
    found = states(first_run.run)
    assert set(found.values()) == {"success"}
    assert [task for task in found if task.startswith(("fine_tune", "evaluate"))] == [
        "evaluate[0]",
        "evaluate[1]",
        "evaluate[2]",
        "fine_tune[0]",
    ]
    titles = {ti.rendered_map_index for ti in first_run.run.get_task_instances() if ti.map_index >= 0}
    assert titles == {"local tiny sft #1", "candidate, train", "base", "candidate"}
    assert first_run.events == [{"release": 1}]
    [release] = all_releases(released)
    assert (release.number, release.dag_run_id) == (1, first_run.run.run_id)
    assert release.report.metrics["accuracy"].value == 1.0
    with released.db.read() as tx:
        assert [entry.event for entry in ledger.entries(tx, released.pipeline)] == [
            "advised",
            "decided",
            "released",
        ]
        assert placements.wanted(tx, "vllm_test", now()) == []
    assert live(released) is None


def test_the_same_run_again_trains_nothing_and_releases_nothing(released: House) -> None:
    make_live(released, all_releases(released)[0])
    folders, before = job_folders(released), len(events(released.pipeline, "release"))
    released.start_agent()
    found = states(released.run("tune"))
    assert found.pop("release_winner") == "skipped"
    assert set(found.values()) == {"success"}
    assert job_folders(released) == folders
    assert len(all_releases(released)) == 1
    assert len(events(released.pipeline, "release")) == before


def test_a_release_whose_event_was_lost_is_announced_again_by_every_run(released: House) -> None:
    before = len(events(released.pipeline, "release"))
    released.start_agent()
    assert states(released.run("tune"))["release_winner"] == "success"
    released.stub.answer = clueless
    assert states(released.run("tune"))["release_winner"] == "success"
    assert events(released.pipeline, "release")[before:] == [{"release": 1}, {"release": 1}]
    assert len(all_releases(released)) == 1


def test_a_release_that_a_person_took_off_is_not_announced_again(released: House, tmp_path: Path) -> None:
    [first] = all_releases(released)
    second = another_release(released, tmp_path)
    # The newest release is the model that the next run makes, and it was rolled back.
    with released.db.write() as tx:
        third = releases.create(
            tx,
            released.pipeline,
            first.spec_digest,
            first.model,
            first.dataset_digest,
            first.decision,
            "a third run",
            now(),
        )
    for release in (second, third):
        make_live(released, release)
    rollout.rollback(released.pipeline, "a person", db=released.db, now=now())
    before = len(events(released.pipeline, "release"))
    released.start_agent()
    assert states(released.run("tune"))["release_winner"] == "skipped"
    assert len(events(released.pipeline, "release")) == before
    assert live(released) == 2


def test_a_candidate_that_does_not_earn_it_changes_nothing(released: House) -> None:
    make_live(released, all_releases(released)[0])
    released.stub.answer = clueless
    before = len(events(released.pipeline, "release"))
    released.start_agent()
    found = states(released.run("tune"))
    assert found["decide"] == "success"
    assert found["release_winner"] == "skipped"
    assert len(all_releases(released)) == 1
    assert len(events(released.pipeline, "release")) == before
    assert live(released) == 1


def test_recipes_compete_on_validation_and_one_that_fails_stops_no_other(released: House) -> None:
    [first] = all_releases(released)
    recipe = (
        "  - {backend: local, base_model: models/tiny, epochs: 1, max_length: 160, lora: {r: 4, alpha: 8}}\n"
    )
    better, broken = recipe.replace("epochs: 1", "epochs: 2"), recipe.replace("160", "16")
    released.file.write_text(released.file.read_text().replace(recipe, recipe + better + broken))
    released.stub.answer = lambda model, prompt: (
        clueless(model, prompt) if model == first.model.digest else skilled(model, prompt)
    )
    asked: dict[str, set[str]] = {}
    released.stub.on_body = lambda body: asked.setdefault(body["model"], set()).add(
        str(body.get("messages", [{}])[-1].get("content"))
    )
    released.start_agent()
    dag = released.dag("tune")
    dag.get_task("fine_tune").partial_kwargs["retries"] = 0
    found = states(dag.test())
    assert [found[f"fine_tune[{index}]"] for index in range(3)] == ["success", "success", "failed"]
    assert found["choose_candidate"] == found["release_winner"] == "success"
    second = all_releases(released)[-1]
    assert (second.number, second.model.recipe_index) == (2, 1)
    with released.db.read() as tx:
        dataset = dataset_records.get(tx, second.dataset_digest)
    sides = [
        {row.prompt for row in read_conversations(released.artifacts.get_bytes(side.artifact.digest))}
        for side in (dataset.validation, dataset.held_out)
    ]
    assert asked[second.model.digest] >= sides[0] | sides[1]
    assert not asked[first.model.digest] & sides[1], "only the chosen one meets the held-out set"


def test_another_base_model_is_refused_before_anything_is_trained(
    released: House, capfd: pytest.CaptureFixture[str]
) -> None:
    make_live(released, all_releases(released)[0])
    folders = job_folders(released)
    shutil.copytree(released.project / "models" / "tiny", released.project / "models" / "other")
    released.file.write_text(released.file.read_text().replace("models/tiny", "models/other"))
    found = states(released.run("tune"))
    assert (found["resolve_recipes"], found["decide"]) == ("failed", "upstream_failed")
    assert job_folders(released) == folders
    assert "put `base_model: models/tiny` back, or make a new pipeline" in capfd.readouterr().out


def test_no_recipe_that_succeeds_is_no_candidate(released: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETUNE_MLFLOW_PAGE", "http://mlflow.example.com")
    text = released.file.read_text()
    released.file.write_text(text.replace("max_length: 160", "max_length: 16"))
    dag = released.dag("tune")
    dag.get_task("fine_tune").partial_kwargs["retries"] = 0
    run = dag.test()
    found = states(run)
    assert found["fine_tune[0]"] == "failed"
    assert shown(run, "fine_tune", MLflowRun()).startswith("http://mlflow.example.com/#/experiments/")
    assert found["choose_candidate"] == "upstream_failed"
    assert len(all_releases(released)) == 1


def test_the_state_knows_the_one_job(released: House) -> None:
    [release] = all_releases(released)
    with released.db.read() as tx:
        row = jobs.get(tx, release.model.job_key)
    assert row is not None and row.status is JobStatus.SUCCEEDED
    assert [path.name for path in job_folders(released)] == [release.model.job_key]
