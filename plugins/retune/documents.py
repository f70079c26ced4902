"""YAML files whose every mistake is named with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from retune.errors import Problem, SpecError

Shape = TypeVar("Shape", bound=BaseModel)
_Place = tuple[str | int, ...]
_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Reads booleans as YAML 1.2 does: `off` and `no` are words, such as a mode or Norway's code."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_document(path: Path, shape: type[Shape]) -> Shape:
    """Read a YAML file into a pydantic model.

    Args:
        path: The file.
        shape: What it must hold.

    Raises:
        SpecError: Lists all that is wrong with the file, by line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(f"cannot be read: {error}", "check the path", str(path))]) from error
    lines: dict[_Place, int] = {}
    problems: list[Problem] = []
    data = _parse(text, str(path), lines, problems)
    if not isinstance(data, dict):
        raise SpecError([Problem("holds no mapping", "see docs/spec.md", str(path), 1)])
    document = None
    try:
        document = shape.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        # A list whose only item is bad is also said to be too short.
        below = {place[:end] for item in found for place in [item["loc"]] for end in range(len(place))}
        kept = [item for item in found if item["type"] != "too_short" or item["loc"] not in below]
        problems += [_problem(item, lines, str(path)) for item in kept]
    if problems or document is None:
        raise SpecError(sorted(problems, key=lambda problem: problem.line or 0))
    return document


def _parse(text: str, file: str, lines: dict[_Place, int], problems: list[Problem]) -> Any:
    try:
        _index_lines(yaml.compose(text, Loader=_Loader), (), lines, problems, file)
        return yaml.load(text, Loader=_Loader)
    # An impossible date or number is a plain ValueError, a bottomless list a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        line = mark.line + 1 if mark else None
        raise SpecError([Problem(f"not valid YAML: {what}", "mend the line", file, line)]) from error


def _index_lines(
    node: Any, place: _Place, lines: dict[_Place, int], problems: list[Problem], file: str
) -> None:
    """Note the line of every key and item, and keys that stand twice, which YAML would let pass."""
    if node is None:
        return
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                problems.append(Problem(f"key {name!r} stands twice", "keep one", file, line))
            seen.add(name)
            lines[(*place, name)] = line
            _index_lines(value, (*place, name), lines, problems, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*place, index)] = value.start_mark.line + 1
            _index_lines(value, (*place, index), lines, problems, file)


def _problem(item: Any, lines: dict[_Place, int], file: str) -> Problem:
    place = _written(tuple(item["loc"]), lines, missing=item["type"] == "missing")
    line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
    name = ".".join(str(step) for step in place)
    if item["type"] == "extra_forbidden":
        return Problem(f"unknown key {name!r}", "remove it or see docs/spec.md", file, line)
    if item["type"] == "missing":
        return Problem(f"{name!r} is missing", "add it; see docs/spec.md", file, line)
    message = item["msg"].removeprefix("Value error, ")
    return Problem(f"{name}: {message}, not {item['input']!r:.200}", "see docs/spec.md", file, line)


def _written(place: _Place, lines: dict[_Place, int], *, missing: bool) -> _Place:
    """Return a place without the steps that pydantic adds for the kind of a recipe."""
    found: _Place = ()
    for number, step in enumerate(place, start=1):
        if (*found, step) in lines or (missing and number == len(place)):
            found = (*found, step)
    return found
