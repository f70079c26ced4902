"""The three DAGs of a pipeline.

A run of `tune` works by the spec that its first task froze, `deploy` by the spec that the release
was made under, `watch` by the file as it stands with the live release as the reference.

A broken file keeps its DAGs, so that a run under way ends by the spec that it froze; a new run stops
red at its first task, which names file and line.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TriggerRule,
    chain,
)

from retune.airflow import configuration, manuals, training_tasks
from retune.airflow.assets import data_asset, drift_asset, release_asset
from retune.airflow.fleet import cleanup_dag
from retune.airflow.missing_pools import TAG
from retune.airflow.operators.advise import Advise
from retune.airflow.operators.approval import ApproveRelease
from retune.airflow.operators.deploy import LoadEverywhere, PlanRollout, RouteTraffic, Verify
from retune.airflow.operators.evaluate import ChooseCandidate, Evaluate
from retune.airflow.operators.fine_tune import EstimateCosts
from retune.airflow.operators.judge import Decide, ReleaseWinner
from retune.airflow.operators.opinions import AskJudge
from retune.airflow.operators.review import CountReviews, PrepareReview, Review
from retune.airflow.operators.spending import ApproveCost
from retune.airflow.operators.tune import FreezeSpec, PrepareData, ResolveRecipes
from retune.airflow.operators.watch import CheckDrift, RaiseDrift
from retune.airflow.pipelines import Pipeline, find_pipelines
from retune.spec import Watch


def load_pipelines(module: MutableMapping[str, Any]) -> None:
    """Put the fleet's DAG and those of every pipeline of the project into a DAG file's globals."""
    fleet = cleanup_dag()
    module[fleet.dag_id] = fleet
    for pipeline in find_pipelines(configuration.settings().project):
        for dag in pipeline_dags(pipeline):
            module[dag.dag_id] = dag


def pipeline_dags(pipeline: Pipeline) -> list[DAG]:
    """Return the pipeline's `tune`, `deploy` and `watch` DAGs."""
    return [_tune(pipeline), _deploy(pipeline), _watch(pipeline)]


def _dag(pipeline: Pipeline, verb: str, **kwargs: Any) -> DAG:
    dag_id = f"{pipeline.name}.{verb}"
    return DAG(
        dag_id,
        dag_display_name=dag_id if pipeline.spec else f"{dag_id} (its spec is broken)",
        doc_md=manuals.page(pipeline, verb),
        tags={TAG, pipeline.name},
        default_args={"owner": pipeline.spec.owner if pipeline.spec else "retune"},
        catchup=False,
        max_active_runs=1,
        **kwargs,
    )


def _tune(pipeline: Pipeline) -> DAG:
    name = pipeline.name
    force = Param(False, type="boolean", description="Train anew what was trained before.")
    with _dag(pipeline, "tune", schedule=_tune_schedule(pipeline), params={"force": force}) as dag:
        freeze = FreezeSpec(task_id="freeze_spec", pipeline=name)
        spec = freeze.output
        prepare = PrepareData(task_id="prepare_data", pipeline=name, spec=spec)
        kinds = training_tasks.kinds(pipeline)
        resolve = [
            ResolveRecipes(task_id=f"resolve{kind}_recipes", pipeline=name, spec=spec, on_gpu_pool=not kind)
            for kind in kinds
        ]
        recipes = [one.output for one in resolve]
        estimate = EstimateCosts(
            task_id="estimate_costs",
            pipeline=name,
            spec=spec,
            dataset=prepare.output,
            recipes=recipes,
        )
        advise = Advise(
            task_id="advise",
            pipeline=name,
            spec=spec,
            dataset=prepare.output,
            recipes=recipes,
            costs=estimate.output,
        )
        approve = ApproveCost(task_id="approve_cost", pipeline=name, spec=spec, costs=estimate.output)
        tune = [
            training_tasks.fine_tune(kind, found, estimate.output, pipeline, spec, prepare.output)
            for kind, found in zip(kinds, recipes, strict=True)
        ]
        models = [one.output for one in tune]
        judge = _judge(pipeline, spec, prepare.output, recipes, models, advise.output)
        chain(freeze, prepare, resolve, estimate, advise, approve, tune, *judge)
    return dag


def _tune_schedule(pipeline: Pipeline) -> Any:
    events = data_asset(pipeline.name) | drift_asset(pipeline.name)
    if not pipeline.spec:
        return events
    at = pipeline.spec.schedule
    # By default, to unpause a DAG would start the training that the last date has missed.
    cron = CronTriggerTimetable(at.cron, timezone=at.timezone, run_immediately=timedelta())
    return AssetOrTimeSchedule(timetable=cron, assets=events)


def _judge(
    pipeline: Pipeline, spec: Any, dataset: Any, recipes: list[Any], models: list[Any], advice: Any
) -> list[Any]:
    """The second half of tuning: from trained models to a release."""
    name = pipeline.name
    choose = ChooseCandidate(
        task_id="choose_candidate",
        pipeline=name,
        spec=spec,
        dataset=dataset,
        models=models,
        # One recipe that fails does not stop the others.
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
    )
    evaluate = Evaluate.partial(
        task_id="evaluate",
        pipeline=name,
        spec=spec,
        dataset=dataset,
        map_index_template="{{ title }}",
        # One after the other: nobody's latency is measured under another's load.
        max_active_tis_per_dagrun=1,
    ).expand(entry=choose.output)
    curve = training_tasks.learning_curve(pipeline, spec, dataset, recipes, choose, evaluate)
    return [choose, evaluate, *_settle(pipeline, spec, dataset, choose, evaluate, advice, curve)]


def _settle(
    pipeline: Pipeline, spec: Any, dataset: Any, choose: Any, evaluate: Any, advice: Any, curve: Any
) -> list[Any]:
    """From answers to a release."""
    name, opinions = pipeline.name, _opinions(pipeline, spec, evaluate)
    decide = Decide(
        task_id="decide",
        pipeline=name,
        spec=spec,
        dataset=dataset,
        entries=choose.output,
        reports=evaluate.output,
        advice=advice,
        votes=[one.output for one in opinions],
        learning_curve=curve.output if curve else None,
    )
    decide.set_upstream([*opinions, *([curve] if curve else [])])
    approve = ApproveRelease(task_id="approve_release", pipeline=name, spec=spec, decision=decide.output)
    release = ReleaseWinner(
        task_id="release_winner",
        pipeline=name,
        dataset=dataset,
        entries=choose.output,
        decision=approve.output,
        outlets=[release_asset(name)],
    )
    return [decide, approve, release]


def _opinions(pipeline: Pipeline, spec: Any, evaluate: Any) -> list[Any]:
    """Who is asked beside the metrics, as the file says: a judge, and people."""
    name, found = pipeline.name, list[Any]()
    asked = pipeline.spec.evaluation if pipeline.spec else None
    if asked and asked.judge:
        judge = AskJudge(task_id="ask_judge", pipeline=name, spec=spec, reports=evaluate.output)
        chain(evaluate, judge)
        found.append(judge)
    if asked and asked.people:
        prepare = PrepareReview(task_id="prepare_review", pipeline=name, spec=spec, reports=evaluate.output)
        review = Review.partial(task_id="review", pipeline=name, map_index_template="{{ title }}").expand(
            sheet=prepare.output
        )
        count = CountReviews(
            task_id="count_reviews",
            pipeline=name,
            spec=spec,
            reports=evaluate.output,
            sheets=prepare.output,
            reviews=review.output,
            # Where there is nothing to compare, nobody is asked, and `review` is skipped.
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        chain(evaluate, prepare, review, count)
        found.append(count)
    return found


def _deploy(pipeline: Pipeline) -> DAG:
    name = pipeline.name
    with _dag(
        pipeline,
        "deploy",
        schedule=[release_asset(name)],
        params={"release": Param(None, type=["null", "integer"], description="Roll out this release again.")},
    ) as dag:
        plan = PlanRollout(task_id="plan_rollout", pipeline=name)
        release = plan.output
        load = LoadEverywhere(task_id="load_everywhere", pipeline=name, release=release)
        route = RouteTraffic(task_id="route_traffic", pipeline=name, release=release)
        verify = Verify(task_id="verify", pipeline=name, release=release, route=route.output)
        chain(plan, load, route, verify)
    return dag


def _watch(pipeline: Pipeline) -> DAG:
    name = pipeline.name
    watch = pipeline.spec.watch if pipeline.spec else Watch()
    with _dag(pipeline, "watch", schedule=watch.schedule) as dag:
        check = CheckDrift(task_id="check_drift", pipeline=name)
        wake = RaiseDrift(
            task_id="raise_drift",
            pipeline=name,
            checked=check.output,
            outlets=[drift_asset(name)],
            retries=2,
            retry_delay=timedelta(seconds=30),
        )
        chain(check, wake)
    return dag
