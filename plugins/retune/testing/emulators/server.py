"""An emulator as a web application: routes, faults, the contract, and what was asked how often."""

from __future__ import annotations

import asyncio
import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as Pattern
from starlette.types import Receive, Scope, Send

from retune.errors import SetupError
from retune.testing.emulators import connections
from retune.testing.emulators.contract import Contract
from retune.testing.emulators.faults import Faults, Rule
from retune.testing.emulators.options import Options, OptionsFile
from retune.testing.emulators.store import Store


@dataclass(frozen=True)
class Call:
    """One request, as a route sees it."""

    request: Request
    now: float
    """Seconds since 1970."""
    exists_at: float
    """From when what it creates exists: now, or later where it is told to commit late."""
    visible_at: float
    """From when lists show what it creates."""
    options: Options
    fault: Rule | None
    """The rule that fired; of concern to the route where it is about bytes, jobs or statuses."""

    def does(self, kind: str) -> Rule | None:
        """Return the rule that fired, where it is of this kind."""
        return self.fault if self.fault is not None and self.fault.do == kind else None

    def path(self, name: str) -> str:
        """Return a part of the path that the route's template names."""
        return str(self.request.path_params[name])

    def kept(self, data: bytes) -> bytes:
        """Return what is kept of bytes that were sent."""
        return data[: len(data) // 2] if self.does("half_upload") else data


Answer = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """A method, a path's template with names in braces, and what answers it.

    What answers returns JSON or a Response, or raises Refused.
    """

    method: str
    template: str
    answer: Answer


class Refused(Exception):
    """A request that the provider refuses; each emulator gives it the provider's shape.

    Args:
        status: HTTP status.
        message: The provider's words.
        kind: The provider's type of error; by default what belongs to the status.
        code: The provider's code.
        param: The parameter that is to blame.
        retry_after: Seconds, for the header of that name.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after


class Emulator:
    """Base of the emulators.

    Args:
        store: The emulator's folder.

    Attributes:
        contract: What good answers are held against, or None.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.options = OptionsFile(store.folder)
        self.contract: Contract | None = None

    def routes(self) -> Sequence[Route]:
        """Return the routes; of two that fit, the first counts."""
        raise NotImplementedError

    def authorise(self, call: Call) -> None:
        """Raise Refused where the request's credentials are wrong."""

    def refusal(self, name: str) -> Refused:
        """Return one of the provider's own refusals, for fault rules.

        Raises:
            SetupError: The name is unknown.
        """
        raise SetupError(f"there is no refusal {name!r}", "see the emulator's documentation")

    def error_body(self, refused: Refused) -> dict[str, Any]:
        """Return an error as the provider says it."""
        raise NotImplementedError

    def jobs(self, now: float) -> list[dict[str, Any]]:
        """Return every job ever created, oldest first.

        Each is {id, labels, status, phase, survives, billed}: `survives` says that it neither failed nor
        was cancelled, `billed` is the amount, or null where it was not billed.

        Args:
            now: Seconds since 1970.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Begin what goes on besides answering, such as trainings that a restart finds."""

    async def stop(self) -> None:
        """End what goes on besides answering."""


class Application:
    """The ASGI application of an emulator.

    Besides the provider's routes there are `GET` and `DELETE /_emulator/counts` (requests by route, since
    the start), `GET /_emulator/jobs` (see `Emulator.jobs`), `GET /_emulator/problems` (the emulator's own
    faults) and `GET /_emulator/ready`.

    Args:
        emulator: What answers.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._faults = Faults(emulator.store)
        self._counts: Counter[str] = Counter()
        own = [
            Route("GET", "/_emulator/ready", self._ready),
            Route("GET", "/_emulator/counts", self._read_counts),
            Route("DELETE", "/_emulator/counts", self._clear_counts),
            Route("GET", "/_emulator/jobs", self._read_jobs),
            Route("GET", "/_emulator/problems", self._read_problems),
        ]
        self._patterns = [_pattern(route) for route in (*own, *emulator.routes())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = Request(scope, receive)
        route, params = self._find(scope)
        request.scope["path_params"] = params
        try:
            response = await self._respond(request, route)
        except ClientDisconnect:
            return
        if response is None:
            await connections.drop(request)
        else:
            await response(scope, receive, send)

    async def _respond(self, request: Request, route: Route | None) -> Response | None:
        """Return the response, or None where the connection is to be dropped."""
        if route is None:
            return self._error(Refused(404, f"Invalid URL ({request.method} {request.url.path})"))
        if route.template.startswith("/_emulator/"):
            return _json(200, await route.answer(self._call(request, None)))
        self._counts[f"{route.method} {route.template}"] += 1
        try:
            self._emulator.authorise(self._call(request, None))
            rule = self._faults.next(route.method, request.url.path, route.template)
            return await self._act(request, route, rule)
        except Refused as refused:
            return self._error(refused)
        except ClientDisconnect:
            raise
        except Exception:
            return self._broken(f"{route.method} {request.url.path}: {traceback.format_exc()}")

    async def _act(self, request: Request, route: Route, rule: Rule | None) -> Response | None:
        do = rule.do if rule else ""
        if do == "hang":
            await connections.until_gone(request)
            return None
        if rule and do == "slow":
            await request.body()  # so that it is carried out also for a client that has gone by then
            await asyncio.sleep(rule.after_s)
        if rule and do in ("refuse", "error"):
            if rule.act:
                await route.answer(self._call(request, rule))
            raise self._refusal(rule)
        answer = await route.answer(self._call(request, rule))
        if do in ("lose_answer", "late_commit"):
            return None
        if isinstance(answer, Response):
            return answer
        if self._emulator.contract is not None and do != "unknown_status":
            problems = self._emulator.contract.problems(route.method, route.template, answer)
            if problems:
                what = f"the answer to {route.method} {request.url.path} breaks the contract: {problems}"
                return self._broken(what)
        return _json(200, answer)

    def _refusal(self, rule: Rule) -> Refused:
        if rule.refusal:
            refused = self._emulator.refusal(rule.refusal)
            refused.retry_after = rule.retry_after
            return refused
        status = int(rule.status) if rule.status is not None else 500
        return Refused(
            status,
            rule.message or f"Refused by a fault rule ({status}).",
            kind=rule.type,
            code=rule.code,
            param=rule.param,
            retry_after=rule.retry_after,
        )

    def _call(self, request: Request, rule: Rule | None) -> Call:
        now, options = time.time(), self._emulator.options.now()
        exists_at = now + (rule.after_s if rule and rule.do == "late_commit" else 0.0)
        return Call(request, now, exists_at, exists_at + options.list_lag_s, options, rule)

    def _find(self, scope: Scope) -> tuple[Route | None, dict[str, Any]]:
        for pattern, route in self._patterns:
            match, found = pattern.matches(scope)
            if match == Match.FULL:
                return route, found["path_params"]
        return None, {}

    def _error(self, refused: Refused) -> Response:
        response = _json(refused.status, self._emulator.error_body(refused))
        if refused.retry_after is not None:
            response.headers["retry-after"] = f"{refused.retry_after:g}"
        return response

    def _broken(self, what: str) -> Response:
        self._emulator.store.add_problem(what)
        return self._error(Refused(500, f"THE EMULATOR IS BROKEN: {what}"))

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            await (self._emulator.start() if kind == "lifespan.startup" else self._emulator.stop())
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _ready(self, call: Call) -> dict[str, Any]:
        return {"ready": True, "pid": os.getpid()}

    async def _read_counts(self, call: Call) -> dict[str, int]:
        return dict(self._counts)

    async def _clear_counts(self, call: Call) -> dict[str, int]:
        self._counts.clear()
        return {}

    async def _read_jobs(self, call: Call) -> list[dict[str, Any]]:
        return self._emulator.jobs(call.now)

    async def _read_problems(self, call: Call) -> list[str]:
        return self._emulator.store.problems()


def _pattern(route: Route) -> tuple[Pattern, Route]:
    return Pattern(route.template, _never, methods=[route.method]), route


async def _never(request: Request) -> Response:
    raise NotImplementedError("patterns only match")


def _json(status: int, body: Any) -> Response:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(data, status, media_type="application/json")
