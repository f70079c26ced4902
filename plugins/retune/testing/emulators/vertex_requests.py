"""Requests as Google's front end reads them: proto JSON, checked against the request's message.

https://protobuf.dev/programming-guides/json/: both spellings of a name, 64-bit numbers as text or number,
enums by name or number, null for what is not set. What only the service may set is dropped unread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from retune.testing.emulators.server import Call
from retune.testing.emulators.vertex_contract import PREFIX, DiscoveryContract
from retune.testing.emulators.vertex_refusals import Violation, bad_payload

_PACKAGE = "type.googleapis.com/google.cloud.aiplatform.v1beta1."
_NUMBERS = {"int64": "TYPE_INT64", "uint64": "TYPE_UINT64", "int32": "TYPE_INT32", "uint32": "TYPE_UINT32"}


async def read_request(call: Call, contract: DiscoveryContract, schema: str, field: str) -> dict[str, Any]:
    """Return a request's body in the spelling of answers; see `read_message`."""
    return read_message(await call.request.body(), contract, schema, field)


def read_message(raw: bytes, contract: DiscoveryContract, schema: str, field: str) -> dict[str, Any]:
    """Return a message in the spelling of answers.

    Args:
        raw: JSON; nothing is an empty message.
        contract: The API's.
        schema: The message's schema.
        field: The request's field that the message is, for errors; empty where it is the request itself.

    Raises:
        Refused: With all that does not fit.
    """
    try:
        body = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise bad_payload([(field, f"Invalid JSON payload received. {error}")]) from error
    if not isinstance(body, dict):
        raise bad_payload([(field, "Invalid JSON payload received. Root element must be a message.")])
    reader = _Reader(contract.schemas)
    found: dict[str, Any] = reader.message(contract.schemas[schema], body, field)
    if reader.violations:
        raise bad_payload(reader.violations)
    return found


class _Reader:
    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self.violations: list[Violation] = []

    def message(self, schema: Mapping[str, Any], body: dict[str, Any], field: str) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = {snake(name): name for name in properties} | {name: name for name in properties}
        found = {}
        for given, value in body.items():
            name = names.get(given)
            if name is None:
                at = f" at '{field}'" if field else ""
                what = f'Invalid JSON payload received. Unknown name "{given}"{at}: Cannot find field.'
                self.violations.append((field, what))
            elif value is not None and not properties[name].get("readOnly"):
                place = f"{field}.{snake(name)}" if field else snake(name)
                found[name] = self.value(properties[name], value, place)
        return found

    def value(self, schema: Mapping[str, Any], value: Any, field: str) -> Any:
        if "$ref" in schema:
            kind = schema["$ref"].removeprefix(PREFIX)
            if not isinstance(value, dict):
                return self._invalid(field, _PACKAGE + kind, value)
            return self.message(self._schemas[schema["$ref"]], value, field)
        if schema["type"] == "array":
            items = value if isinstance(value, list) else [value]
            return [self.value(schema["items"], item, f"{field}[{at}]") for at, item in enumerate(items)]
        if schema["type"] == "object":
            return self._map(schema, value, field)
        if schema["type"] == "any":
            return value
        return self._scalar(schema, value, field)

    def _map(self, schema: Mapping[str, Any], value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            return self._invalid(field, "Map", value)
        of = schema.get("additionalProperties", {"type": "any"})
        return {str(name): self.value(of, item, f"{field}[{name}]") for name, item in value.items()}

    def _scalar(self, schema: Mapping[str, Any], value: Any, field: str) -> Any:
        kind, form = schema["type"], schema.get("format")
        if "enum" in schema:
            return self._enum(schema["enum"], value, field)
        if form in _NUMBERS:
            whole = isinstance(value, int | str) and re.fullmatch(r"-?\d+", str(value))
            if isinstance(value, bool) or not whole:
                return self._invalid(field, _NUMBERS[form], value)
            return str(value) if kind == "string" else int(value)
        if kind == "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return self._invalid(field, "TYPE_DOUBLE", value)
            return value
        if not isinstance(value, bool if kind == "boolean" else str):
            return self._invalid(field, "TYPE_BOOL" if kind == "boolean" else "TYPE_STRING", value)
        return value

    def _enum(self, names: list[str], value: Any, field: str) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            return names[value]
        return value if value in names else self._invalid(field, "TYPE_ENUM", value)

    def _invalid(self, field: str, kind: str, value: Any) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        self.violations.append((field, f"Invalid value at '{field}' ({kind}), {shown:.200}"))


def snake(name: str) -> str:
    """Return a field's name as the messages write it: `epochCount` -> `epoch_count`."""
    return re.sub(r"(?<!^)([A-Z])", lambda match: f"_{match[1].lower()}", name)
