"""Runs an emulator in the foreground."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn

from retune.errors import SetupError
from retune.testing.emulators import options
from retune.testing.emulators.connections import Protocol
from retune.testing.emulators.server import Application, Emulator
from retune.testing.emulators.store import Store

KINDS = {
    "openai": "retune.testing.emulators.openai_service:OpenAiEmulator",
    "vertex": "retune.testing.emulators.vertex_service:VertexEmulator",
}
"""Kind -> module and class, called with a Store."""


def serve(
    kind: str, folder: Path, port: int, given: Mapping[str, Any] | None = None, host: str = "127.0.0.1"
) -> None:
    """Serve until the process is told to end.

    Args:
        kind: `openai` or `vertex`.
        folder: What the emulator remembers lies here; made where it is missing.
        port: The port to listen on.
        given: Options that differ from the folder's; see `options.Options` and `options.write`.
        host: The address to listen on.

    Raises:
        SetupError: The kind or an option is unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options.write(folder, given or {})
    application = Application(make(kind, Store(folder)))
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        # A request that is told to hang would keep the process for ever.
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run()


def make(kind: str, store: Store) -> Emulator:
    """Make an emulator of a kind."""
    if kind not in KINDS:
        raise SetupError(f"there is no {kind!r} emulator", f"known are {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind].split(":")
    emulator: Emulator = getattr(import_module(module), name)(store)
    return emulator
