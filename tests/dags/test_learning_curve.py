"""The learning curve of a run: two trainings more, told beside the decision and never in its way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from airflow.sdk import TriggerRule

from retune.airflow.operators.learning_curve import LearnCurve, curve_from_json, laid, with_curve
from retune.errors import DataError, EndpointError
from retune.records import Dataset, Decision
from retune.state import artifacts_index, dataset_records, jobs, ledger, placements, spending, subjects
from retune.state.jobs import JobRow
from retune.state.subjects import subject_hash
from retune.text.conversations import read_conversations
from tests.dags.asking import returned
from tests.dags.conftest import House, queue_of, states
from tests.dags.test_hosted_recipes import RECIPE, Shop, shop  # noqa: F401
from tests.dags.test_runs import job_folders, now
from tests.unit.advice.builders import dataset, outcomes, report, right, spec
from tests.unit.evaluation.builders import model

OWN = ["cut_rows", "fine_tune_parts", "learning_curve"]


@pytest.fixture
def curved(released: House) -> House:
    """A pipeline with one trained recipe whose file asks for a learning curve since, and an agent."""
    released.start_agent()
    released.file.write_text(released.file.read_text() + "advice: {learning_curve: true}\n")
    return released


def tune(house: House) -> tuple[Any, dict[str, str]]:
    """Run the tune DAG without Airflow's retries; return the run and its tasks' states."""
    dag = house.dag("tune")
    for task in dag.tasks:
        if task.is_mapped:
            task.partial_kwargs["retries"] = 0
    run = dag.test()
    return run, states(run)


def taught(house: House, rows: int) -> Callable[[str, str], str]:
    """Answer as models do that know fewer queues the fewer rows they saw; `rows` is the whole."""

    def answer(model: str, prompt: str) -> str:
        saw = next((size for size, digest in sizes_of(house).items() if digest == model), 0)
        known = ["billing", "shipping", "technical"][: round(3 * saw / rows + 0.5)]
        return queue_of(prompt) if queue_of(prompt) in known else "no idea"

    return answer


def sizes_of(house: House) -> dict[int, str]:
    """Return rows that a model was trained on -> its digest."""
    return {rows_of(house, row): row.model.digest for row in job_rows(house) if row.model}


def job_rows(house: House) -> list[JobRow]:
    with house.db.read() as tx:
        return [row for row, _ in jobs.list_all(tx)]


def rows_of(house: House, row: JobRow) -> int:
    manifest = json.loads(house.artifacts.get_bytes(row.intent["dataset"]))
    return int(manifest["train"]["rows"])


def decision_of(run: Any) -> Decision:
    return Decision.from_json(returned(run, "decide"))


def figures_of(house: House, run: Any) -> dict[str, Any]:
    """Return the JSON of a run's report."""
    figures = decision_of(run).figures
    assert figures
    return dict(json.loads(house.artifacts.get_bytes(figures.digest)))


def test_a_curve_has_tasks_of_its_own_between_answers_and_decision(curved: House) -> None:
    dag = curved.dag("tune")
    assert [task.task_id for task in dag.topological_sort() if task.task_id in OWN] == OWN
    assert dag.get_task("cut_rows").upstream_task_ids == {"evaluate"}
    assert dag.get_task("fine_tune_parts").partial_kwargs["pool"] == "retune_gpu"
    assert dag.get_task("learning_curve").downstream_task_ids == {"decide"}
    assert dag.get_task("decide").upstream_task_ids == {"evaluate", "learning_curve"}
    # Whatever becomes of the curve, but never without the answers.
    assert dag.get_task("learning_curve").trigger_rule == TriggerRule.ALL_DONE
    assert dag.get_task("decide").trigger_rule == TriggerRule.ALL_SUCCESS
    assert all(f"`{task.task_id}`" in dag.doc_md for task in dag.tasks)


def test_a_run_that_ends_before_a_candidate_has_no_curve(house: House) -> None:
    house.file.write_text(house.file.read_text() + "advice: {learning_curve: true}\n")
    found = states(house.run("tune"))
    assert found["resolve_recipes"] == "failed", "the house has no base model"
    assert (found["learning_curve"], found["decide"]) == ("skipped", "upstream_failed")


def sides(house: House, dataset: Dataset) -> dict[str, set[str]]:
    """Return the ids of the rows on each side of a dataset."""
    return {
        name: {
            row.id
            for row in read_conversations(house.artifacts.get_bytes(getattr(dataset, name).artifact.digest))
        }
        for name in ("train", "validation", "held_out")
    }


def test_two_parts_are_trained_once_and_the_page_shows_the_curve(curved: House, shop: Shop) -> None:  # noqa: F811
    with curved.db.write() as tx:
        whole = dataset_records.latest(tx, curved.pipeline)
        assert whole
        ids = sides(curved, whole)
        about = [(subject_hash(row_id), row_id) for side in ids.values() for row_id in side]
        subjects.add_reached(tx, curved.pipeline, whole.digest, about)
    rows = whole.train.rows
    quarter, half = round(rows / 4), round(rows / 2)
    curved.stub.answer = taught(curved, rows)
    run, found = tune(curved)
    assert {found[f"fine_tune_parts[{place}]"] for place in (0, 1)} == {"success"}
    assert found["decide"] == found["learning_curve"] == "success"
    titles = {ti.rendered_map_index for ti in run.get_task_instances() if ti.task_id == "fine_tune_parts"}
    assert titles == {f"local tiny sft #1, {size} rows" for size in (quarter, half)}
    assert sorted(sizes_of(curved)) == [quarter, half, rows]
    curve = figures_of(curved, run)["beside"]["learning_curve"]
    assert [point[0] for point in curve["points"]] == [quarter, half, rows]
    scores = [point[1] for point in curve["points"]]
    assert scores[0] < scores[1] < scores[2] == 1.0
    assert [curve["predicted"][end][0] for end in (0, -1)] == [quarter, 2 * rows]
    assert curve["sentence"].startswith(f"With {2 * rows:,} rows instead of {rows:,} accuracy would be")
    page = decision_of(run).report
    assert page
    shown = curved.artifacts.get_bytes(page.digest).decode()
    assert "What more rows bring" in shown and f"With {2 * rows:,} rows instead of" in shown
    with curved.db.read() as tx:
        latest = dataset_records.latest(tx, curved.pipeline)
        assert placements.wanted(tx, "vllm_test", now()) == []
        assert [entry.event for entry in ledger.entries(tx, curved.pipeline)][-2:] == ["advised", "decided"]
        known = {row_id: subjects.reached(tx, subject_hash(row_id)) for _, row_id in about}
    assert latest and latest.digest == whole.digest, "a part is never what the pipeline is judged on"
    for job in job_rows(curved):
        part = (curved.pipeline, job.intent["dataset"])
        reached = {row_id for row_id, found in known.items() if part in found}
        if part[1] != whole.digest:
            # Whoever is forgotten is found by what a training of the part reads.
            assert ids["validation"] < reached < ids["validation"] | ids["train"]
            assert len(reached) == rows_of(curved, job) + len(ids["validation"])
            with curved.db.read() as tx:
                assert artifacts_index.find(tx, *part), "upkeep sees by it whether anything is left"

    # Another kind of recipe competes now, and does not win: it has no parts, and the others' stay.
    folders = job_folders(curved)
    shop.with_recipes(RECIPE)
    again, found = tune(curved)
    assert [found["cut_hosted_rows"], found["fine_tune_hosted_parts"]] == ["success", "skipped"]
    assert found["fine_tune_parts[1]"] == found["learning_curve"] == found["decide"] == "success"
    assert job_folders(curved) == folders and len(shop.emulator.jobs()) == 1
    assert figures_of(curved, again)["beside"]["learning_curve"] == curve


def test_a_part_that_fails_leaves_the_decision_standing(shop: Shop, curved: House) -> None:  # noqa: F811
    lines = curved.file.read_text().splitlines(keepends=True)
    curved.file.write_text("".join(line for line in lines if "backend: local" not in line))
    shop.with_recipes(RECIPE)
    fault = {"on": "POST /v1/fine_tuning/jobs", "skip": 1, "do": "fail_job", "error": {"message": "odd rows"}}
    shop.emulator.set_faults([fault])
    run, found = tune(curved)
    ends = {found[f"fine_tune_hosted_parts[{place}]"] for place in (0, 1)}
    assert ends == {"failed", "success"}
    assert found["learning_curve"] == found["decide"] == "success"
    missing = "There is no learning curve: 1 of 2 trainings on parts succeeded"
    beside = figures_of(curved, run)["beside"]
    assert beside["learning_curve"]["points"] == []
    assert any(sentence.startswith(missing) for sentence in beside["findings"])
    [cost] = returned(run, "estimate_costs")
    with curved.db.read() as tx:
        month = spending.spent(tx, curved.pipeline, now())
        paid = [row.model.cost_usd for row, _ in jobs.list_all(tx) if row.model and row.backend == "openai"]
    assert len(paid) == 2 and None not in paid
    found_price = re.search(r"and ([0-9.]+) USD for its learning curve", cost["basis"])
    assert found_price
    # Tokens of a quarter and of a half of the rows.
    assert float(found_price[1]) == pytest.approx(cost["usd"] * 0.75 / 1.75, rel=0.05)
    assert month.reserved == 0 and month.settled == pytest.approx(sum(paid))


def price(usd: float | None, basis: str = "tokens") -> dict[str, Any]:
    return {"title": "a recipe", "usd": usd, "basis": basis}


def test_the_dearest_curve_is_added_to_what_recipes_cost() -> None:
    costs = [price(4.0), price(0.0, "made its model before"), price(1.0)]
    quarters, halves = [price(1.0), price(2.0), price(0.25)], [price(2.0), price(3.0), price(0.5)]
    assert with_curve(costs, [quarters, halves]) == [
        price(4.0),
        price(5.0, "made its model before; and 5.00 USD for its learning curve"),
        price(1.0),
    ]
    paid = [price(0.0, "made its model before")] * 3
    assert with_curve(costs, [paid, paid]) == costs


def test_a_part_whose_price_nobody_knows_makes_the_recipes_unknown() -> None:
    unknown = price(None, "no price of gemma is known")
    found = with_curve([price(0.0), price(1.0)], [[unknown, price(0.25)], [unknown, price(0.5)]])
    assert found[0] == price(None, "tokens; its learning curve: no price of gemma is known")
    assert found[1]["usd"] == 1.75


def test_the_price_of_the_next_point_is_that_of_a_row_of_the_whole() -> None:
    judged = [
        (dataset(rows), report("candidate", outcomes(right(score, 1000))))
        for rows, score in ((250, 0.5), (500, 0.65), (1000, 0.755))
    ]
    dear, unpriced = (model().model_copy(update={"cost_usd": usd}) for usd in (10.0, None))
    curve = laid(judged, dear, spec())
    assert [point[:2] for point in curve.points] == [(250, 0.5), (500, 0.65), (1000, 0.755)]
    sizes = [row[0] for row in curve.predicted]
    assert sizes == sorted(set(sizes)) and (sizes[0], sizes[-1]) == (250, 2000)
    assert all(low <= score <= high for _, score, low, high in curve.predicted)
    assert "that training would cost about 20.00 USD." in curve.sentence
    assert curve_from_json(json.loads(json.dumps(asdict(curve)))) == curve
    assert "nobody knows what that training would cost" in laid(judged, unpriced, spec()).sentence


@pytest.mark.parametrize(
    ("wanted", "rows", "parts", "models", "said"),
    [
        (False, 100, 0, 0, "the spec that this run froze asks for none"),
        (True, 37, 0, 0, "37 rows to train on are too few to be cut"),
        (True, 100, 0, 0, "no parts were cut"),
        (True, 100, 2, 1, "1 of 2 trainings on parts succeeded"),
        # Airflow keeps what tasks returned that a clear has removed.
        (True, 100, 2, 4, "4 of 2 trainings on parts succeeded"),
    ],
)
def test_why_there_is_no_curve_is_said(wanted: bool, rows: int, parts: int, models: int, said: str) -> None:
    task = LearnCurve(
        task_id="learning_curve", pipeline="tickets", spec="", dataset={}, entries=[], cuts=[], models=[]
    )
    asked = spec(advice={"learning_curve": wanted})
    with pytest.raises(DataError, match=said):
        task._asked([dataset(25)] * parts, [model()] * models, asked, dataset(rows), "a run")


def test_no_curve_is_laid_through_scores_that_cannot_be_compared() -> None:
    whole, part = (report("candidate", outcomes(right(share))) for share in (0.9, 0.6))
    falling = whole.metrics["accuracy"].model_copy(update={"higher_is_better": False})
    turned = [one.model_copy(update={"metrics": {"accuracy": falling}}) for one in (part, part, whole)]
    sized = [dataset(size) for size in (25, 50, 100)]
    with pytest.raises(DataError, match="less accuracy is better"):
        laid(list(zip(sized, turned, strict=True)), model(), spec())
    silent = part.model_copy(update={"failed": part.n})
    with pytest.raises(EndpointError, match="calls failed"):
        laid(list(zip(sized, (silent, part, whole), strict=True)), model(), spec())
