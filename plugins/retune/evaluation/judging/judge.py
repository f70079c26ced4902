"""Asks a model which of two answers is better, after seeing whether it can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from retune.artifacts import Artifacts
from retune.errors import DataError, SpecError
from retune.evaluation.judging.bench import Bench, Trial
from retune.evaluation.judging.pairs import Pair, alike, read_labelled, score_of
from retune.evaluation.judging.votes import JUDGE, Votes, in_words, mean_vote, store_votes
from retune.records import Outcome
from retune.settings import Connections, Settings
from retune.spec import PipelineSpec

_MOST_UNHEARD = 0.1
"""Share of the pairs that were asked which may have no verdict: they are not missing by chance."""


def hear_judge(
    candidate: Sequence[Outcome],
    rival: Sequence[Outcome],
    rival_name: str,
    *,
    spec: PipelineSpec,
    connections: Connections,
    settings: Settings,
    artifacts: Artifacts,
    report: Callable[[str], None] = print,
) -> Votes:
    """Let the spec's judge compare the candidate's answers with its rival's.

    It is tried first, and asked no further where its votes would not count. It sees what the people saw
    whose verdicts it is held against: the question and both answers, not the expected one. Same answers
    tie unasked; a call of the candidate's that failed is a vote against it, one of the rival's a tie.

    Args:
        candidate: Its held-out outcomes.
        rival: Another contender's of the same examples.
        rival_name: What that is called.
        spec: The frozen spec; it has `evaluation.judge`.
        connections: Where addresses and credentials come from.
        settings: Where answers are kept, prices and the judged pairs are found.
        artifacts: Takes the votes.
        report: Takes progress lines.

    Raises:
        DataError: The judged pairs cannot be used, or the two were not asked the same examples.
        EndpointError: The judge cannot be reached, is not served, or stopped answering.
        SetupError: Its connection says too little, or answers cannot be kept.
        SpecError: The spec names no judge, or the project's price list cannot be used.
    """
    judge = spec.evaluation.judge
    if judge is None:
        raise SpecError("the spec names no judge", "give evaluation.judge")
    if not candidate or {one.id for one in candidate} != {one.id for one in rival}:
        raise DataError(f"candidate and {rival_name} were not asked the same examples", "evaluate both again")
    labelled = read_labelled(settings.resolve(judge.labelled))
    bench = Bench(spec, judge, connections=connections, settings=settings, report=report)
    trial = bench.tried(labelled, spec.seed, spec.gate.confidence)
    objections = trial.objections(judge.min_agreement)
    if objections:
        return _no_votes(objections, trial, bench, rival_name)
    votes, asked, unheard = _votes(candidate, {one.id: one for one in rival}, bench)
    if unheard > _MOST_UNHEARD * asked:
        objections = [f"no verdict on {unheard} of {asked} examples"]
        return _no_votes(objections, trial, bench, rival_name)
    value = mean_vote(votes, candidate, spec.gate.confidence, spec.seed)
    counts = Counter(votes.values())
    return Votes(
        spec_digest=spec.digest,
        source=JUDGE,
        rival=rival_name,
        counts=True,
        sentence=(
            f"{judge.model} finds the candidate better than {rival_name} on {counts[1.0]}, worse on"
            f" {counts[0.0]} and neither on {counts[0.5]} of {len(votes)} examples: mean vote"
            f" {in_words(value)}, where 0.5 is even. {_earned(trial)}"
        ),
        value=value,
        figures={**trial.figures, **_spent(bench), "without_verdict": unheard},
        votes=store_votes(votes, artifacts),
    )


def _votes(
    candidate: Sequence[Outcome], rival: Mapping[str, Outcome], bench: Bench
) -> tuple[dict[str, float], int, int]:
    """Return example's id -> vote, how many the judge was asked about, and on how many it said nothing."""
    votes: dict[str, float] = {}
    asked: list[tuple[str, Pair]] = []
    for mine in candidate:
        theirs = rival[mine.id]
        if mine.error:
            votes[mine.id] = 0.0
        elif theirs.error or alike(mine, theirs):
            votes[mine.id] = 0.5
        else:
            asked.append((mine.id, Pair(mine.prompt, mine.answer, theirs.answer)))
    said = bench.verdicts([pair for _, pair in asked])
    votes |= {name: score_of(better) for (name, _), better in zip(asked, said, strict=True) if better}
    return votes, len(asked), said.count(None)


def _no_votes(objections: list[str], trial: Trial, bench: Bench, rival: str) -> Votes:
    unread = f"; {bench.unread} of {bench.calls} replies held no verdict" if bench.unread else ""
    return Votes(
        spec_digest=bench.spec.digest,
        source=JUDGE,
        rival=rival,
        counts=False,
        sentence=f"{bench.judge.model} does not count: {'; '.join(objections)}{unread}.",
        figures={**trial.figures, **_spent(bench)},
    )


def _earned(trial: Trial) -> str:
    seen = trial.agreement
    kappa = "" if seen.kappa is None else f", kappa {seen.kappa:.2f}"
    return (
        f"It counts, as it agrees with people on {seen.same} of {seen.n} pairs ({seen.share:.3f}"
        f" [{seen.low:.3f}, {seen.high:.3f}]{kappa}) and saw through"
        f" {trial.probes - trial.fooled.total()} of {trial.probes} answers that are none."
    )


def _spent(bench: Bench) -> dict[str, float]:
    spent = {"cost_usd": bench.cost_usd} if bench.cost_usd else {}
    return {"replies": bench.calls, "replies_without_verdict": bench.unread, **spent}
