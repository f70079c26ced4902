"""Google's discovery documents as contracts: which methods there are, and what an answer may hold.

The documents ship with google-api-python-client. Their dialect of JSON Schema is described at
https://developers.google.com/discovery/v1/type-format and https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator

from retune.errors import SetupError

PREFIX = "GoogleCloudAiplatformV1beta1"
"""What the names of Vertex AI's schemas begin with."""
_TIME = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z$",
}
_FORMATS: dict[str | None, dict[str, Any]] = {
    "int64": {"type": "string", "pattern": r"^-?[0-9]{1,19}$"},
    "uint64": {"type": "string", "pattern": r"^[0-9]{1,20}$"},
    "google-datetime": _TIME,
    "date-time": _TIME,
    "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
    "google-duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "byte": {"type": "string", "pattern": r"^[A-Za-z0-9+/_-]*={0,2}$"},
    "int32": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
}
_SHOWN = 20
_MOST_REMEMBERED = 100_000


@dataclass(frozen=True)
class Method:
    """A method of an API.

    Attributes:
        name: Its id, as `aiplatform.projects.locations.tuningJobs.create`.
        request: The schema of the request's body, or nothing.
        answer: The schema of the answer, or nothing.
    """

    name: str
    request: str
    answer: str


class DiscoveryContract:
    """One API, as its discovery document describes it.

    Args:
        api: The API's name, as `aiplatform`.
        version: Its version, as `v1beta1`.

    Raises:
        SetupError: google-api-python-client, or its document, is not installed.
    """

    def __init__(self, api: str, version: str) -> None:
        document = _document(api, version)
        self.schemas: Mapping[str, Any] = document["schemas"]
        self._methods = dict(_methods(document, f"/{document['servicePath']}"))
        self._validators: dict[str, Draft202012Validator] = {}
        self._flawless: set[bytes] = set()

    def method(self, verb: str, template: str) -> Method | None:
        """Return a method, or None where the API has none like it.

        Args:
            verb: Such as `GET`.
            template: A path with names in braces; how it names them does not matter.
        """
        return self._methods.get((verb, _nameless(template)))

    def problems(self, method: str, template: str, answer: Any) -> list[str]:
        """Return what is wrong with a good answer's JSON; fields that the contract does not know are.

        Args:
            method: Such as `GET`.
            template: The route's, with names in braces.
            answer: The JSON that is about to be sent.
        """
        found = self.method(method, template)
        if found is None:
            return [f"{method} {template} is not in the contract"]
        if not found.answer:
            return [f"{found.name} answers with a body, and has none"]
        rest, flaws = dict(answer), []
        for name, items in self.schemas[found.answer].get("properties", {}).items():
            kind = items.get("items", {}).get("$ref")
            if kind and isinstance(answer.get(name), list):
                # One by one: of a long list that is asked for again and again, little has changed.
                rest[name] = []
                for place, item in enumerate(answer[name]):
                    flaws += [f"$.{name}[{place}]{flaw[1:]}" for flaw in self.flaws(kind, item)]
        return self.flaws(found.answer, rest) + flaws

    def flaws(self, schema: str, body: Any) -> list[str]:
        """Return where JSON is not what a schema says, which is named as the document names it."""
        digest = sha256(f"{schema} {json.dumps(body)}".encode()).digest()
        if digest in self._flawless:
            return []
        if schema not in self._validators:
            self._validators[schema] = Draft202012Validator(
                {"$ref": f"#/$defs/{schema}", "$defs": self._reached(schema)}
            )
        errors = list(islice(self._validators[schema].iter_errors(body), _SHOWN))
        if not errors:
            if len(self._flawless) >= _MOST_REMEMBERED:
                self._flawless.clear()
            self._flawless.add(digest)
        return [f"{error.json_path}: {error.message:.300}" for error in errors]

    def _reached(self, schema: str) -> dict[str, Any]:
        """Return a schema with all that it refers to, as JSON Schema."""
        found: dict[str, Any] = {}
        todo = [schema]
        while todo:
            name = todo.pop()
            if name not in found:
                found[name] = json_schema(self.schemas[name])
                todo += _referred(self.schemas[name])
        return found


class GoogleContract:
    """Vertex AI and Cloud Storage together: what the emulator's answers are held against."""

    def problems(self, method: str, template: str, answer: Any) -> list[str]:
        """Return what is wrong with a good answer's JSON."""
        contract = storage_contract() if "/storage/v1/" in template else vertex_contract()
        return contract.problems(method, template, answer)


def json_schema(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of the discovery dialect as JSON Schema 2020-12, strict about unknown fields."""
    if "$ref" in node:
        return {"$ref": f"#/$defs/{node['$ref']}"}
    kind = node.get("type")
    if kind == "object":
        more = node.get("additionalProperties")
        return {
            "type": "object",
            "properties": {name: json_schema(item) for name, item in node.get("properties", {}).items()},
            "additionalProperties": False if more is None else json_schema(more),
        }
    if kind == "array":
        return {"type": "array", "items": json_schema(node["items"])}
    if kind == "any":
        return {}
    if "enum" in node:
        return {"enum": list(node["enum"])}
    return _FORMATS.get(node.get("format")) or {"type": kind}


def _document(api: str, version: str) -> dict[str, Any]:
    try:
        discovery_cache: Any = import_module("googleapiclient.discovery_cache")
    except ImportError as error:
        action = "pip install 'airflow-provider-retune[vertex]'"
        raise SetupError("google-api-python-client is not installed", action) from error
    text = discovery_cache.get_static_doc(api, version)
    if text is None:
        what = f"google-api-python-client has no document of {api} {version}"
        raise SetupError(what, "install a later version")
    document: dict[str, Any] = json.loads(text)
    return document


def _methods(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[tuple[str, str], Method]]:
    """Yield (verb, nameless path) and method of a document and all below it."""
    for method in node.get("methods", {}).values():
        refs = (method.get(side, {}).get("$ref", "") for side in ("request", "response"))
        found = Method(method["id"], *refs)
        yield (method["httpMethod"], _nameless(prefix + method.get("flatPath", method["path"]))), found
        # The session of a resumable upload goes on by PUT, which the document does not say.
        for protocol in method.get("mediaUpload", {}).get("protocols", {}).values():
            for verb in (method["httpMethod"], "PUT"):
                yield (verb, _nameless(protocol["path"])), found
    for resource in node.get("resources", {}).values():
        yield from _methods(resource, prefix)


def _nameless(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


def _referred(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for item in node.values():
            yield from _referred(item)
    elif isinstance(node, list):
        for item in node:
            yield from _referred(item)


@cache
def vertex_contract() -> DiscoveryContract:
    """Return the contract of Vertex AI, `aiplatform` v1beta1."""
    return DiscoveryContract("aiplatform", "v1beta1")


@cache
def storage_contract() -> DiscoveryContract:
    """Return the contract of Cloud Storage's JSON API, `storage` v1."""
    return DiscoveryContract("storage", "v1")
