"""When a question is asked again, and when everybody waits."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from retune.errors import EndpointError
from retune.evaluation.respondents import Answer

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LEAST_ASKED_S, _LONGEST_ASKED_S = 0.1, 300.0
_MOST_PAUSES = 6
_MAY_PASS = frozenset({408, 409, 429})
_NO_QUOTA = ("insufficient_quota", "billing_not_active", "billing_hard_limit_reached")
"""Codes of a 429 that no wait mends (platform.openai.com/docs/guides/error-codes)."""
_SPREAD = 0.1


@dataclass(frozen=True)
class Refusal:
    """A try that brought no answer."""

    said: str
    """Why, for people; free of secrets."""
    status: int = 0
    """HTTP's; 0 where no response came."""
    may_pass: bool = False
    """Whether the same question may be asked again: it costs nothing twice but the server's time."""
    wait_s: float | None = None
    """How long the service asks to be left alone."""
    action: str = ""
    """What to do where no other question would be answered either; empty: it is this question's matter."""
    latency_s: float = 0.0

    @property
    def is_limit(self) -> bool:
        """Whether the service has enough of all questions, not of this one."""
        return self.status == 429 or self.wait_s is not None


def refusal_of(
    status: int, said: str, headers: Mapping[str, str], actions: Mapping[int, str], latency_s: float
) -> Refusal:
    """Return what an HTTP error means for the question, and for those after it.

    Tried again are time-outs, rate limits and failures of the server, as OpenAI's own SDK has it
    (openai-python, `_base_client.py`, `_should_retry`).

    Args:
        status: HTTP's.
        said: The error, for people; free of secrets.
        headers: Of the response, by names in lower case or without regard to it.
        actions: Status -> what to do where it ends the evaluation.
        latency_s: Time that the try took.
    """
    for_good = status != 429 or any(code in said for code in _NO_QUOTA)
    return Refusal(
        said,
        status,
        may_pass=status in _MAY_PASS or status >= 500,
        wait_s=retry_after(headers, datetime.now(UTC)),
        action=actions.get(status, "") if for_good else "",
        latency_s=latency_s,
    )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds for which a service asks to be left alone; None where it does not.

    Sources: RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` is OpenAI's and Azure's.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            found = float(value) / unit
        except ValueError:
            found = _until(value, now)
        if math.isfinite(found):
            return max(0.0, found)
    return None


def _until(value: str, now: datetime) -> float:
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return math.nan
    return (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()


class Patience:
    """Asks again what may be asked again; a rate limit holds all calls of a respondent at once.

    A call is tried a few times more, with growing waits. A rate limit is no fault of a call and does not
    count: while answers come between the limits it ends by itself, and after six limits in a row without
    an answer the call fails.

    Args:
        address: Who is asked, for errors.
        retries: Most tries more of one question.
    """

    def __init__(self, address: str, retries: int) -> None:
        self._address = address
        self._retries = retries
        self._free_at = 0.0
        self._pauses = 0

    async def settled(self, ask: Callable[[], Awaitable[Answer | Refusal]]) -> Answer | Refusal:
        """Ask until there is an answer, or a refusal that another try would not change.

        Args:
            ask: Makes one try.
        """
        tries = 0
        while True:
            await self._turn()
            began = time.monotonic()
            found = await ask()
            if isinstance(found, Answer):
                self._pauses = 0
                return found
            if found.action or not found.may_pass:
                return found
            if found.is_limit:
                if not self._pause(found, began):
                    return found
            elif tries < self._retries:
                await asyncio.sleep(min(_FIRST_WAIT_S * 2**tries, _LONGEST_WAIT_S) * _jitter())
                tries += 1
            else:
                return found

    async def answer(self, ask: Callable[[], Awaitable[Answer | Refusal]]) -> Answer:
        """Ask, and return what came of it.

        Args:
            ask: Makes one try.

        Raises:
            EndpointError: No other question would be answered either.
        """
        found = await self.settled(ask)
        if isinstance(found, Answer):
            return found
        if found.action:
            raise EndpointError(f"{self._address} answers no more: {found.said}", found.action)
        if (found.wait_s or 0) > _LONGEST_ASKED_S:
            raise EndpointError(
                f"{self._address} asks to be left alone for {found.wait_s:,.0f} s: {found.said}",
                "run it again then, or raise the account's limits; the answers that came are kept",
            )
        return Answer("", found.said, found.latency_s)

    def _pause(self, limit: Refusal, began: float) -> bool:
        """Let everybody wait; False where waiting has not helped so far, or would take too long."""
        if (limit.wait_s or 0) > _LONGEST_ASKED_S:
            return False
        if began >= self._free_at:  # not under way already when the others began to wait
            self._pauses += 1
        if self._pauses > _MOST_PAUSES:
            return False
        wait_s = min(_FIRST_PAUSE_S * 2 ** (self._pauses - 1), _LONGEST_PAUSE_S)
        if limit.wait_s is not None:
            wait_s = max(limit.wait_s, _LEAST_ASKED_S)
        self._free_at = max(self._free_at, time.monotonic() + wait_s)
        return True

    async def _turn(self) -> None:
        """Wait while everybody does, and not end it all at the same moment."""
        while (left := self._free_at - time.monotonic()) > 0:
            await asyncio.sleep(left * (1 + _SPREAD * random.random()))


def _jitter() -> float:
    return 1 - 0.25 * random.random()
