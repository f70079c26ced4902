"""A model card in the Hugging Face format: a README.md whose head says in YAML what hubs read.

The head follows the published metadata specification
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md?plain=1). It is written with PyYAML:
huggingface_hub comes only with the `local` extra.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from retune.evaluation.comparison import differences
from retune.evaluation.evidence import Evidence, described, upper_end
from retune.records import Dataset, Decision, EvalReport, Latency, MetricValue, Model

_TASKS = {
    "classification": ("text-classification", "Text classification"),
    "generation": ("text-generation", "Text generation"),
    "extraction": ("text-generation", "Extraction of fields as JSON"),
}
_INTENDED = {
    "classification": "It answers a text with one of the labels below, and with nothing else.",
    "generation": "It answers a text with a text.",
    "extraction": "It answers a text with a JSON object.",
}
_MOST_LABELS = 100


def model_card(evidence: Evidence) -> str:
    """Return the card of a decision's candidate.

    The license is left out: it is the owner's to choose, within what the base model's allows.

    Args:
        evidence: Of a decision: with its model, its dataset and what the gate said.

    Raises:
        ValueError: One of these is not there.
    """
    import yaml

    model, dataset, decision = evidence.model, evidence.dataset, evidence.decision
    if model is None or dataset is None or decision is None:
        raise ValueError("a model card needs a model, its dataset and a decision")
    head = yaml.safe_dump(_head(evidence, model, dataset), sort_keys=False, allow_unicode=True, width=100)
    parts = [
        f"# {_text(evidence.spec.pipeline)}",
        _text(f"{decision.verdict}: {decision.reason}"),
        "## Intended use\n\n" + _use(evidence, model),
        "## Results\n\n" + _results(evidence),
        "## What the gate said\n\n" + _gate(decision),
        "## Limits\n\n" + _limits(evidence, dataset),
        "## How it was trained\n\n" + _training(evidence, model),
        "## Data\n\n" + _data(dataset),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _head(evidence: Evidence, model: Model, dataset: Dataset) -> dict[str, Any]:
    spec, report = evidence.spec, evidence.report
    task, title = _TASKS[spec.task.kind]
    found: dict[str, Any] = {"tags": ["retune", spec.task.kind, spec.pipeline]}
    # Only a model of the hub can be named there: a folder of the project is nobody else's.
    if model.base_digest.startswith("hf:"):
        found["base_model"] = model.base_model
    if model.kind == "adapter":
        found |= {"base_model_relation": "adapter", "library_name": "peft"}
    elif model.kind == "weights":
        found |= {"base_model_relation": "finetune", "library_name": "transformers"}
    if "base_model" not in found:
        found.pop("base_model_relation", None)
    found["pipeline_tag"] = "text-generation"
    metrics = {
        name: one
        for name, one in report.metrics.items()
        if all(isfinite(end) for end in (one.value, one.low, one.high))
    }
    if metrics:
        found["metrics"] = [name for name in metrics if "[" not in name]
        about = {
            "type": spec.pipeline,
            "name": f"{spec.pipeline}, {report.set_name.replace('_', '-')} set",
            "split": "test",
            "revision": dataset.digest,
            "args": {"set_digest": report.set_digest},
        }
        measured = [_metric(name, one, spec.gate.confidence) for name, one in metrics.items()]
        result = {"task": {"type": task, "name": title}, "dataset": about, "metrics": measured}
        found["model-index"] = [{"name": spec.pipeline, "results": [result]}]
    return found


def _metric(name: str, value: MetricValue, confidence: float) -> dict[str, Any]:
    interval = {"low": value.low, "high": value.high, "confidence": confidence, "n": value.n}
    return {"type": name, "value": value.value, "name": name.replace("_", " "), "args": interval}


def _use(evidence: Evidence, model: Model) -> str:
    task, data = evidence.spec.task, evidence.spec.data
    lines = [f"{_INTENDED[task.kind]} Its owner is {_text(evidence.spec.owner)}."]
    if model.kind == "adapter":
        lines.append(f"It is a LoRA adapter of {_code(model.base_model)} and answers only with it.")
    if data.system_prompt:
        lines.append(f"It was trained to be asked with this system prompt:\n\n{_block(data.system_prompt)}")
    if evidence.labels:
        shown = ", ".join(_code(label) for label in evidence.labels[:_MOST_LABELS])
        more = len(evidence.labels) - _MOST_LABELS
        lines.append(f"Labels ({len(evidence.labels)}): {shown}{f', and {more} more' if more > 0 else ''}.")
    lines.append(
        "Other tasks, other kinds of text and other languages than those of its data were not tried."
    )
    return "\n\n".join(lines)


def _results(evidence: Evidence) -> str:
    report = evidence.report
    names = evidence.metrics
    rows = [["contender", *names, "n", "failed"]]
    for name, one in evidence.contenders:
        who = f"{name}, {described(one.contender)}" if described(one.contender) else name
        rows.append([who, *(_value(one, metric) for metric in names), f"{one.n:,}", f"{one.failed:,}"])
    lines = [
        f"On the same {report.n:,} {report.set_name.replace('_', '-')} examples, with intervals at "
        f"{evidence.spec.gate.confidence:g}:",
        _table(rows),
    ]
    gains = [
        f"- over {_text(one.name)}: {100 * one.value:+.1f} points of {_text(evidence.metric)} "
        f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}], {one.won} won, {one.lost} lost"
        for one in differences(evidence)
    ]
    if gains:
        lines.append(
            "What it gains, each end of an interval at that confidence by itself:\n\n" + "\n".join(gains)
        )
    if report.latency:
        lines.append(_latency(report.latency, evidence))
    return "\n\n".join(lines)


def _latency(found: Latency, evidence: Evidence) -> str:
    high = upper_end(found, evidence.spec)
    end = "no end" if high is None else f"{1000 * high:,.0f}"
    return (
        f"Half of its answers took at most {1000 * found.p50_s:,.0f} ms and 95 of 100 at most "
        f"{1000 * found.p95_s:,.0f} ms [{1000 * found.p95_low_s:,.0f}, {end}], with {found.concurrency} "
        f"asked at once ({found.n} requests)."
    )


def _gate(decision: Decision) -> str:
    rows = [["check", "kind", "verdict", "in words"]]
    rows += [[one.name, one.kind, one.verdict.of_check, one.sentence] for one in decision.checks]
    forced = f"\n\nDecided by {_text(decision.forced_by)}." if decision.forced_by else ""
    advice = f"\n\nAdvice: {_text(decision.advice)}" if decision.advice else ""
    return _table(rows) + forced + advice


def _limits(evidence: Evidence, dataset: Dataset) -> str:
    report, uses = evidence.report, evidence.held_out_uses
    lines = ["The figures hold for texts like those of the held-out set, which are of the same sources."]
    if uses:
        times = "1 run has" if uses == 1 else f"{uses} runs have"
        lines.append(f"{times} used this held-out set: the more do, the less it says of new texts.")
    if report.noise:
        share = f"{100 * report.noise.value:.1f}% of {report.noise.n} examples"
        lines.append(f"Asked again, it changed its score on {share}.")
    lines.append(_text(report.parity) or "Trainer and server were not compared token by token.")
    lines += [_text(warning) for warning in dataset.warnings]
    return "\n".join(f"- {line}" for line in lines)


def _training(evidence: Evidence, model: Model) -> str:
    recipe = evidence.spec.candidates[model.recipe_index]
    given = recipe.model_dump(mode="json", exclude_none=True)
    hidden = {"base_model", *recipe.in_place}
    rows = [
        ["setting", "value"],
        ["base model", model.base_model],
        ["base model's digest", model.base_digest],
    ]
    rows += [[key, str(value)] for key, value in given.items() if key not in hidden and value]
    rows += [["trained on", model.backend], ["seconds", f"{model.seconds:,.0f}"], ["digest", model.digest]]
    rows += [["seed", str(evidence.spec.seed)], ["spec", evidence.report.spec_digest]]
    for curve in model.curves:
        if curve.points:
            rows.append([f"last {curve.name}", f"{curve.points[-1][1]:.4f} at step {curve.points[-1][0]}"])
    return _table(rows)


def _data(dataset: Dataset) -> str:
    rows = [["rows", ""], ["read", f"{dataset.rows_read:,}"]]
    rows += [[f"left out: {why.replace('_', ' ')}", f"{n:,}"] for why, n in dataset.dropped.items() if n]
    rows += [["trained on", f"{dataset.train.rows:,}"], ["validation", f"{dataset.validation.rows:,}"]]
    rows += [["held out", f"{dataset.held_out.rows:,}"], ["dataset", dataset.digest]]
    return _table(rows)


def _value(report: EvalReport, metric: str) -> str:
    found = report.metrics.get(metric)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found else ""


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _text(text: str) -> str:
    """Return a text of users as Markdown that shows it as it stands, on one line."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "`*_[]|#~!":
        text = text.replace(mark, "\\" + mark)
    return text


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def _block(text: str) -> str:
    """Return a text as a block that no line of it can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())
