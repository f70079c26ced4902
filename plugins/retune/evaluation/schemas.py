"""The JSON schema of an extraction's answers, and answers read as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from retune.errors import Problem, SpecError

_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are plain data, where `$ref` would be a field like any other."""
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values are schemas by a name of the author's own, which may be a keyword too."""


class NotJSONError(ValueError):
    """A text is no JSON value and nothing but that."""


def read_json(text: str) -> Any:
    """Return the JSON value that a text is; white space may be around it, and nothing else.

    Strict as RFC 8259 is: no code fence, no comment, no NaN.

    Raises:
        NotJSONError: It is something else.
    """
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise NotJSONError(str(error)) from error


@dataclass(frozen=True)
class AnswerSchema:
    """A JSON schema that was found to be sound."""

    validator: Any
    """A validator of jsonschema, of the schema's own draft."""

    def fits(self, value: Any) -> bool:
        """Say whether a JSON value fits; nested too deep, or with a number too long, it does not."""
        try:
            return bool(self.validator.is_valid(value))
        except (RecursionError, OverflowError):  # the latter: `multipleOf` a fraction, of 310 digits
            return False


def read_schema(path: Path, named: str) -> AnswerSchema:
    """Read a JSON schema; nothing is fetched from the network.

    Args:
        path: Where it lies.
        named: What the spec calls it, for errors.

    Raises:
        SpecError: It cannot be read, or is no sound schema; says where in it and why.
    """
    import jsonschema
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    schema = _read_object(path, named)
    draft = validator_for(schema, default=None) if "$schema" in schema else jsonschema.Draft202012Validator
    if draft is None:
        raise _unsound(
            named,
            f"$schema is {schema['$schema']!r}, which is no known draft",
            "take it out, or name https://json-schema.org/draft/2020-12/schema",
        )
    try:
        draft.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise _unsound(
            named, f"{error.json_path}: {_short(error.message)}", "mend the schema there"
        ) from error
    missing = list(_missing(schema, draft, REGISTRY))
    if missing:
        raise SpecError(
            [
                Problem(
                    f"{place}: $ref {ref!r} leads nowhere",
                    "define it under $defs of the same file; other files and addresses are not read",
                    named,
                )
                for place, ref in missing
            ]
        )
    # With a registry of its own it fetches nothing that `$ref` names.
    return AnswerSchema(draft(schema, registry=REGISTRY))


def _read_object(path: Path, named: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise _unsound(
            named, f"cannot be read: {error.strerror}", "see that task.answer_schema names a JSON file"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unsound(named, f"is not JSON: {error}", "mend the file") from error
    if not isinstance(found, dict):
        raise _unsound(
            named,
            f"holds {_short(repr(found))} where a schema is an object",
            'write a JSON schema, such as {"type": "object", "required": ["total"]}',
        )
    return found


def _missing(schema: dict[str, Any], draft: Any, registry: Any) -> Iterator[tuple[str, str]]:
    """Find the references that lead nowhere, each with its place."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    specification = specification_with(draft.META_SCHEMA["$schema"])

    def walk(part: Any, place: str, resolver: Any, named: bool = False) -> Iterator[tuple[str, str]]:
        if isinstance(part, list):
            for number, one in enumerate(part):
                yield from walk(one, f"{place}[{number}]", resolver)
        if not isinstance(part, dict):
            return
        if isinstance(part.get("$id"), str) and place != "$":
            resolver = resolver.in_subresource(specification.create_resource(part))
        reference = part.get("$ref")
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                yield place, reference
        for key, value in part.items():
            if named or key not in _DATA:
                yield from walk(value, f"{place}.{key}", resolver, key in _NAMED and not named)

    root = specification.create_resource(schema)
    yield from walk(schema, "$", registry.resolver_with_root(root))


def _unsound(named: str, what: str, action: str) -> SpecError:
    return SpecError([Problem(what, action, named)])


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."
