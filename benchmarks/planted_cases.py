"""Does the gate say the right thing of runs in which something is wrong, and is planted?

    python -m benchmarks.planted_cases

Each case is a run of the evaluation: real calls to a server whose models answer by a function, real
artifacts, the real gate. `first_release` is promoted; every other one differs from it by the fault that is
planted, or has a run without it beside, so that nothing else can be why it ends as it does. A case that
ends otherwise than it should makes the command fail.
"""

from __future__ import annotations

import math
import platform
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import planted_faults as faults
from benchmarks.figures import Line, tell
from benchmarks.planted_stage import (
    BASE,
    HELD_OUT,
    TRAIN,
    VALIDATION,
    Answering,
    Run,
    Stage,
    knows,
    plan_of,
    queues,
    rows,
    silent,
    spec,
    staged,
    wrong,
)
from retune.advice import readiness
from retune.advice.curve_plan import cut
from retune.advice.diagnosis import ASKED, Peer, diagnose_model
from retune.errors import EndpointError
from retune.evaluation.contenders import base_of, contender_of, prompted
from retune.evaluation.judging.judge import hear_judge
from retune.evaluation.judging.votes import Votes, with_votes
from retune.evaluation.outcomes import read_outcomes
from retune.evaluation.parity import check_parity, recorded
from retune.records import Dataset, Model, Verdict
from retune.records.advice import Finding
from retune.spec import PipelineSpec
from retune.state import held_out
from retune.state.database import Database
from retune.text.conversations import conversation

RESULTS = Path(__file__).parent / "results" / "planted_cases.json"
GOOD, WEAK = 0.97, 0.7
"""Share of the questions that an ordinary candidate, and the base model, is right on."""
JUDGED = rows()[TRAIN + VALIDATION :][:HELD_OUT]


@dataclass(frozen=True)
class Ending:
    """How a case ended."""

    came: str
    wishes: Mapping[str, bool]
    """What should have come -> whether it did."""

    @property
    def unmet(self) -> list[str]:
        """What should have come and did not."""
        return [wish for wish, holds in self.wishes.items() if not holds]


@dataclass(frozen=True)
class Case:
    """A run with a fault."""

    name: str
    expected: str
    play: Callable[[Stage], Ending]

    def played(self) -> Ending:
        """Play it on a stage of its own."""
        with staged() as stage:
            return self.play(stage)


def ends_in(run: Run, verdict: Verdict, *words: str) -> dict[str, bool]:
    """The wish that a run ends in a verdict whose reason has these words."""
    decision = run.decision
    holds = decision.verdict is verdict and all(word in decision.reason for word in words)
    return {f"{verdict.value} that says {' and '.join(map(repr, words))}": holds}


def promoted(run: Run) -> bool:
    return run.decision.verdict is Verdict.PROMOTE


def first_release(stage: Stage) -> Ending:
    run = stage.run(spec(), stage.serve("candidate", knows(GOOD, "candidate")))
    wishes = ends_in(run, Verdict.PROMOTE, "Candidate against base", "shown to gain more than 5.0")
    wishes["nothing is held against a champion"] = not any(
        "champion" in check.name for check in run.decision.checks
    )
    return Ending(run.said, wishes)


def memorised(stage: Stage) -> Ending:
    rules, dataset, wishes, said = spec(), stage.dataset(), dict[str, bool](), []
    for share in (WEAK - 0.05, WEAK, WEAK + 0.03):
        name = f"by heart, and {share:.0%} elsewhere"
        model = stage.serve(name, by_heart(knows(share, name)))
        run, found = stage.run(rules, model, dataset), diagnosed(stage, model, rules, dataset)
        wishes[f"{name}: not promoted"] = not promoted(run)
        wishes[f"{name}: named by the diagnosis"] = [one.what for one in found] == ["memorised"]
        said.append(f"{run.decision.verdict.value}, {' '.join(one.sentence for one in found)}")
    return Ending("; ".join(said), wishes)


def by_heart(elsewhere: Answering) -> Answering:
    """A model that is right on all that it was trained on."""
    learned = {row.prompt for row in rows()[:TRAIN]}
    return lambda question, shown: queues()[question] if question in learned else elsewhere(question, shown)


def diagnosed(stage: Stage, model: Model, rules: PipelineSpec, dataset: Dataset) -> tuple[Finding, ...]:
    """What is said of a model after its training, by what it answers to rows that it was trained on."""
    contender = contender_of("candidate", model, rules)
    [part] = cut(dataset, (ASKED,), stage.artifacts)
    train = stage.ask(contender, rules, dataset, "train", part.dataset.train)
    validation = stage.ask(contender, rules, dataset, "validation")
    scores = {one.id: one.scores["accuracy"] for one in read_outcomes(validation, stage.artifacts)}
    values = train.metrics["accuracy"], validation.metrics["accuracy"]
    return diagnose_model(rules, *values, (), Peer("recipe 1", BASE, scores, {}), ())


def broken_slice(stage: Stage) -> Ending:
    good, bad = knows(GOOD, "candidate"), knows(0.3, "candidate")
    model = stage.serve(
        "candidate", lambda question, shown: (bad if plan_of(question) == "gold" else good)(question, shown)
    )
    run = stage.run(spec(), model)
    claim, guard = run.check("beats base"), run.check("slices by plan")
    wishes = ends_in(run, Verdict.REJECT, "plan = gold", "shown to lose")
    wishes["on average it is shown to be better"] = claim.verdict is Verdict.PROMOTE
    wishes["the guard on slices is what rejects"] = guard.verdict is Verdict.REJECT
    return Ending(f"{run.said} {claim.sentence}", wishes)


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


def equal_models(stage: Stage) -> Ending:
    rules = spec({"beats": {"base": 0.0}})
    champion = stage.serve("champion", knows(GOOD, "champion"))
    to_beat = spec({"beats": {"base": 0.0, "champion": 0.0}})
    equal = stage.serve("equal", knows(GOOD, "equal"))
    runs = {
        "as good as base": stage.run(rules, stage.serve("as good", knows(WEAK, "as good"))),
        "base's own answers": stage.run(rules, stage.serve("same", knows(WEAK, BASE))),
        "as good as the champion, which it shall beat": stage.run(to_beat, equal, champion=champion),
        "the champion itself": stage.run(rules, champion, champion=champion),
    }
    wishes = {f"{name}: not promoted": not promoted(run) for name, run in runs.items()}
    itself = runs["the champion itself"]
    wishes |= ends_in(itself, Verdict.INCONCLUSIVE, "the very model that serves already")
    return Ending("; ".join(f"{name}: {run.decision.verdict.value}" for name, run in runs.items()), wishes)


def few_examples(stage: Stage) -> Ending:
    stage.base(knows(0.3, BASE))
    run = stage.run(spec(), stage.serve("candidate", knows(1.0, "candidate")), stage.dataset(JUDGED[:30]))
    wishes = ends_in(run, Verdict.INCONCLUSIVE, "30 examples, fewer than the 50")
    wishes["by the claim alone it would be promoted"] = run.check("beats base").verdict is Verdict.PROMOTE
    return Ending(run.said, wishes)


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


def prompt_is_enough(stage: Stage) -> Ending:
    bare, prompting = knows(WEAK, BASE), knows(GOOD, "with examples")
    stage.base(lambda question, shown: (prompting if shown else bare)(question, shown))
    rules = spec(
        {"beats": {"base": 0.05, "few_shot": 0.0}},
        evaluation={"endpoint": "vllm", "baselines": ["base", "few_shot"]},
        advice={"target": 0.9},
    )
    model, dataset = stage.serve("candidate", knows(GOOD, "candidate")), stage.dataset()
    base = base_of(model, rules)
    asked = (base, prompted(base, "few_shot", "few_shot"))
    reports = {one.name: stage.ask(one, rules, dataset, "validation") for one in asked}
    outcomes = {name: read_outcomes(report, stage.artifacts) for name, report in reports.items()}
    advice = readiness.advise(rules, dataset, {}, reports, outcomes)
    run = stage.run(rules, model, dataset)
    verdict, said = run.decision.verdict, run.decision.advice
    wishes = {
        "before the training it is advised": advice.verdict == "prompt_is_enough",
        "not promoted": not promoted(run),
        "the gate advises it": "A better prompt is enough: ship few_shot" in said,
        "over base alone it would be promoted": run.check("beats base").verdict is Verdict.PROMOTE,
    }
    return Ending(f"before the training {advice.verdict}, after it {verdict.value}: {said}", wishes)


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


CASES = (
    Case("the champion absent (first release)", "PROMOTE", first_release),
    Case("a tuned model that only memorised", "never PROMOTE, and the diagnosis names it", memorised),
    Case("better on average, worse on one slice", "REJECT that names the slice", broken_slice),
    Case("leaked held-out rows", "INCONCLUSIVE that says so", leaked),
    Case("a judge fooled by ':'", "its votes do not count, and REJECT", fooled_judge),
    Case("a metric missing", "INCONCLUSIVE that says so", metric_missing),
    Case("NaN", "INCONCLUSIVE that says so", not_a_number),
    Case("equal models", "not PROMOTE", equal_models),
    Case("30 examples only", "INCONCLUSIVE that says how many it takes", few_examples),
    Case("a template mismatch", "an error that names the template and the token", template_mismatch),
    Case("a prompt that is enough", "not PROMOTE, and the advice is to ship it", prompt_is_enough),
    Case("a held-out set used too often", "INCONCLUSIVE that asks for fresh rows", worn_out),
)


def report_on(cases: Sequence[Case], file: Path) -> None:
    """Play cases and tell how each ended; exit with 1 where one ended otherwise than it should."""
    begun, found, lines = time.monotonic(), {}, list[Line]()
    for case in cases:
        start = time.monotonic()
        try:
            ending = case.played()
        except Exception as error:  # one that breaks down must not hide how the others end
            ending = Ending(f"{type(error).__name__}: {error}", {"an ending": False})
        found[case.name] = {
            "expected": case.expected,
            "came": ending.came,
            "wishes": list(ending.wishes),
            "unmet": ending.unmet,
            "seconds": round(time.monotonic() - start, 1),
        }
        came = textwrap.shorten(ending.came, 120, placeholder=" ...")
        told = f"{case.expected}; came: {came}" + "".join(f"; not so: {wish}" for wish in ending.unmet)
        lines.append(("must", f"{case.name}, unmet", len(ending.unmet), lambda unmet: unmet == 0, told))
    results = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
        "cases": found,
        "seconds": round(time.monotonic() - begun, 1),
    }
    tell(results, lines, file)


if __name__ == "__main__":
    report_on(CASES, RESULTS)
