"""One pipeline, three backends: local, OpenAI and Vertex AI compete, offline, with what they made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from retune.demo import banking, results
from retune.demo.base import build_base
from retune.demo.clock import Clock
from retune.demo.ending import end_all, end_on_sigterm
from retune.demo.services import Services, hosted_recipes
from retune.demo.stack import Stack
from retune.errors import Problem, RetuneError
from retune.records import Decision
from retune.settings import Settings
from retune.spec import load_spec

_RUN_S = 1800.0
_REACHED = 0.5
"""Accuracy on the held-out set that the chosen model must have."""


def run(settings: Settings, source: Path | None, console: Console) -> dict[str, Any]:
    """Run the tune DAG with three recipes to its decision, and write `<home>/three.json`.

    Args:
        settings: The installation whose repository this is.
        source: BANKING77's training CSV, of which ten intents are learned; None: the sample tickets.
        console: Where progress goes.

    Returns:
        What the file holds.

    Raises:
        RetuneError: The run failed, or a figure that it should reach was missed.
    """
    project = settings.home / "e2e" / "three"
    end_on_sigterm()
    end_all(project / ".retune")
    shutil.rmtree(project, ignore_errors=True)
    spec, steps = _spec(settings, source, project)
    path = project / "include" / "pipelines" / f"{spec['pipeline']}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    clock = Clock(console)
    stack = Stack(settings.project, project, clock.tell)
    base_model = spec["recipes"][0]["base_model"]
    services = Services(stack.settings, stack.processes, base_model)
    try:
        with clock.stage("start, and build the tiny base model"):
            _start(stack, services, path, steps, base_model)
        with clock.stage("tuning"):
            found = _tune(stack, spec["pipeline"], clock)
    finally:
        end_all(stack.settings.home)
    found["stages"] = clock.stages
    results.save(settings.home / "three.json", found)
    _show(console, found)
    _require(found)
    return found


def _spec(settings: Settings, source: Path | None, project: Path) -> tuple[dict[str, Any], int]:
    shutil.copytree(settings.project / "include" / "expectations", project / "include" / "expectations")
    if source is not None:
        spec, steps = banking.spec_of(source, "three", banking.TEN, epochs=8, base_steps=300)
    else:
        shutil.copytree(settings.project / "include" / "data", project / "include" / "data")
        sample = settings.project / "include" / "pipelines" / "support-tickets.yaml"
        spec, steps = yaml.safe_load(sample.read_text(encoding="utf-8")), 200
    epochs = spec["recipes"][0]["epochs"]
    spec["recipes"] += hosted_recipes(epochs)
    return spec, steps


def _start(stack: Stack, services: Services, path: Path, steps: int, base_model: str) -> None:
    services.start(stack.environment)
    stack.api.wait_until("the emulators' start", services.are_ready, 120)
    stack.start_airflow(services.connect())
    build_base(stack.settings, load_spec(path), path, steps)
    stack.start_serving(base_model)
    services.start_answering(stack.environment)
    stack.wait_for_airflow()
    stack.wait_for_serving()
    stack.api.wait_until("the services' vLLM", services.is_answering, 240)


def _tune(stack: Stack, pipeline: str, clock: Clock) -> dict[str, Any]:
    dag_id = f"{pipeline}.tune"
    stack.api.unpause(dag_id, timeout_s=120)
    run_id = stack.api.trigger(dag_id)
    stack.api.follow(dag_id, run_id, _RUN_S, clock.tell)
    decision = Decision.from_json(stack.api.xcom(dag_id, run_id, "decide"))
    models = [
        *stack.api.xcoms(dag_id, run_id, "fine_tune"),
        *stack.api.xcoms(dag_id, run_id, "fine_tune_hosted"),
    ]
    return {
        "pipeline": pipeline,
        "recipes": [
            {
                "backend": model["backend"],
                "base_model": model["base_model"],
                "seconds": model["seconds"],
                "steps": max((points[-1][0] for points in _points(model)), default=0),
                "loss": next((points[-1][1] for points in _points(model, "loss")), None),
                "eval_loss": next((points[-1][1] for points in _points(model, "eval_loss")), None),
                "served_as": model["served_as"] or model["digest"],
            }
            for model in models
        ],
        "chosen": decision.candidate.model_name,
        "base": results.figures(decision.reports["base"]),
        "tuned": results.figures(decision.reports["candidate"]),
        "decision": decision.verdict.value,
        "reason": decision.reason,
    }


def _points(model: dict[str, Any], name: str = "") -> list[list[list[float]]]:
    return [
        curve["points"]
        for curve in model["curves"]
        if curve["points"] and (not name or curve["name"] == name)
    ]


def _require(found: dict[str, Any]) -> None:
    """Raise RetuneError listing every figure that the run should reach and did not."""
    backends = sorted(recipe["backend"] for recipe in found["recipes"])
    tuned, base = (found[name]["accuracy"]["value"] for name in ("tuned", "base"))
    reached = {
        f"a model of each backend, not {backends}": backends == ["local", "openai", "vertex"],
        "curves of each": all(
            recipe["loss"] is not None and recipe["eval_loss"] is not None for recipe in found["recipes"]
        ),
        "the chosen model among them": found["chosen"]
        in [recipe["served_as"] for recipe in found["recipes"]],
        f"it to be better than {base:.3f} and at least {_REACHED}, not {tuned:.3f}": tuned
        > max(base, _REACHED),
        f"PROMOTE, not {found['decision']}": found["decision"] == "PROMOTE",
    }
    missed = [Problem(f"expected {what}") for what, good in reached.items() if not good]
    if missed:
        raise RetuneError(missed)


def _show(console: Console, found: dict[str, Any]) -> None:
    table = Table(title="three backends, one gate", title_justify="left")
    for column in ("backend", "base model", "seconds", "loss", "validation loss", ""):
        table.add_column(column)
    for recipe in found["recipes"]:
        table.add_row(
            recipe["backend"],
            recipe["base_model"],
            f"{recipe['seconds']:.0f}",
            f"{recipe['loss']:.3f}",
            f"{recipe['eval_loss']:.3f}",
            "chosen" if recipe["served_as"] == found["chosen"] else "",
        )
    console.print(table)
    console.print(
        f"base {results.accuracy(found['base'])}, tuned {results.accuracy(found['tuned'])}:"
        f" {found['decision']}: {found['reason']}",
        soft_wrap=True,
    )
