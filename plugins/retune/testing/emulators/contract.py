"""A provider's own description of its API, and answers held against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from jsonschema import Draft202012Validator  # type: ignore[import-untyped, unused-ignore]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped, unused-ignore]

from retune.errors import SetupError


class Contract(Protocol):
    """What an emulator's answers are held against."""

    def problems(self, method: str, template: str, answer: Any) -> list[str]:
        """Return what is wrong with a good answer's JSON; empty where nothing is.

        Args:
            method: Such as `GET`.
            template: The route's, with names in braces.
            answer: The JSON that is about to be sent.
        """


class OpenApiContract:
    """An OpenAPI 3.1 description; its paths' 200 answers are JSON Schema of Draft 2020-12.

    Args:
        path: The description, JSON.
        prefix: What the emulator's routes have before the description's paths.

    Raises:
        SetupError: The file cannot be read.
    """

    def __init__(self, path: Path, prefix: str = "/v1") -> None:
        try:
            description = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SetupError(f"contract {path} cannot be read: {error}", "give another file") from error
        self._prefix = prefix
        self._paths = description["paths"]
        self._components = _modern(description["components"])
        self._validators: dict[tuple[str, str], Draft202012Validator] = {}

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Method and template of all that the description knows, with the prefix."""
        return {
            (method.upper(), self._prefix + path)
            for path, operations in self._paths.items()
            for method in operations
        }

    def problems(self, method: str, template: str, answer: Any) -> list[str]:
        """Return what is wrong with a good answer's JSON."""
        validator = self._validator(method, template)
        if validator is None:
            return [f"{method} {template} is not in the contract"]
        errors = sorted(validator.iter_errors(answer), key=lambda error: list(map(str, error.path)))
        return [_say(error) for error in errors]

    def _validator(self, method: str, template: str) -> Draft202012Validator | None:
        place = (method, template)
        if place not in self._validators:
            operation = self._paths.get(template.removeprefix(self._prefix), {}).get(method.lower())
            if operation is None:
                return None
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            self._validators[place] = Draft202012Validator(
                {**_modern(schema), "components": self._components},
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
        return self._validators[place]


def _modern(schema: Any) -> Any:
    """Rewrite what OpenAPI 3.0 and Draft 4 said otherwise, and descriptions still say."""
    if isinstance(schema, list):
        return [_modern(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    new = {name: _modern(part) for name, part in schema.items()}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(new.get(exclusive), bool) and new.pop(exclusive) and bound in new:
            new[exclusive] = new.pop(bound)
    if new.pop("nullable", False) is True and ("type" in new or "$ref" in new):
        return {"anyOf": [new, {"type": "null"}]}
    return new


def _say(error: Any) -> str:
    inner = best_match(error.context) if error.context else None
    place = "/".join(str(part) for part in (inner or error).absolute_path) or "the answer"
    return f"{place}: {(inner or error).message[:300]}"
