"""The spec's JSON schema, for editors."""

from __future__ import annotations

import json
from pathlib import Path

from retune.artifacts import write_atomically
from retune.spec import PipelineSpec


def spec_schema() -> bytes:
    """Return the JSON schema of a pipeline's YAML, as it is published in docs/."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PipelineSpec.model_json_schema()}
    return (json.dumps(schema, indent=2, ensure_ascii=False) + "\n").encode()


def write_schema(target: Path) -> None:
    """Write the schema to a file."""
    write_atomically(target, spec_schema())
