"""`retune evaluate` and `retune compare`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from retune.evaluating.asked import Asked, asked_of
from retune.evaluating.asking import Request, interval, opened
from retune.evaluation.comparison import against, differences, groups_of
from retune.evaluation.evidence import Evidence
from retune.settings import Settings

__all__ = ["Asked", "Request", "asked_of", "compare_models", "evaluate_model", "sentence"]


def evaluate_model(asked: Asked, request: Request, settings: Settings, console: Console) -> None:
    """Ask one model and print how it did.

    Args:
        asked: The model.
        request: What it is asked.
        settings: This installation.
        console: Takes progress and figures.

    Raises:
        RetuneError: The spec, the rows, the state or the endpoint cannot be used.
    """
    with opened([asked], request, settings, console) as run:
        (report,) = run.ask(run.questions.split, latency=True)
        metric = run.spec.gate.metric
        value = report.metrics.get(metric)
        measured = f"{metric} {interval(value)}" if value else f"{metric} is missing"
        headline = (
            f"{report.contender.name}: {measured} on {report.n:,} examples, {report.failed:,} calls failed."
        )
        run.show(run.evidence([report], headline))


def compare_models(
    asked: Sequence[Asked], stop_early: bool, request: Request, settings: Settings, console: Console
) -> None:
    """Ask two models the same and print which is better.

    The test may be looked at after any number of examples (`retune.stats.sequential`), so asking may
    stop once it is settled. Each side has half of what may go wrong, as either may be the better.

    Args:
        asked: The two.
        stop_early: Whether to ask growing parts, in an order that the spec's seed decides, and to stop
            once it is settled.
        request: What they are asked.
        settings: This installation.
        console: Takes progress and figures.

    Raises:
        RetuneError: The spec, the rows, the state or an endpoint cannot be used.
    """
    with opened(asked, request, settings, console) as run:
        whole = run.questions.split
        parts = run.questions.beginnings(run.spec.seed) if stop_early else [whole]
        looks = 0
        for part in parts:
            looks += 1
            reports = run.ask(part)
            settled, verdict = sentence(run.evidence(reports))
            if settled:
                break
        if stop_early:
            saved, times = 2 * (whole.rows - part.rows), "look" if looks == 1 else "looks"
            verdict += f" After {looks} {times} {saved:,} of {2 * whole.rows:,} calls were saved."
        run.show(run.evidence(reports, verdict))


def sentence(evidence: Evidence) -> tuple[bool, str]:
    """Say which of two is better.

    Args:
        evidence: Of two contenders, with `two_sided`.

    Returns:
        Whether it is settled, and one plain sentence.
    """
    from retune.stats.power import needed

    first, second, metric = evidence.subject, evidence.rival, evidence.metric
    most = evidence.spec.gate.max_failed
    failed = [
        f"{one.failed:,} of {one.n:,} calls of {name}"
        for name, one in evidence.contenders
        if one.failed > most * one.n
    ]
    if failed:
        told = f"{' and '.join(failed)} failed; gate.max_failed allows a share of {most:g}"
        return False, f"Not settled: {told}."
    pairs = against(evidence, second)
    if not pairs:
        return False, f"Not settled: no example has a score of {metric} from both."
    (gain,) = differences(evidence)
    sure = f"{100 * evidence.spec.gate.confidence:g}%"
    told = (
        f"{first} against {second}: {100 * gain.value:+.1f} points of {metric} "
        f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] on {gain.n:,} examples, "
        f"{gain.won:,} won and {gain.lost:,} lost."
    )
    # A bound at zero is the e-process at what it must reach.
    if gain.low >= 0 or gain.high <= 0:
        return True, f"{first if gain.low >= 0 else second} is better, at {sure}. {told}"
    gains = [pair.gain for pair in pairs]
    more = needed(gains, 0.0, evidence.bound_confidence, groups_of(pairs))
    hint = f" {more:,} examples more would likely settle it." if more else ""
    return False, f"Not settled at {sure}. {told}{hint}"
