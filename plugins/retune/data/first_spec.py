"""A first spec and suite for rows that were profiled, as a person would write and comment them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import yaml

from retune.data.profiling import Profile
from retune.data.suites import default_suite
from retune.spec import PipelineSpec

BASE_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
ENDPOINT = "vllm_default"
_LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
_GUIDE = "50-100 are the least, 500-1,000 and more are good"


def write_spec(name: str, sources: Sequence[str], suite: str, profile: Profile) -> str:
    """Return a pipeline's YAML, commented.

    Args:
        name: The pipeline.
        sources: As `data.sources` takes them.
        suite: The suite's path, against the project's root.
        profile: What is known of the rows.
    """
    read = f"{profile.rows:,} rows" if profile.whole else f"the first {profile.rows:,} rows"
    return "".join(
        f"{line}\n"
        for line in (
            f"# Written by `retune init`, which read {read} and guessed the rest: read it through, then try",
            f"# it with: retune check include/pipelines/{name}.yaml",
            "version: 1",
            f"pipeline: {_flow(name)}",
            *_data(sources, suite, profile),
            *_task(profile),
            "seed: 7",
            *_recipe(profile),
            *_serving(name, profile),
        )
    )


def _data(sources: Sequence[str], suite: str, profile: Profile) -> list[str]:
    least = least_examples(profile)
    columns = {"prompt": profile.columns.prompt, "completion": profile.columns.completion}
    columns = {key: value for key, value in columns.items() if value}
    if profile.columns.subject:
        columns["subject"] = profile.columns.subject
    prompt = "Answer with the label that fits." if profile.labels else "You are a helpful assistant."
    lines = ["data:", "  sources: # paths against the project's root, globs or URLs"]
    lines += [f"    - {_flow(source)}" for source in sources]
    lines.append(f"  format: {profile.format}")
    if columns:
        lines.append(f"  columns: {_flow(columns)}")
    if profile.columns.subject:
        lines[-1] += " # subject: whom `retune forget` asks for"
    lines.append(f"  # system_prompt: {prompt} # put before every row that has none of its own")
    lines += [
        f"  expectations: {_flow(suite)}",
        f"  min_examples: {least} # a run stops below; {_GUIDE}",
        "  near_duplicates: 0.9 # similarity from which two prompts are one",
        "  label_errors: report # drop leaves rows out whose label is likely wrong" if profile.labels else "",
        "  privacy: redact # or reject, which drops rows with personal data, or allow",
        *_split(profile),
    ]
    return [line for line in lines if line]


def _split(profile: Profile) -> list[str]:
    lines = ["  split:", "    validation: 0.1", "    held_out: 0.2"]
    if profile.group:
        lines.append(f"    group_by: {_flow(profile.group)} # its rows are all on one side")
    if profile.time:
        lines.append(
            f"    # by_time: {_flow(profile.time)} # would hold the newest rows out, as real life does"
        )
    return lines


def _task(profile: Profile) -> list[str]:
    if not profile.labels:
        return ["task:", "  kind: generation"]
    if not profile.whole:
        return [
            "task:",
            "  kind: classification",
            f"  # labels: not listed, as only {profile.rows:,} rows were read; without a list all count",
        ]
    lines = ["task:", "  kind: classification", "  labels: # rows with another are dropped and counted"]
    lines += [f"    - {_flow(label)} # {count:,} rows" for label, count in profile.labels.items()]
    # A label is the file's word: in a comment it must stay on its line.
    return lines + [
        f"    # left out, too few rows to learn: {_flow(label)} ({count:,})"
        for label, count in profile.rare.items()
    ]


def _recipe(profile: Profile) -> list[str]:
    # Few texts have more than a token for two characters.
    length = next((most for most in _LENGTHS if most >= profile.longest / 2 + 64), _LENGTHS[-1])
    return [
        "recipes: # several compete on the validation rows",
        "  - backend: local",
        f"    base_model: {BASE_MODEL} # small; any model of Hugging Face, or a folder of the project",
        "    method: sft",
        "    lora: {r: 16, alpha: 32}",
        "    epochs: 3",
        "    learning_rate: 0.0002",
        "    batch_size: 16",
        f"    max_length: {length} # tokens; the longest row read has {profile.longest:,} characters",
    ]


def _serving(name: str, profile: Profile) -> list[str]:
    tokens = min(max(32, 2 ** math.ceil(math.log2(profile.longest_answer / 2 + 8))), 4096)
    return [
        f"evaluation: {{endpoint: {ENDPOINT}, max_tokens: {tokens}}} # the longest answer has "
        f"{profile.longest_answer:,} characters",
        "gate:",
        "  metric: accuracy # share of answers that are exactly the expected one",
        "  beats: {base: 0.0} # gain over the base model that must be shown",
        "  not_worse_than: {champion: 0.03}",
        f"deploy: {{endpoint: {ENDPOINT}, alias: {_flow(name)}}} # the model name that callers ask for",
        "watch:",
        '  schedule: "@hourly"',
    ]


def least_examples(profile: Profile) -> int:
    """Return how many rows must be left: half of them, at most 1,000."""
    return max(10, min(1000, profile.rows // 2))


def write_suite(spec: PipelineSpec, profile: Profile) -> str:
    """Return a suite's JSON for a pipeline: the default of its task's kind, and what the columns are now.

    Args:
        spec: As it was written.
        profile: What is known of the rows.
    """
    count = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": least_examples(profile)}}
    items = [count, *_on_columns(profile), *default_suite(spec)]
    notes = [
        "Written by `retune init`; every row of the sources is judged.",
        "critical stops a run; warning and info are only shown on the page.",
        "Types: greatexpectations.io/expectations, and Retune's own in docs.",
    ]
    lines = ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in items)
    meta = json.dumps({"notes": notes}, ensure_ascii=False)
    return f'{{\n  "name": "{spec.pipeline}",\n  "meta": {meta},\n  "expectations": [\n{lines}\n  ]\n}}\n'


def _on_columns(profile: Profile) -> list[dict[str, Any]]:
    """Return what must hold of the sources' own columns: about what holds now."""
    found = []
    for name, filled in profile.filled.items():
        kwargs: dict[str, Any] = {"column": name}
        if filled < 1:
            # A little room, or the next file with an empty field more would stop the run.
            kwargs["mostly"] = max(0.0, math.floor((filled - 0.05) * 100) / 100)
        found.append(
            {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs, "severity": "critical"}
        )
    if profile.columns.prompt:
        most = 2 ** math.ceil(math.log2(2 * profile.longest + 1))
        kwargs = {"column": profile.columns.prompt, "min_value": 1, "max_value": most, "mostly": 0.95}
        kind = "expect_column_value_lengths_to_be_between"
        found.append({"type": kind, "kwargs": kwargs, "severity": "warning"})
    return found


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = _dump(value, allow_unicode=True)
    # YAML's writer leaves some ends of lines bare, which its reader folds.
    if any(end in text for end in "\x85\u2028\u2029"):
        text = _dump(value, allow_unicode=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _dump(value: Any, allow_unicode: bool) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, allow_unicode=allow_unicode, sort_keys=False
    )
    return text
