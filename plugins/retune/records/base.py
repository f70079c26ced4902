"""What all records are made of."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from retune import __version__


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Frozen):
    """Stored bytes, or a tree of files, named by their digest."""

    digest: str
    """`sha256:<64 hex>` of the bytes, or of the tree's manifest."""
    uri: str
    """Where it lies; an fsspec URL."""
    size: int
    """Bytes."""
    media_type: str = "application/octet-stream"


class Record(Frozen):
    """Base of the records that cross stages, as plain JSON."""

    schema_version: int = 1
    spec_digest: str
    """The frozen spec that this record was made under."""
    retune_version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON types, as XCom and disk take it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read a record from plain JSON types; raises pydantic's ValidationError."""
        return cls.model_validate(data)
