"""The tune DAG on real data: BANKING77, ten intents and all 77, each to its decision."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from retune.demo import results
from retune.demo.banking_documents import SENTENCES, intents, write_documents
from retune.demo.base import build_base
from retune.demo.clock import Clock
from retune.demo.ending import end_all, end_on_sigterm
from retune.demo.stack import ENDPOINT, Stack
from retune.demo.traffic import five_answers
from retune.errors import Problem, RetuneError
from retune.records import Check, Decision, EvalReport, Verdict
from retune.settings import Settings
from retune.spec import load_spec

TEN = tuple(SENTENCES)
"""Ten intents that a small model tells apart."""
_RUN_S = 1800.0
_SUITE = "include/expectations/banking77.json"
_SYSTEM = "Answer with the intent of the customer's question."
_CONTENDERS = {"base": "base", "few_shot": "few_shot", "rag": "rag", "tuned": "candidate"}
"""What people call a contender -> its role before the gate."""
_KNOWLEDGE = "include/knowledge"
BASE = ".retune/models/tiny-base"


def run(settings: Settings, source: Path, console: Console) -> None:
    """Run both specs, one installation after the other, and write `<home>/e2e.json`.

    Args:
        settings: The installation whose repository this is.
        source: BANKING77's training CSV, with columns `text` and `category`.
        console: Where progress goes.

    Raises:
        RetuneError: A run failed, or a figure that real data should reach was missed.
    """
    if not source.is_file():
        console.print(f"skipped: {source} is not there", soft_wrap=True)
        return
    specs = (
        spec_of(source, "banking77-ten", TEN, epochs=8, base_steps=300),
        spec_of(source, "banking77", (), epochs=6, base_steps=300),
    )
    found: dict[str, Any] = {"releases": [], "drift": None, "stages": {}, "live": None}
    for (spec, steps), labels in zip(specs, (TEN, intents(source)), strict=True):
        entry = _tune(settings, compared(spec), labels, steps, console)
        found["stages"][entry["pipeline"]] = entry.pop("stages")
        found["releases"].append(entry)
        # After each: the next run may fail.
        results.save(settings.home / "e2e.json", found)
    entries = found["releases"]
    _show(console, entries)
    _require(entries)


def _require(entries: Sequence[dict[str, Any]]) -> None:
    """Raise RetuneError listing every figure that real data should reach and did not."""
    ten, whole = entries
    share = sum(entry["failed_calls"] for entry in entries) / sum(entry["calls"] for entry in entries)
    base, tuned = (ten[name]["accuracy"]["value"] for name in ("base", "tuned"))
    without = [name for entry in entries for name in unmeasured(entry["checks"])]
    reached = {
        f"ten intents promoted, not {ten['decision']}": ten["decision"] == "PROMOTE",
        f"ten intents tuned to at least 0.80, not {tuned:.3f}": tuned >= 0.80,
        f"ten intents at base of at most 0.20, not {base:.3f}": base <= 0.20,
        f"all 10,003 rows read, not {whole['rows_read']:,}": whole["rows_read"] == 10_003,
        f"77 intents, not {whole['labels']}": whole["labels"] == 77,
        f"fewer than 1% failed calls, not {share:.1%}": share < 0.01,
        f"figures in every check, but not in {without}": not without,
    }
    missed = [Problem(f"expected {what}") for what, good in reached.items() if not good]
    if missed:
        raise RetuneError(missed)


def unmeasured(checks: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of checks that rest on no figure.

    A precondition that holds may be without a value: that there is evidence is not a number.

    Args:
        checks: A decision's, as plain JSON.
    """
    found = [Check.model_validate(check) for check in checks]
    return [
        check.name
        for check in found
        if not check.n
        or (check.value is None and (check.kind != "precondition" or check.verdict is not Verdict.PROMOTE))
    ]


def spec_of(
    source: Path, name: str, labels: Sequence[str], *, epochs: int, base_steps: int
) -> tuple[dict[str, Any], int]:
    """Return a spec for intents of BANKING77, and for how many steps its base model learns the format.

    Args:
        source: The training CSV.
        name: The pipeline's.
        labels: The intents; none: all.
        epochs: Of the training.
        base_steps: Of the base model.
    """
    recipe = {
        "base_model": BASE,
        "lora": {"r": 8, "alpha": 16},
        "epochs": epochs,
        "learning_rate": 0.005,
        "max_length": 256,
    }
    data = {
        "sources": [str(source.resolve())],
        "columns": {"prompt": "text", "completion": "category"},
        "system_prompt": _SYSTEM,
        "expectations": _SUITE,
        "min_examples": 500,
    }
    spec = {
        "version": 1,
        "pipeline": name,
        "data": data,
        "task": {"kind": "classification", "labels": list(labels)},
        "recipes": [recipe],
        "evaluation": {"endpoint": ENDPOINT, "max_tokens": 24},
        "gate": {"beats": {"base": 0.05}},
        "deploy": {"endpoint": ENDPOINT, "alias": name},
    }
    return spec, base_steps


def compared(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec whose candidate has to beat every prompt of its base model, and may break no intent.

    Args:
        spec: One of `spec_of`; its project needs documents beside it.
    """
    prompts = {"baselines": ["base", "few_shot", "rag"], "few_shot": {"choose": "nearest"}}
    gate = {"beats": {"base": 0.05, "few_shot": 0.0, "rag": 0.0}, "slices": {"by": ["label"]}}
    return {**spec, "evaluation": {**spec["evaluation"], **prompts}, "gate": gate}


def _tune(
    settings: Settings, spec: dict[str, Any], labels: Sequence[str], base_steps: int, console: Console
) -> dict[str, Any]:
    name = spec["pipeline"]
    project = settings.home / "e2e" / name
    end_on_sigterm()
    end_all(project / ".retune")
    shutil.rmtree(project, ignore_errors=True)
    for folder in ("pipelines", "expectations"):
        (project / "include" / folder).mkdir(parents=True)
    shutil.copy(settings.project / _SUITE, project / _SUITE)
    write_documents(project / _KNOWLEDGE, labels)
    path = project / "include" / "pipelines" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    clock = Clock(console)
    stack = Stack(settings.project, project, clock.tell)
    try:
        with clock.stage("start, and build the tiny base model"):
            stack.start_airflow()
            build_base(stack.settings, load_spec(path), path, base_steps)
            stack.start_serving(BASE)
            stack.wait_for_airflow()
            stack.wait_for_serving()
        dag_id = f"{name}.tune"
        for verb in ("deploy", "tune"):
            stack.api.unpause(f"{name}.{verb}", timeout_s=120)
        with clock.stage("tuning"):
            run_id = stack.api.trigger(dag_id)
            run = stack.api.follow(dag_id, run_id, _RUN_S, clock.tell)
        clock.stages[f"{dag_id} ({run['run_type']}) 1"] = results.run_seconds(stack.api, dag_id, run_id)
        return _entry(stack, dag_id, run, clock)
    finally:
        end_all(stack.settings.home)


def _entry(stack: Stack, dag_id: str, run: dict[str, Any], clock: Clock) -> dict[str, Any]:
    read: Callable[[str], Any] = lambda task: stack.api.xcom(dag_id, run["dag_run_id"], task)  # noqa: E731
    name = dag_id.removesuffix(".tune")
    decision = Decision.from_json(read("decide"))
    dataset = read("prepare_data")
    clock.tell(f"{dag_id}: {decision.verdict}: {decision.reason}")
    released = read("release_winner") if decision.verdict is Verdict.PROMOTE else None
    return {
        "pipeline": name,
        "number": released["number"] if released else None,
        "dag_run_id": run["dag_run_id"],
        "run_type": run["run_type"],
        "gateway_answers": _answers(stack, name, clock) if released else [],
        "rows_read": dataset["rows_read"],
        "dropped": dataset["dropped"],
        "labels": len(dataset["labels"]),
        **{name: results.figures(decision.reports[role]) for name, role in _CONTENDERS.items()},
        "latency": {name: _latency(decision.reports[role]) for name, role in _CONTENDERS.items()},
        "model_digest": decision.candidate.model_digest,
        "failed_calls": sum(report.failed for report in decision.reports.values()),
        "calls": sum(report.n for report in decision.reports.values()),
        "decision": decision.verdict.value,
        "reason": decision.reason,
        "checks": [check.model_dump(mode="json") for check in decision.checks],
        "advice": {"before": read("advise"), "after": decision.advice},
        "page": decision.report.uri if decision.report else None,
        "stages": clock.stages,
    }


def _latency(report: EvalReport) -> dict[str, Any]:
    """Return how long a contender took over an answer: by itself where that was measured, and under load."""
    alone = report.latency
    return {
        "alone": alone.model_dump(mode="json") if alone else None,
        "under_load": {"p50_s": report.latency_p50_s, "p95_s": report.latency_p95_s},
        "seconds": report.seconds,
    }


def _answers(stack: Stack, name: str, clock: Clock) -> list[dict[str, str]]:
    """Wait for the rollout that the release woke, and return five of the gateway's answers."""
    dag_id = f"{name}.deploy"
    runs = stack.api.wait_until(f"a run of {dag_id}", lambda: stack.api.runs(dag_id), 60)
    stack.api.follow(dag_id, runs[0]["dag_run_id"], _RUN_S, clock.tell)
    return five_answers(stack.gateway_url, name, _SYSTEM, "I am still waiting on my card?")


def _show(console: Console, entries: Sequence[dict[str, Any]]) -> None:
    table = Table(title="BANKING77", title_justify="left")
    for column in ("pipeline", "contender", "accuracy"):
        table.add_column(column)
    for entry in entries:
        for name in _CONTENDERS:
            table.add_row(entry["pipeline"], name, results.accuracy(entry[name]))
    console.print(table)
    for entry in entries:
        size = f"{entry['rows_read']:,} rows, {entry['labels']} intents"
        failed = f"{entry['failed_calls']} of {entry['calls']:,} calls failed"
        said = f"{entry['pipeline']}: {size}, {failed}, {entry['decision']}: {entry['reason']}"
        console.print(said, highlight=False, soft_wrap=True)
