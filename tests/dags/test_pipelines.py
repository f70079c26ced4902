"""Every spec becomes its DAGs; a broken one says so and harms no other."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from retune.airflow.configuration import AirflowConnections
from retune.airflow.pipelines import find_pipeline, find_pipelines
from retune.errors import SetupError, SpecError
from retune.evaluation.ready import check_connections
from tests.dags.conftest import SPEC, House, dag_bag, states

STORY = [
    "freeze_spec",
    "prepare_data",
    "resolve_recipes",
    "estimate_costs",
    "advise",
    "approve_cost",
    "fine_tune",
    "choose_candidate",
    "evaluate",
    "decide",
    "approve_release",
    "release_winner",
]
BANNED = "great_expectations evidently torch transformers mlflow openai google.genai pandas sklearn"
_PARSE = """
import runpy, sys
runpy.run_path(sys.argv[1])
print([name for name in sys.argv[2].split() if name in sys.modules])
"""


def line(dag: object) -> list[str]:
    """Return a DAG's tasks where each leads to the next, and else only to who maps over what it returns."""
    tasks = dag.topological_sort()  # type: ignore[attr-defined]
    for before, after in zip(tasks, [*tasks[1:], None], strict=True):
        mapped = {task.task_id for task in tasks if task.is_mapped and before in task.upstream_list}
        assert before.downstream_task_ids - mapped == ({after.task_id} if after else set()) - mapped
    return [task.task_id for task in tasks]


def test_a_spec_becomes_three_dags_that_read_as_a_story(house: House) -> None:
    bag = dag_bag()
    assert bag.import_errors == {}
    tune, deploy, watch = (bag.dags[f"{house.pipeline}.{verb}"] for verb in ("tune", "deploy", "watch"))
    assert line(tune) == STORY
    assert line(deploy) == ["plan_rollout", "load_everywhere", "route_traffic", "verify"]
    assert line(watch) == ["check_drift", "raise_drift"]
    for dag in (tune, deploy, watch):
        assert dag.max_active_runs == 1 and not dag.catchup
        assert dag.tags == {"retune", house.pipeline}
        assert all(task.owner == "support-ml" for task in dag.tasks)
        for task in dag.tasks:
            assert f"`{task.task_id}`" in dag.doc_md


def test_recipes_on_ones_own_gpus_and_hosted_ones_have_tasks_of_their_own(house: House) -> None:
    recipe = "  - {backend: openai, base_model: gpt-4.1-mini-2025-04-14}\nevaluation:"
    house.file.write_text(house.file.read_text().replace("evaluation:", recipe, 1))
    bag = dag_bag()
    assert bag.import_errors == {}
    dag = bag.dags[f"{house.pipeline}.tune"]
    for kind, pool in (("", "retune_gpu"), ("_hosted", None)):
        tune = dag.get_task(f"fine_tune{kind}")
        assert tune.partial_kwargs.get("pool") == pool
        assert f"resolve{kind}_recipes" in tune.upstream_task_ids
        assert f"`{tune.task_id}`" in dag.doc_md
        assert tune.downstream_task_ids == {"choose_candidate"}
    assert set(dag.task_ids) > set(STORY)


def test_tune_runs_on_its_cron_and_on_either_event(house: House) -> None:
    dag = house.dag("tune")
    assert dag.timetable.timetable.expression == "0 3 * * 1"
    assert str(dag.timetable.timetable.timezone) == "Europe/Berlin"
    wakes = dag.timetable.asset_condition
    assert type(wakes).__name__ == "AssetAny"
    assert {asset.uri for asset in wakes.objects} == {
        f"retune://{house.pipeline}/data",
        f"retune://{house.pipeline}/drift",
    }
    fine_tune = dag.get_task("fine_tune")
    assert fine_tune.partial_kwargs["pool"] == "retune_gpu"
    assert fine_tune.partial_kwargs["retries"] == 2
    assert [asset.uri for asset in dag.get_task("release_winner").outlets] == [
        f"retune://{house.pipeline}/release"
    ]


def test_parsing_loads_nothing_heavy(house: House) -> None:
    file = dag_bag().dags[f"{house.pipeline}.tune"].fileloc
    found = subprocess.run(
        [sys.executable, "-c", _PARSE, file, BANNED], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_broken_spec_stops_at_its_first_task_and_others_go_on(house: House) -> None:
    broken = house.file.with_name("broken.yaml")
    broken.write_text(SPEC.format(name="broken").replace("owner:", "owned:").replace("0.4", "4"))
    bag = dag_bag()
    assert bag.import_errors == {}
    assert f"{house.pipeline}.tune" in bag.dags
    dag = bag.dags["broken.tune"]
    assert line(dag) == STORY
    assert f"{broken}:3: unknown key 'owned'" in dag.doc_md
    assert "broken" in dag.dag_display_name
    run = dag.test()
    assert states(run) == {"freeze_spec": "failed"} | dict.fromkeys(STORY[1:], "upstream_failed")
    with pytest.raises(SpecError) as caught:
        find_pipeline(house.project, "broken").require()
    assert [problem.line for problem in caught.value.problems] == [3, 10]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (("0 3 * * 1", "every monday"), "neither five cron fields"),
        (("Europe/Berlin", "Europe/Springfield"), "no time zone"),
        (("watch: {", "watch: {schedule: often, "), "neither five cron fields"),
        (("version: 1", "version: [1"), "not valid YAML"),
    ],
)
def test_what_airflow_cannot_read_is_the_specs_problem(
    house: House, edit: tuple[str, str], problem: str
) -> None:
    house.file.write_text(house.file.read_text().replace(*edit))
    bag = dag_bag()
    assert bag.import_errors == {}
    assert problem in bag.dags[f"{house.pipeline}.watch"].doc_md


def test_two_files_of_one_name_are_both_refused(house: House) -> None:
    house.file.with_name("a-copy.yaml").write_text(house.file.read_text())
    [found] = find_pipelines(house.project)
    assert found.spec is None and "one file a pipeline" in str(found.problems[0])
    assert dag_bag().import_errors == {}


def test_a_deleted_spec_is_said(house: House) -> None:
    with pytest.raises(SpecError, match="no file in"):
        find_pipeline(house.project, "gone")


def test_a_run_that_could_ask_nobody_stops_before_it_trains(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = "judge: {connection: a_judge, model: m, rubric: Take the right one., labelled: pairs.jsonl}"
    rag = "rag: {embeddings: an_embedder, embedding_model: e}"
    text = house.file.read_text()
    house.file.write_text(text.replace("{endpoint: vllm_test}", f"{{endpoint: vllm_test, {rag}, {judge}}}"))
    pair = {"prompt": "A or B?", "first": "A", "second": "B", "better": "first"}
    (house.project / "pairs.jsonl").write_text(f"{json.dumps(pair)}\n")
    monkeypatch.delenv("AIRFLOW_CONN_VLLM_TEST")
    run = house.run("tune")
    found = states(run)
    assert found.pop("freeze_spec") == "failed"
    assert set(found.values()) == {"upstream_failed"}
    with pytest.raises(SetupError) as caught:
        check_connections(house.spec, AirflowConnections())
    missing = [f"there is no Airflow connection '{name}'" for name in ("vllm_test", "an_embedder")]
    # A judge may be an endpoint or a service.
    assert [problem.what for problem in caught.value.problems] == [
        *missing,
        *["there is no Airflow connection 'a_judge'"] * 2,
    ]
    monkeypatch.setenv("AIRFLOW_CONN_VLLM_TEST", house.stub.url)
    monkeypatch.setenv("AIRFLOW_CONN_AN_EMBEDDER", house.stub.url)
    monkeypatch.setenv("AIRFLOW_CONN_A_JUDGE", json.dumps({"conn_type": "openai", "password": "key"}))
    check_connections(house.spec, AirflowConnections())
