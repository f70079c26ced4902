"""Models behind OpenAI's chat completions: of OpenAI, and of services with its API.

Which parameters a model takes is not published as data: reasoning models refuse `max_tokens` in favour
of `max_completion_tokens`, and every `temperature` but their own (openai-python issue 2046), while
compatible services may pass over a name that they do not know. So the older names are tried first, and
a refusal that names them is heeded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from retune.errors import EndpointError
from retune.evaluation.completions import read_completion
from retune.evaluation.patience import Patience, Refusal, refusal_of
from retune.evaluation.respondents import PING, Answer, chat_turns
from retune.settings import OpenAIAccount
from retune.text.conversations import Message

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_RETRIES = 4
_ACTIONS = {
    401: "put a valid key into connection {connection!r}",
    402: "pay what the account behind connection {connection!r} owes",
    403: "give the account behind connection {connection!r} the right to ask this model",
    404: "see under which name the account behind connection {connection!r} has it, if it still does",
    429: "raise the limits of connection {connection!r}'s account, or lower evaluation.max_in_flight",
}


class OpenAIRespondent:
    """A model of OpenAI, Azure or a service with the same API.

    Args:
        account: How it is reached.
        connection: The account's name, for errors.
        model: What the service calls it.
        max_tokens: Longest answer.
        timeout_s: Of one try of one call.
    """

    def __init__(
        self, account: OpenAIAccount, connection: str, model: str, *, max_tokens: int, timeout_s: float
    ) -> None:
        self._account = account
        self._connection = connection
        self._model = model
        self._timeout_s = timeout_s
        self._wanted = {"max_tokens": max_tokens, "temperature": 0.0}
        self._parameters: dict[str, Any] = dict(self._wanted)
        self._actions = {code: text.format(connection=connection) for code, text in _ACTIONS.items()}
        self._patience = Patience(self.address, _RETRIES)

    @property
    def address(self) -> str:
        """The service's host."""
        address = urlsplit(self._account.base_url)
        return f"{address.hostname}:{address.port}" if address.port else address.hostname or ""

    @property
    def identity(self) -> dict[str, Any]:
        """The service, the model, and the decoding that is wanted, under whichever names it is taken."""
        return {"url": self._account.base_url, "model": self._model, **self._wanted}

    @property
    def priced_as(self) -> str:
        """`openai`, or the host of another service: its prices are not OpenAI's."""
        host = urlsplit(self._account.base_url).hostname or ""
        return "openai" if f".{host}".endswith(".api.openai.com") else host

    @cached_property
    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self._account.base_url,
            api_key=self._account.api_key or "none",
            timeout=self._timeout_s,
            # Each call would count its own tries, and run on into a limit that others have met.
            max_retries=0,
        )
        # Set here, as the SDK would take what is empty from the environment: another payer's.
        client.organization = self._account.organization or None
        client.project = self._account.project or None
        return client

    async def check(self) -> None:
        """Ask the model once, and see which parameters it takes.

        No list is asked: they lag, and not every service or key has one.

        Raises:
            EndpointError: The service does not answer, or not as this model.
        """
        ping = partial(self._tried, PING)
        found = await self._patience.settled(ping)
        while isinstance(found, Refusal) and self._heeds(found):
            found = await self._patience.settled(ping)
        if isinstance(found, Refusal):
            raise EndpointError(
                f"{self.address} does not answer as {self._model!r}: {found.said}",
                self._actions.get(found.status, f"see connection {self._connection!r}"),
            )

    def _heeds(self, refusal: Refusal) -> bool:
        """Give up a parameter that a refusal names; False where it names none."""
        if refusal.status not in (400, 422):
            return False
        given = self._parameters
        if "max_completion_tokens" in refusal.said and "max_tokens" in given:
            given["max_completion_tokens"] = given.pop("max_tokens")
            return True
        return "temperature" in refusal.said and given.pop("temperature", None) is not None

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Answer greedily, where the model takes a temperature.

        Raises:
            EndpointError: No other question would be answered either.
        """
        return await self._patience.answer(partial(self._tried, messages))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _tried(self, messages: Sequence[Message]) -> Answer | Refusal:
        """Make one try."""
        from openai import APIConnectionError, APIStatusError, OpenAIError

        start = time.perf_counter()
        try:
            response = await self._client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=chat_turns(messages),  # type: ignore[arg-type]
                **self._parameters,
            )
        except (OpenAIError, ValueError) as error:
            taken = time.perf_counter() - start
            # In words, without a key, not even a masked one.
            said = self._account.clean(f"{type(error).__name__}: {error}")
            if isinstance(error, APIStatusError):
                return refusal_of(error.status_code, said, error.response.headers, self._actions, taken)
            return Refusal(said, may_pass=isinstance(error, APIConnectionError), latency_s=taken)
        return read_completion(response.http_response.content, time.perf_counter() - start)
