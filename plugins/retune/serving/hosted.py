"""Releases whose model its provider serves."""

from __future__ import annotations

from retune.records import Release


def is_hosted(release: Release) -> bool:
    """Say whether no replica can load a release's model, as only its provider has it."""
    return release.model.kind == "hosted"


def how_to_call(release: Release) -> str:
    """Say how a hosted release is asked: the gateways do not lead to providers."""
    model = release.model
    connection = model.place.get("connection")
    through = f", through connection {connection!r}" if connection else ""
    return (
        f"release {release.number} is served by {model.backend}, not by an endpoint: ask for"
        f" {model.served_as!r} there{through}; no alias can lead to it yet"
    )
