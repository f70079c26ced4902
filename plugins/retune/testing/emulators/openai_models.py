"""OpenAI's `/v1/models`: base models with their shutdown dates, and what was tuned."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from retune.testing.emulators.openai_errors import no_model, no_tunable_model, retired_model
from retune.testing.emulators.options import Options
from retune.testing.emulators.server import Call, Route
from retune.testing.emulators.store import Store

# Without dates but for a retired one: an emulator must not stop with OpenAI's own service.
# `models` in the options sets them.
_BASE: dict[str, str | None] = {
    "gpt-4.1-2025-04-14": None,
    "gpt-4.1-mini-2025-04-14": None,
    "gpt-4.1-nano-2025-04-14": None,
    "gpt-4o-2024-08-06": None,
    "gpt-4o-mini-2024-07-18": None,
    "gpt-3.5-turbo-0613": "2024-09-13",
    "o4-mini-2025-04-16": None,
}
_CREATED = 1_700_000_000


class Models:
    """The models of a store.

    Args:
        store: Knows what was tuned.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/v1/models", self._list),
            Route("GET", "/v1/models/{model}", self._retrieve),
            Route("DELETE", "/v1/models/{model}", self._delete),
        ]

    def check_tunable(self, name: str, options: Options, now: float) -> None:
        """Raise Refused where a model cannot be tuned (any more); a tuned one can be tuned on."""
        model = self._find(name, options, now)
        if model is None:
            raise no_tunable_model(name)
        _check_alive(model, now)

    def tuned(self, name: str, options: Options, now: float) -> str:
        """Return the job that a model came from, or nothing for a base model; raises Refused for others."""
        model = self._find(name, options, now)
        if model is None:
            raise no_model(name)
        _check_alive(model, now)
        entry = self._store.get("model", _without_checkpoint(name), now)
        return str(entry.body["job"]) if entry else ""

    def add(self, name: str, job: str, base: str, owner: str, at: float) -> None:
        """Add the model that a job made."""
        if self._store.get("model", name, at) is None:
            self._store.add("model", name, {"job": job, "base": base, "owned_by": owner}, at=at)

    def _find(self, name: str, options: Options, now: float) -> dict[str, Any] | None:
        known = _BASE | options.models
        if name in known:
            return _shown(name, _CREATED, "system", known[name])
        entry = self._store.get("model", _without_checkpoint(name), now)
        if entry is None:
            return None
        base = entry.body["base"]
        return _shown(name, int(entry.created_at), entry.body["owned_by"], known.get(base))

    async def _list(self, call: Call) -> dict[str, Any]:
        known = _BASE | call.options.models
        base = [_shown(name, _CREATED, "system", date) for name, date in known.items()]
        tuned = [
            _shown(entry.id, int(entry.created_at), entry.body["owned_by"], known.get(entry.body["base"]))
            for entry in self._store.all("model")
            if entry.created_at <= call.now
        ]
        alive = [model for model in (*base, *tuned) if not _is_gone(model["shutdown_date"], call.now)]
        return {"object": "list", "data": alive}

    async def _retrieve(self, call: Call) -> dict[str, Any]:
        name = call.path("model")
        model = self._find(name, call.options, call.now)
        if model is None:
            raise no_model(name)
        _check_alive(model, call.now)
        return model

    async def _delete(self, call: Call) -> dict[str, Any]:
        name = call.path("model")
        if self._store.get("model", name, call.now) is None:
            raise no_model(name)
        self._store.remove("model", name)
        return {"id": name, "object": "model", "deleted": True}


def _shown(name: str, created: int, owner: str, shutdown: str | None) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "shutdown_date": shutdown}


def _check_alive(model: dict[str, Any], now: float) -> None:
    if _is_gone(model["shutdown_date"], now):
        raise retired_model(model["id"])


def _is_gone(date: str | None, now: float) -> bool:
    return date is not None and datetime.fromtimestamp(now, UTC).date().isoformat() >= date


def _without_checkpoint(name: str) -> str:
    return re.sub(r":ckpt-step-\d+$", "", name)
