"""Open connections of the web server, so that one can be dropped as a broken network drops it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_open: dict[tuple[str, int], asyncio.Transport] = {}


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Uvicorn's HTTP protocol, which also knows each client's connection; ASGI hides it."""

    def connection_made(self, transport: Any) -> None:
        """Remember the connection."""
        super().connection_made(transport)
        self._client = transport.get_extra_info("peername")
        _open[self._client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _open.pop(self._client, None)
        super().connection_lost(exc)


async def drop(request: Request) -> None:
    """Close a request's connection at once, without an answer."""
    client = request.scope["client"]
    transport = _open.get(tuple(client)) if client else None
    if transport is not None:
        transport.abort()
        # Uvicorn would answer 500 for an application that returns before the loss is noticed.
        await until_gone(request)


async def until_gone(request: Request) -> None:
    """Wait until the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
