"""OpenAI's `/v1/fine_tuning/alpha/graders`: validated, and run where that needs no model and no code.

`string_check` and `text_similarity` (as `fuzzy_match`) are worked out; the others score 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from retune.testing.emulators.openai_errors import invalid
from retune.testing.emulators.openai_requests import json_body, needed
from retune.testing.emulators.server import Call, Route

# Required fields, from GraderStringCheck and its sisters in OpenAI's description.
_NEEDS = {
    "string_check": ("name", "input", "reference", "operation"),
    "text_similarity": ("name", "input", "reference", "evaluation_metric"),
    "python": ("name", "source"),
    "score_model": ("name", "input", "model"),
    "multi": ("name", "graders", "calculate_output"),
}
_OPERATIONS = ("eq", "ne", "like", "ilike")
_FLAGS = (
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
)
_DETAILS = (
    "python_grader_server_error_type",
    "python_grader_runtime_error_details",
    "model_grader_server_error_details",
)


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route("POST", "/v1/fine_tuning/alpha/graders/validate", _validate),
        Route("POST", "/v1/fine_tuning/alpha/graders/run", _run),
    ]


def check(grader: Any, param: str = "grader") -> dict[str, Any]:
    """Return a grader that can be used; raises Refused where it cannot."""
    if not isinstance(grader, dict) or grader.get("type") not in _NEEDS:
        supported = ", ".join(f"'{name}'" for name in _NEEDS)
        given = grader.get("type") if isinstance(grader, dict) else grader
        message = f"Invalid value: '{given}'. Supported values are: {supported}."
        raise invalid(message, f"{param}.type", "invalid_value")
    for name in _NEEDS[grader["type"]]:
        if name not in grader:
            what = f"Missing required parameter: '{param}.{name}'."
            raise invalid(what, f"{param}.{name}", "missing_required_parameter")
    if grader["type"] == "string_check" and grader["operation"] not in _OPERATIONS:
        supported = ", ".join(f"'{name}'" for name in _OPERATIONS)
        message = f"Invalid value: '{grader['operation']}'. Supported values are: {supported}."
        raise invalid(message, f"{param}.operation", "invalid_value")
    return grader


async def _validate(call: Call) -> dict[str, Any]:
    return {"grader": check((await json_body(call.request)).get("grader"))}


async def _run(call: Call) -> dict[str, Any]:
    asked = await json_body(call.request)
    grader = check(asked.get("grader"))
    reward = score(grader, asked.get("item") or {}, needed(asked, "model_sample"))
    errors: dict[str, Any] = dict.fromkeys(_FLAGS, False) | dict.fromkeys(_DETAILS)
    return {
        "reward": reward,
        "metadata": {
            "name": grader["name"],
            "type": grader["type"],
            "errors": errors,
            "execution_time": 0.001,
            "scores": {},
            "token_usage": None,
            "sampled_model_name": None,
        },
        "sub_rewards": {},
        "model_grader_token_usage_per_model": {},
    }


def score(grader: Mapping[str, Any], item: Mapping[str, Any], sample: str) -> float:
    """Return what a grader makes of a model's answer.

    Args:
        grader: One that `check` returned.
        item: The example that was asked about.
        sample: The answer.
    """
    if grader["type"] not in ("string_check", "text_similarity"):
        return 1.0
    given, wanted = (_fill(grader[name], item, sample) for name in ("input", "reference"))
    if grader["type"] == "text_similarity":
        return SequenceMatcher(None, given, wanted).ratio()
    return float(
        {
            "eq": given == wanted,
            "ne": given != wanted,
            "like": wanted in given,
            "ilike": wanted.lower() in given.lower(),
        }[grader["operation"]]
    )


def _fill(template: str, item: Mapping[str, Any], sample: str) -> str:
    """Put an item's fields and the sample where `{{ item.name }}` and `{{ sample.output_text }}` stand."""

    def value(found: re.Match[str]) -> str:
        holder, _, name = found[1].partition(".")
        if found[1] == "sample.output_text":
            return sample
        if holder == "item" and name in item:
            return str(item[name])
        raise invalid(f"Invalid template variable: '{found[1]}'.", "grader", "invalid_grader")

    return re.sub(r"\{\{\s*([\w.]+)\s*\}\}", value, template)
