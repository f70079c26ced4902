"""Retune's own pages inside Airflow's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]


async def pages(
    scope: _Message,
    receive: Callable[[], Awaitable[_Message]],
    send: Callable[[_Message], Awaitable[None]],
) -> None:
    """The ASGI application; loaded by the first request, as every process of Airflow loads the plugin."""
    from retune.airflow.ui.app import app

    await app(scope, receive, send)
