"""Cases in which the evidence is not sound: leaked, fooled, missing, no number, or worn out."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from benchmarks import planted_faults as faults
from benchmarks.planted_endings import GOOD, JUDGED, Ending, ends_in, promoted
from benchmarks.planted_stage import HELD_OUT, Run, Stage, knows, queues, silent, spec, wrong
from retune.errors import EndpointError
from retune.evaluation.judging.judge import hear_judge
from retune.evaluation.judging.votes import Votes, with_votes
from retune.evaluation.parity import check_parity, recorded
from retune.records import Dataset, Model, Verdict
from retune.state import held_out
from retune.state.database import Database
from retune.text.conversations import conversation


def leaked(stage: Stage) -> Ending:
    # As leaks are: a space more, another answer, no system prompt.
    leaks = [conversation("", row.prompt.replace(" ", "  ", 1), wrong(row.prompt)) for row in JUDGED[:7]]
    model = stage.serve("candidate", knows(1.0, "candidate"))
    clean, run = stage.run(spec(), model), stage.run(spec(), model, stage.dataset(more=leaks))
    wishes = ends_in(run, Verdict.INCONCLUSIVE, f"7 of the {HELD_OUT} held-out", "on the training side")
    return Ending(run.said, wishes | {"without them it is promoted": promoted(clean)})


def fooled_judge(stage: Stage) -> Ending:
    faults.write_judged(stage.folder)
    model, dataset = stage.serve("candidate", lambda question, shown: ":"), stage.dataset(JUDGED[:60])
    run, votes = heard(stage, stage.serve("fair judge", faults.fair), model, dataset)
    wishes = ends_in(run, Verdict.REJECT, "shown not to gain")
    wishes["a judge that sees through it counts, and votes against the candidate"] = (
        "judge" in run.reports["candidate"].metrics
        and all("judge" in outcome.scores for outcome in run.outcomes["candidate"])
        and votes.value is not None
        and votes.value.high < 0.5
    )
    judge = stage.serve("weak judge", faults.weak)
    run, votes = heard(stage, judge, model, dataset)
    wishes["the votes of one that falls for it do not count"] = (
        not votes.counts
        and "judge" not in run.reports["candidate"].metrics
        and not any("judge" in outcome.scores for outcome in run.outcomes["candidate"])
    )
    wishes["it is said what fooled it"] = "fooled by" in votes.sentence and "':'" in votes.sentence
    wishes["the candidate is rejected all the same"] = run.decision.verdict is Verdict.REJECT
    return Ending(f"{votes.sentence.replace(judge.digest, 'The judge')} {run.said}", wishes)


def heard(stage: Stage, judge: Model, candidate: Model, dataset: Dataset) -> tuple[Run, Votes]:
    """A run whose judge was asked."""
    judging = {"connection": "judge", "model": judge.digest, "rubric": "The right queue is better."}
    rules = spec(evaluation={"endpoint": "vllm", "judge": {**judging, "labelled": "judged.jsonl"}})
    run = stage.run(rules, candidate, dataset)
    votes = hear_judge(
        run.outcomes["candidate"],
        run.outcomes["base"],
        "base",
        spec=rules,
        connections=stage.connections,
        settings=stage.settings,
        artifacts=stage.artifacts,
        report=silent,
    )
    report = run.reports["candidate"]
    reports = {
        **run.reports,
        "candidate": report.model_copy(update={"metrics": {**report.metrics, **votes.metrics}}),
    }
    scored = with_votes(run.outcomes["candidate"], votes, stage.artifacts)
    return stage.judge(rules, dataset, reports, {**run.outcomes, "candidate": scored}), votes


def silent_where_wrong(question: str, shown: int) -> str:
    """An ordinary candidate that says nothing where it would be wrong."""
    said = knows(GOOD, "candidate")(question, shown)
    return said if said == queues()[question] else ""


def metric_missing(stage: Stage) -> Ending:
    with faults.third_party(stage.folder):
        none = stage.run(spec({"metric": "told"}), stage.serve("none", lambda question, shown: ""))
        some = stage.run(spec({"metric": "told"}), stage.serve("some", silent_where_wrong))
    wishes = ends_in(none, Verdict.INCONCLUSIVE, "candidate has no value of told")
    wishes |= ends_in(some, Verdict.INCONCLUSIVE, "answers of candidate have no score of told")
    return Ending(f"{none.said}; {some.said}", wishes)


def not_a_number(stage: Stage) -> Ending:
    model, dataset = stage.serve("candidate", silent_where_wrong), stage.dataset()
    with faults.third_party(stage.folder):
        by_metric = stage.run(spec({"metric": "ratio"}), model, dataset)
    sound = stage.run(spec(), model, dataset)
    report, [first, *others] = sound.reports["candidate"], sound.outcomes["candidate"]
    # What somebody else than `evaluate` wrote into the records.
    value = report.metrics["accuracy"].model_copy(update={"value": math.nan})
    reports = {
        **sound.reports,
        "candidate": report.model_copy(update={"metrics": {"accuracy": value}}),
    }
    by_value = stage.judge(spec(), dataset, reports, sound.outcomes)
    broken = first.model_copy(update={"scores": {"accuracy": math.nan}})
    outcomes = {**sound.outcomes, "candidate": [broken, *others]}
    by_score = stage.judge(spec(), dataset, sound.reports, outcomes)
    wishes = ends_in(by_metric, Verdict.INCONCLUSIVE, "have no score of ratio from 0 to 1")
    wishes |= ends_in(by_value, Verdict.INCONCLUSIVE, "candidate has nan of accuracy")
    wishes |= ends_in(by_score, Verdict.INCONCLUSIVE, f"1 of the {HELD_OUT} answers of candidate")
    wishes["without any it is promoted"] = promoted(sound)
    return Ending("; ".join(run.said for run in (by_metric, by_value, by_score)), wishes)


def template_mismatch(stage: Stage) -> Ending:
    adapter, address = faults.load_adapter(stage), stage.connections.endpoint("vllm")
    record = recorded(adapter, stage.artifacts)
    faults.serve_tokens(stage, faults.trained_template)
    agreed = check_parity(record, address, adapter)
    faults.serve_tokens(stage, faults.other_template)
    try:
        refusal = f"no error: {check_parity(record, address, adapter)}"
    except EndpointError as error:
        refusal = str(error)
    template = f"another chat template than the trainer's ({faults.TEMPLATE})"
    token = "position 16: trainer '\\n' (id 10), server ' ' (id 32)"
    wishes = {
        "with the trainer's template they agree": "4 of 4 prompts have the trainer's" in agreed,
        "an EndpointError names the template": not refusal.startswith("no error") and template in refusal,
        "and the token": token in refusal,
    }
    return Ending(refusal, wishes)


def worn_out(stage: Stage) -> Ending:
    rules, dataset, now = spec(), stage.dataset(), datetime.now(UTC)
    digest, db = dataset.held_out.artifact.digest, Database(stage.settings.state_url)
    db.migrate()
    with db.write() as tx:
        for number in range(rules.gate.fresh_after + 1):
            for contender in ("base", "candidate"):
                held_out.use(tx, rules.pipeline, digest, f"run {number}", contender, now)
        uses = held_out.uses(tx, rules.pipeline, digest)
    db.engine.dispose()
    model = stage.serve("candidate", knows(GOOD, "candidate"))
    fresh, run = (stage.run(rules, model, dataset, uses=count) for count in (uses - 1, uses))
    wishes = ends_in(run, Verdict.INCONCLUSIVE, "use 21 of the held-out set", "Hold out fresh rows")
    return Ending(run.said, wishes | {"one use less promotes": promoted(fresh)})
