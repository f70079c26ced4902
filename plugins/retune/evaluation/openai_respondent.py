"""Models behind OpenAI's chat completions: of OpenAI, of services with its API, of our own endpoints.

Which parameters a model takes is not published as data: reasoning models refuse `max_tokens` in favour
of `max_completion_tokens`, and every `temperature` but their own (openai-python issue 2046), while
compatible services may pass over a name that they do not know. So the older names are tried first, and
a refusal that names them is heeded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from retune.errors import EndpointError
from retune.evaluation.respondents import PING, Answer
from retune.settings import EndpointAddress, OpenAIAccount
from retune.text.conversations import Conversation, Message
from retune.text.formats import openai_rows

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_ACTIONS = {
    401: "put a valid key into connection {connection!r}",
    403: "give the account behind connection {connection!r} the right to ask this model",
    404: "see under which name the account behind connection {connection!r} has it, if it still does",
    429: "raise the limits of that account, or lower evaluation.max_in_flight",
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

    retries = 4
    """Rate limits count by the minute: the SDK waits longer each time, or as long as the service asks."""

    def __init__(
        self, account: OpenAIAccount, connection: str, model: str, *, max_tokens: int, timeout_s: float
    ) -> None:
        self._account = account
        self._connection = connection
        self._model = model
        self._timeout_s = timeout_s
        self._parameters: dict[str, Any] = {"max_tokens": max_tokens, "temperature": 0.0}

    @property
    def address(self) -> str:
        """The service's host."""
        address = urlsplit(self._account.base_url)
        return f"{address.hostname}:{address.port}" if address.port else address.hostname or ""

    @cached_property
    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self._account.base_url,
            api_key=self._account.api_key or "none",
            timeout=self._timeout_s,
            max_retries=self.retries,
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
        error = await self._probed()
        while error is not None and self._heeds(error):
            error = await self._probed()
        if error is not None:
            action = _ACTIONS.get(getattr(error, "status_code", 0), "see connection {connection!r}")
            raise EndpointError(
                f"{self.address} does not answer as {self._model!r}: {self._said(error)}",
                action.format(connection=self._connection),
            )

    async def _probed(self) -> Exception | None:
        """Ask once; return what went wrong, to be told outside of `except`: it holds the key."""
        from openai import OpenAIError

        try:
            await self._complete(PING)
        except (OpenAIError, ValueError) as error:
            return error
        return None

    def _heeds(self, error: Exception) -> bool:
        """Give up a parameter that a refusal names; False where it names none."""
        if getattr(error, "status_code", 0) not in (400, 422):
            return False
        said = f"{getattr(error, 'param', '')} {error}"
        given = self._parameters
        if "max_completion_tokens" in said and "max_tokens" in given:
            given["max_completion_tokens"] = given.pop("max_tokens")
            return True
        return "temperature" in said and given.pop("temperature", None) is not None

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Answer greedily, where the model takes a temperature."""
        from openai import OpenAIError

        start = time.perf_counter()
        try:
            completion = await self._complete(messages)
        except (OpenAIError, ValueError) as error:
            return Answer("", self._said(error), time.perf_counter() - start)
        return Answer(*_read(completion), time.perf_counter() - start)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, messages: Sequence[Message]) -> Any:
        return await self._client.chat.completions.create(
            model=self._model, messages=_turns(messages), **self._parameters
        )

    def _said(self, error: Exception) -> str:
        """Return an error in words, without a key, not even a masked one."""
        return self._account.clean(f"{type(error).__name__}: {error}")


class EndpointRespondent(OpenAIRespondent):
    """A model on an endpoint of one's own, such as vLLM's, whose list of models is the truth.

    Args:
        endpoint: How it is reached.
        connection: The endpoint's name, for errors.
        model: What the endpoint calls it.
        max_tokens: Longest answer.
        timeout_s: Of one try of one call.
    """

    retries = 2

    def __init__(
        self, endpoint: EndpointAddress, connection: str, model: str, *, max_tokens: int, timeout_s: float
    ) -> None:
        account = OpenAIAccount(f"{endpoint.url}/v1", endpoint.api_key)
        super().__init__(account, connection, model, max_tokens=max_tokens, timeout_s=timeout_s)
        self._url = endpoint.url

    @property
    def address(self) -> str:
        """The endpoint's URL."""
        return f"endpoint {self._url}"

    async def check(self) -> None:
        """Look whether the endpoint lists the model.

        Raises:
            EndpointError: It does not, or it does not answer.
        """
        from openai import OpenAIError

        try:
            served, problem = [entry.id async for entry in self._client.models.list()], ""
        except (OpenAIError, ValueError) as error:
            served, problem = [], f"{self.address} does not answer: {self._said(error)}"
        if problem:
            action = "start it (`retune serve`) or mend the connection; `retune doctor` checks it"
            raise EndpointError(problem, action)
        if self._model not in served:
            raise EndpointError(
                f"{self.address} does not serve {self._model!r}; it serves {sorted(served)}",
                "start it with the recipe's base_model, or let its agent load the adapter",
            )


def _turns(messages: Sequence[Message]) -> Any:
    """Return turns as they stand in the rows that models are tuned on; weights are for tuning only."""
    turns = openai_rows.SFT.row_of(Conversation("", tuple(messages)))["messages"]
    return [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]


def _read(completion: Any) -> tuple[str, str]:
    """Return a completion's text, or why it has none."""
    # What is no JSON comes as a text.
    choices = getattr(completion, "choices", None)
    if not choices:
        return "", "no content in the answer"
    text, details = choices[0].message.content, getattr(completion.usage, "completion_tokens_details", None)
    thought = getattr(details, "reasoning_tokens", None) or 0
    if not text and thought and choices[0].finish_reason == "length":
        return "", f"no content in the answer: thinking took {thought} tokens; raise evaluation.max_tokens"
    return text or "", "" if text is not None else "no content in the answer"
