"""Cases in which a model is not what its average says: learned by heart, broken on a slice, no better."""

from __future__ import annotations

from benchmarks.planted_endings import GOOD, JUDGED, WEAK, Ending, ends_in, promoted
from benchmarks.planted_stage import BASE, TRAIN, Answering, Stage, knows, plan_of, queues, rows, spec
from retune.advice import readiness
from retune.advice.curve_plan import cut
from retune.advice.diagnosis import ASKED, Peer, diagnose_model
from retune.evaluation.contenders import base_of, contender_of, prompted
from retune.evaluation.outcomes import read_outcomes
from retune.records import Dataset, Model, Verdict
from retune.records.advice import Finding
from retune.spec import PipelineSpec


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
