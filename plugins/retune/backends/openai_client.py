"""One account of OpenAI, Azure or a compatible service: the SDK's clients, and lists read to their end.

The SDK's own retries are off: one `jobs.create` whose answer is lost would make two or three jobs (its
idempotency key is never sent), and for reads the callers have a patience of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from retune.backends.base import TransientError
from retune.backends.openai_refusals import Service, answered, asked
from retune.errors import BackendError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

PAGE = 100
"""Entries of a page; the most that lists of jobs, events and checkpoints are known to give."""
_TIMEOUT_S = 60.0
_MOST_PAGES = 1000


class Account:
    """The clients of one account.

    Args:
        service: Who is asked.
        strict: Refuse answers that are not as the SDK describes them; for tests.
    """

    def __init__(self, service: Service, strict: bool = False) -> None:
        self.service = service
        self._strict = strict
        self._client: OpenAI | None = None
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        """Who pays: host, organisation and project; free of secrets."""
        account = self.service.account
        return " ".join(part for part in (self.service.host, account.organization, account.project) if part)

    @property
    def client(self) -> OpenAI:
        """The client for one thread's requests."""
        if self._client is None:
            openai = _sdk()
            self._client = self._made(openai.OpenAI)
        return self._client

    async def client_of_loop(self) -> AsyncOpenAI:
        """Return the running event loop's client, which keeps its connections open."""
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            # The SDK's import and its certificates take longer than an event loop may stand still.
            self._of_loops[loop] = await asyncio.to_thread(lambda: self._made(_sdk().AsyncOpenAI))
        return self._of_loops[loop]

    def _made(self, kind: Any) -> Any:
        account = self.service.account
        client = kind(
            api_key=account.api_key,
            base_url=account.base_url,
            max_retries=0,
            timeout=_TIMEOUT_S,
            _strict_response_validation=self._strict,
        )
        # Set here, as the SDK would take what is empty from the environment: another payer's.
        client.organization = account.organization or None
        client.project = account.project or None
        return client


def _sdk() -> Any:
    try:
        import openai
    except ImportError as error:
        action = "pip install 'airflow-provider-retune[openai]'"
        raise BackendError(f"backend openai: {error}", action) from error
    return openai


def pages(service: Service, read: Callable[[str], Any], most: int = _MOST_PAGES) -> Iterator[list[Any]]:
    """Yield a list's pages.

    A service that does not heed `after` gives its first page again and again: no entry is yielded twice,
    and a page without news ends the list.

    Args:
        service: Who is asked.
        read: Asks for the page after the entry with this ID; "" is the first page.
        most: How many pages are read; what lies behind them is left out.

    Raises:
        TransientError: A page is none, so that "nothing there" cannot be said.
    """
    seen: set[str] = set()
    after = ""
    for _ in range(most):
        page = asked(service, lambda after=after: read(after))  # type: ignore[misc]
        fresh = [entry for entry in entries_of(page, service) if entry.id not in seen]
        if not fresh:
            return
        yield fresh
        if getattr(page, "has_more", None) is False:
            return
        seen.update(entry.id for entry in fresh)
        after = fresh[-1].id


def every(service: Service, read: Callable[[str], Any], most_pages: int = _MOST_PAGES) -> Iterator[Any]:
    """Yield a list's entries; see `pages`."""
    return chain.from_iterable(pages(service, read, most_pages))


def entries_of(page: Any, service: Service) -> list[Any]:
    """Return a page's entries; raises TransientError where it holds no list."""
    data = getattr(page, "data", None)
    if not isinstance(data, list):
        raise TransientError(f"{service.host} gave no list: {service.clean(str(page))[:80]}")
    return [answered(service, entry) for entry in data]


def given(after: str) -> dict[str, Any]:
    """Return the arguments for a page after an entry."""
    return {"limit": PAGE, **({"after": after} if after else {})}
