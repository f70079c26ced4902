"""One run of a command: asks models, and writes page and figures."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retune.artifacts import write_atomically
from retune.errors import SetupError
from retune.evaluating.asked import Asked, GivenConnections, check_places, contenders_of, drop_answers
from retune.evaluating.questions import AskedSet, Questions, known_state, note_use, open_questions
from retune.evaluation.comparison import differences
from retune.evaluation.evaluate import evaluate, read_outcomes
from retune.evaluation.evidence import Evidence
from retune.evaluation.prompting.base import Prompter
from retune.evaluation.report import render
from retune.evaluation.report_json import figures
from retune.records import Contender, EvalReport, MetricValue, Split
from retune.settings import Settings
from retune.spec import PipelineSpec, load_spec


@dataclass(frozen=True)
class Request:
    """What is asked, and where the result goes.

    Attributes:
        spec: The pipeline's YAML.
        rows: A file of rows; None: a side of the newest dataset.
        set_name: Which side.
        out: Folder for page and figures; None: one of its own under the home.
        resume: Whether answers of an earlier run count for models that are known by a name only.
        actor: Who asks, for the count of uses.
    """

    spec: Path
    rows: Path | None
    set_name: AskedSet
    out: Path | None
    resume: bool
    actor: str

    @classmethod
    def of(
        cls, spec: Path, rows: Path | None, side: str, out: Path | None, resume: bool, actor: str
    ) -> Request:
        """Return a request from the words of a command line; raises SetupError where the side is none."""
        if side not in ("held_out", "validation"):
            raise SetupError(f"--set {side!r} is none", "take held_out or validation")
        return cls(spec, rows, "held_out" if side == "held_out" else "validation", out, resume, actor)


@dataclass(frozen=True)
class Asking:
    """A run that may ask: its set is there, and its use is noted.

    Attributes:
        spec: The pipeline's.
        request: What is asked.
        questions: The set.
        contenders: Who answers, each with what makes its prompts.
        uses: Runs that have used the held-out set, this one counted; 0 where not counted.
        out: Folder for page and figures.
        settings: This installation.
        console: Takes progress and figures.
    """

    spec: PipelineSpec
    request: Request
    questions: Questions
    contenders: list[tuple[Contender, Prompter]]
    uses: int
    out: Path
    settings: Settings
    console: Console

    def ask(self, split: Split, *, latency: bool = False) -> list[EvalReport]:
        """Ask every contender a set; what was asked before in this run is not asked again.

        Args:
            split: The whole set, or a part.
            latency: Whether latency is measured by itself first.

        Raises:
            EndpointError: A contender cannot be reached, is not served, or stopped answering.
        """
        return [
            evaluate(
                contender,
                split,
                self.questions.set_name,
                spec=self.spec,
                labels=self.questions.labels,
                connections=GivenConnections(),
                artifacts=self.questions.artifacts,
                settings=self.settings,
                prompter=prompter,
                latency=latency,
                report=lambda line: say(self.console, line),
            )
            for contender, prompter in self.contenders
        ]

    def evidence(self, reports: Sequence[EvalReport], headline: str = "") -> Evidence:
        """Return what page and figures are made from.

        Args:
            reports: Of the contenders, the one that it is about first.
            headline: What came of it.
        """
        store = self.questions.artifacts
        return Evidence(
            spec=self.spec,
            reports={one.contender.name: one for one in reports},
            outcomes={one.contender.name: read_outcomes(one, store) for one in reports},
            subject=reports[0].contender.name,
            labels=self.questions.labels,
            dataset=None if self.request.rows else self.questions.dataset,
            headline=headline,
            two_sided=True,
            held_out_uses=self.uses,
        )

    def show(self, evidence: Evidence) -> None:
        """Print the figures, and write page and JSON.

        Raises:
            OSError: They cannot be written.
        """
        page, data = self.out / "page.html", self.out / "figures.json"
        write_atomically(page, render(evidence).encode())
        write_atomically(data, json.dumps(figures(evidence), indent=2, ensure_ascii=False).encode())
        self.console.print(_table(evidence))
        say(self.console, evidence.headline)
        if self.uses:
            runs = "1 run has" if self.uses == 1 else f"{self.uses} runs have"
            fresh = f"after {self.spec.gate.fresh_after} a fresh one is due"
            say(self.console, f"{runs} used this held-out set, this one counted; {fresh}.")
        say(self.console, f"page: {page}")
        say(self.console, f"figures: {data}")


@contextmanager
def opened(
    asked: Sequence[Asked], request: Request, settings: Settings, console: Console
) -> Iterator[Asking]:
    """Prepare a run: read the spec, copy the set, note its use.

    Args:
        asked: The models.
        request: What is asked.
        settings: This installation.
        console: Takes what is said.

    Raises:
        RetuneError: The spec, the rows, the state or an address cannot be used.
    """
    spec, now = load_spec(request.spec), datetime.now(UTC)
    check_places(asked)
    db = known_state(settings)
    settings.home.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        say(console, line)

    # Named as a preparation's, so that a cleanup takes what a killed run leaves.
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=settings.home) as folder:
        questions = open_questions(
            spec, request.rows, request.set_name, settings=settings, db=db, folder=Path(folder), report=report
        )
        report(f"asked: {questions.said}, {questions.split.rows:,} examples")
        contenders = contenders_of(asked, questions, spec, settings, report)
        names = [contender.name for contender, _ in contenders]
        if not request.resume:
            drop_answers(contenders, spec, settings)
        stamp = now.strftime("%Y%m%dT%H%M%S%f")
        own = settings.home / "evaluations" / f"{spec.pipeline}-{_slug(names[0])}-{stamp}"
        out = _writable(request.out or own)
        # Before the first answer: a run that is cut off has seen the set too.
        uses = note_use(questions, spec, db, f"{request.actor}:{stamp}", names, now)
        yield Asking(spec, request, questions, contenders, uses, out, settings, console)
        # Users' texts that only a run that was cut off has a use for.
        drop_answers(contenders, spec, settings)
    if db is not None:
        db.engine.dispose()


def _writable(folder: Path) -> Path:
    """Make the folder of the results, before anything is asked; raises SetupError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot write to {folder}: {error.strerror or error}", "give another --out"
        ) from error
    return folder


def say(console: Console, line: str) -> None:
    """Print a line as it stands."""
    console.print(Text(line), soft_wrap=True)


def interval(value: MetricValue) -> str:
    """Return a figure with its interval, for people."""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _table(evidence: Evidence) -> Table:
    table = Table("", title="figures", title_justify="left")
    for name, _ in evidence.contenders:
        table.add_column(Text(name))
    for metric in evidence.metrics:
        found = [report.metrics.get(metric) for _, report in evidence.contenders]
        table.add_row(Text(metric), *(interval(value) if value else "" for value in found))
    reports = [report for _, report in evidence.contenders]
    table.add_row("examples", *(f"{one.n:,}" for one in reports))
    table.add_row("failed", *(f"{one.failed:,}" for one in reports))
    if any(one.latency for one in reports):
        table.add_row("p50, p95", *(_latency(one) for one in reports))
    if any(one.cost_per_1000_usd is not None for one in reports):
        costs = [one.cost_per_1000_usd for one in reports]
        table.add_row("1,000 answers", *("" if cost is None else f"${cost:.4f}" for cost in costs))
    for gain in differences(evidence):
        points = f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        cells = {evidence.subject: points}
        table.add_row(
            Text(f"points over {gain.name}"), *(cells.get(name, "") for name, _ in evidence.contenders)
        )
    return table


def _latency(report: EvalReport) -> str:
    found = report.latency
    if found is None:
        return ""
    return f"{1000 * found.p50_s:,.0f}, {1000 * found.p95_s:,.0f} ms at {found.concurrency} at once"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "model"
