"""What OpenAI checks in a request before it acts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from retune.testing.emulators.openai_errors import invalid
from retune.testing.emulators.server import Refused

METHODS = ("supervised", "dpo", "reinforcement")
# From FineTuneSupervisedHyperparameters and its sisters in OpenAI's description.
_RANGES: dict[str, tuple[type, float, float]] = {
    "n_epochs": (int, 1, 50),
    "batch_size": (int, 1, 256),
    "learning_rate_multiplier": (float, 0, float("inf")),
    "beta": (float, 0, 2),
    "compute_multiplier": (float, 0.00001, 10),
    "eval_interval": (int, 1, float("inf")),
    "eval_samples": (int, 1, float("inf")),
}
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE, _LONGEST_SUFFIX = 16, 64, 512, 64


async def json_body(request: Request) -> dict[str, Any]:
    """Return a request's JSON object."""
    try:
        data = json.loads(await request.body())
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise invalid("We could not parse the JSON body of your request.")
    return data


def needed(body: Mapping[str, Any], name: str) -> str:
    """Return a parameter that must be there as text."""
    value = body.get(name)
    if value is None:
        raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def limit_of(request: Request, default: int, most: int = 100) -> int:
    """Return how many entries a list is asked for."""
    given = request.query_params.get("limit")
    if given is None:
        return default
    if not given.isdecimal():
        raise wrong_type("limit", "an integer", given)
    check_range("limit", int(given), int, 1, most)
    return int(given)


def check_range(name: str, value: Any, kind: type, least: float, most: float) -> None:
    """Raise Refused where a number is of the wrong kind or out of range."""
    accepted: Any = int if kind is int else (int, float)
    word = "integer" if kind is int else "decimal"
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise wrong_type(name, f"a{'n' if kind is int else ''} {word}", value)
    below = value < least or (kind is float and value == least == 0)
    if below or value > most:
        side, sign, bound = ("below minimum", ">=", least) if below else ("above maximum", "<=", most)
        code = f"{word}_{'below_min' if below else 'above_max'}_value"
        expected = f"Expected a value {sign} {bound:g}, but got {value} instead."
        raise invalid(f"Invalid '{name}': {word} {side} value. {expected}", name, code)


def wrong_type(name: str, expected: str, value: Any) -> Refused:
    """Return the refusal of a value of the wrong type."""
    names = {str: "a string", int: "an integer", float: "a decimal", list: "an array", dict: "an object"}
    got = "null" if value is None else names.get(type(value), "a boolean")
    message = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return invalid(message, name, "invalid_type")


def metadata_of(body: Mapping[str, Any]) -> dict[str, str] | None:
    """Return a request's metadata: at most 16 pairs, keys of 64 and values of 512 characters."""
    pairs = body.get("metadata")
    if pairs is None:
        return None
    if not isinstance(pairs, dict):
        raise wrong_type("metadata", "an object", pairs)
    if len(pairs) > _MOST_PAIRS:
        raise invalid(
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MOST_PAIRS} "
            f"properties, but got an object with {len(pairs)} properties instead.",
            "metadata",
            "object_above_max_properties",
        )
    for key, value in pairs.items():
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        check_length("metadata", key, _LONGEST_KEY)
        check_length(f"metadata.{key}", value, _LONGEST_VALUE)
    return pairs


def suffix_of(body: Mapping[str, Any]) -> str:
    """Return the suffix that a job's model gets, or nothing."""
    suffix = body.get("suffix")
    if suffix is None:
        return ""
    if not isinstance(suffix, str):
        raise wrong_type("suffix", "a string", suffix)
    check_length("suffix", suffix, _LONGEST_SUFFIX)
    return suffix


def check_length(name: str, text: str, most: int) -> None:
    """Raise Refused where a text is too long."""
    if len(text) > most:
        raise invalid(
            f"Invalid '{name}': string too long. Expected a string with maximum length {most}, but got a "
            f"string with length {len(text)} instead.",
            name,
            "string_above_max_length",
        )


def method_of(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a job's method and what was given for it; `hyperparameters` alone, the old way, is supervised.

    Raises:
        Refused: The method is unknown, or a hyperparameter is out of range.
    """
    method = body.get("method")
    if method is None:
        kind, settings = "supervised", {"hyperparameters": body.get("hyperparameters") or {}}
        place = "hyperparameters"
    elif isinstance(method, dict) and method.get("type") in METHODS:
        kind = method["type"]
        settings = method.get(kind) or {}
        place = f"method.{kind}.hyperparameters"
    else:
        supported = ", ".join(f"'{name}'" for name in METHODS)
        given = method.get("type") if isinstance(method, dict) else method
        message = f"Invalid value: '{given}'. Supported values are: {supported}."
        raise invalid(message, "method.type", "invalid_value")
    if kind == "reinforcement" and "grader" not in settings:
        name = "method.reinforcement.grader"
        raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    for name, value in (settings.get("hyperparameters") or {}).items():
        if name in _RANGES and value != "auto" and value is not None:
            check_range(f"{place}.{name}", value, *_RANGES[name])
    return kind, settings
