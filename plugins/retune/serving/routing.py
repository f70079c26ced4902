"""Brings the desired routes into force at one gateway, and says which of them were seen to work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from retune.errors import EndpointError
from retune.records import Route
from retune.serving import gateway
from retune.serving.endpoint import Replica

_log = logging.getLogger(__name__)
_CONFIRM_TIMEOUT_S = 10.0


class Routing:
    """The routes of one gateway.

    Args:
        folder: The gateway's folder.
        client: A client of the gateway.
        replica_url: The server behind it.
    """

    def __init__(self, folder: Path, client: Replica, replica_url: str) -> None:
        self.confirmed: dict[str, int] = {}
        """Alias -> version that a completion through the gateway was seen to follow."""
        self._folder = folder
        self._client = client
        self._replica_url = replica_url

    def in_force(self) -> set[str]:
        """Return the digests that the gateway's files lead to."""
        return {target.model_digest for route in gateway.published(self._folder) for target in route.targets}

    def apply(self, desired: Iterable[Route], ready: Collection[str]) -> None:
        """Publish each route whose releases are ready, and confirm it by a real completion.

        A route that is not ready stays as it was. Not ready and never published: the alias is unknown.

        Raises:
            EndpointError: The gateway does not answer, or an alias not as published.
        """
        before = {route.alias: route for route in gateway.published(self._folder)}
        table: list[Route] = []
        for route in desired:
            if _ready(route, ready):
                table.append(route)
            elif route.alias in before:
                table.append(before[route.alias])
        gateway.publish(self._folder, gateway.render(table, [self._replica_url]))
        self._confirm([route for route in table if _ready(route, ready)])

    def _confirm(self, routes: list[Route]) -> None:
        kept = {route.alias: route.version for route in routes}
        self.confirmed = {a: v for a, v in self.confirmed.items() if kept.get(a) == v}
        try:
            self._client.models()
        except EndpointError:
            self.confirmed.clear()
            raise
        errors = [self._ask(route) for route in routes if route.alias not in self.confirmed]
        if first := next((error for error in errors if error), None):
            raise first

    def _ask(self, route: Route) -> EndpointError | None:
        """Confirm one route by a real completion; return what stands against it."""
        try:
            answer = self._client.probe(route.alias, _CONFIRM_TIMEOUT_S)
        except EndpointError as error:
            return error
        version, digest = answer.headers.get("x-retune-route"), answer.json().get("model")
        if version != str(route.version) or digest not in {target.model_digest for target in route.targets}:
            return EndpointError(
                f"{route.alias!r} at version {route.version} was answered by {digest} at version {version}",
                "the gateway reads its files within a moment; see its log if this stays",
            )
        self.confirmed[route.alias] = route.version
        _log.info("route %s is in force at version %d", route.alias, route.version)
        return None


def _ready(route: Route, ready: Collection[str]) -> bool:
    return all(target.model_digest in ready for target in route.targets if target.weight)
