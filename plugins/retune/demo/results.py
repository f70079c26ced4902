"""What a demo or an end-to-end run found: a JSON file, and a short table for people."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from retune.artifacts import write_atomically
from retune.demo.airflow_api import AirflowApi
from retune.records import EvalReport, Release


def figures(report: EvalReport) -> dict[str, Any]:
    """Return a contender's metrics as plain JSON: value, interval and n."""
    return {
        name: {"value": value.value, "interval": [value.low, value.high], "n": value.n}
        for name, value in report.metrics.items()
    }


def release_entry(release: Release, run_type: str, gateway_answers: list[dict[str, str]]) -> dict[str, Any]:
    """Return a release as `demo.json` lists it."""
    return {
        "number": release.number,
        "model_digest": release.model.digest,
        "dag_run_id": release.dag_run_id,
        "run_type": run_type,
        "base": figures(release.decision.reports["base"]),
        "tuned": figures(release.report),
        "decision": release.decision.verdict.value,
        "reason": release.decision.reason,
        "checks": [check.model_dump(mode="json") for check in release.decision.checks],
        "gateway_answers": gateway_answers,
    }


def run_seconds(api: AirflowApi, dag_id: str, run_id: str) -> dict[str, float]:
    """Return seconds per task of a finished run, its wall time, and the wall time outside of tasks."""
    spans = [span for span in api.tasks(dag_id, run_id) if span.start and span.end]
    found: dict[str, float] = {}
    for span in spans:
        found[span.task_id] = round(found.get(span.task_id, 0.0) + span.seconds, 2)
    run = api.run(dag_id, run_id)
    wall = (_time(run["end_date"]) - _time(run["queued_at"])).total_seconds()
    return {**found, "wall": round(wall, 2), "between_tasks": round(wall - _covered(spans), 2)}


def _covered(spans: list[Any]) -> float:
    """Return the seconds in which at least one task ran."""
    total, reached = 0.0, None
    for span in sorted(spans, key=lambda span: span.start):
        start = span.start if reached is None else max(span.start, reached)
        if span.end > start:
            total += (span.end - start).total_seconds()
            reached = span.end
    return total


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the results, all or nothing."""
    write_atomically(path, json.dumps(results, indent=2, allow_nan=False).encode() + b"\n")


def show(console: Console, results: dict[str, Any]) -> None:
    """Print one row a release, and the seconds of each run."""
    if not console.is_terminal:
        console.width = 120
    table = Table(title="Releases", title_justify="left")
    for column in ("release", "started by", "base", "tuned", "decision"):
        table.add_column(column)
    for entry in results["releases"]:
        table.add_row(
            f"{entry['number']}  {entry['model_digest'][7:19]}",
            entry["run_type"],
            accuracy(entry["base"]),
            accuracy(entry["tuned"]),
            entry["decision"],
        )
    console.print(table)
    for entry in results["releases"]:
        console.print(f"release {entry['number']}: {entry['reason']}", highlight=False)
    stages = Table(title="Seconds", title_justify="left")
    stages.add_column("run", no_wrap=True)
    stages.add_column("tasks")
    stages.add_column("wall", justify="right")
    stages.add_column("between tasks", justify="right")
    for name, seconds in results["stages"].items():
        if isinstance(seconds, dict):
            parts = [f"{k} {v:.0f}" for k, v in seconds.items() if k not in ("wall", "between_tasks")]
            wall, between = f"{seconds['wall']:.0f}", f"{seconds['between_tasks']:.1f}"
            stages.add_row(name, ", ".join(parts), wall, between)
    console.print(stages)


def accuracy(metrics: dict[str, Any]) -> str:
    """Return a contender's accuracy as people read it."""
    value = metrics["accuracy"]
    low, high = value["interval"]
    return f"{value['value']:.3f} [{low:.3f}, {high:.3f}] n={value['n']}"
