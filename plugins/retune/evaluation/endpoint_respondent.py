"""Models on endpoints of one's own, asked with as little between them and the socket as there can be.

At 1,000 calls in flight the openai SDK spends the client's core on itself: 202 calls a second against a
server that takes 1 s for each, where aiohttp alone makes 776. uvloop makes it no quicker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import msgspec

from retune.errors import EndpointError
from retune.evaluation.completions import read_completion
from retune.evaluation.patience import Patience, Refusal, refusal_of
from retune.evaluation.respondents import Answer, chat_turns
from retune.records.evaluation import ENDPOINT
from retune.settings import EndpointAddress, OpenAIAccount
from retune.text.conversations import Message

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_RETRIES = 2
_LARGEST = 16 << 20
"""Bytes of a response: none that a model writes is that long."""
_CHUNK = 1 << 16
_IDLE_S = 3.0
"""vLLM closes an idle connection after 5 s: it is closed first here, or a request meets the close."""
_ACTIONS = {
    401: "put the endpoint's key into connection {connection!r}",
    403: "put a key that may ask this model into connection {connection!r}",
    404: "start it with the recipe's base_model, or let its agent load the adapter again",
}


class EndpointRespondent:
    """A model on an endpoint of one's own, such as vLLM's, whose list of models is the truth.

    Args:
        endpoint: How it is reached.
        connection: The endpoint's name, for errors.
        model: What the endpoint calls it.
        max_tokens: Longest answer.
        timeout_s: Of one try of one call.
    """

    priced_as = ENDPOINT

    def __init__(
        self, endpoint: EndpointAddress, connection: str, model: str, *, max_tokens: int, timeout_s: float
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._timeout_s = timeout_s
        self._parameters: dict[str, Any] = {"max_tokens": max_tokens, "temperature": 0.0}
        self._actions = {code: text.format(connection=connection) for code, text in _ACTIONS.items()}
        self._patience = Patience(self.address, _RETRIES)

    @property
    def address(self) -> str:
        """The endpoint's URL."""
        return f"endpoint {self._endpoint.url}"

    @property
    def identity(self) -> dict[str, Any]:
        """The URL, the model and the decoding parameters."""
        return {"url": self._endpoint.url, "model": self._model, **self._parameters}

    @cached_property
    def _session(self) -> ClientSession:
        import aiohttp

        key = self._endpoint.api_key
        return aiohttp.ClientSession(
            # As many as are in flight: the client bounds them.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            # The second keeps what is asked here, such as held-out questions, out of the captured traffic.
            headers={"content-type": "application/json", "x-retune-probe": "1"}
            | ({"authorization": f"Bearer {key}"} if key else {}),
        )

    async def check(self) -> None:
        """Look whether the endpoint lists the model.

        Raises:
            EndpointError: It does not, or it does not answer.
        """
        served: set[str] = set()
        found = await self._patience.settled(partial(self._listed, served))
        if isinstance(found, Refusal):
            raise EndpointError(
                f"{self.address} does not answer: {found.said}",
                "start it (`retune serve`) or mend the connection; `retune doctor` checks it",
            )
        if self._model not in served:
            raise EndpointError(
                f"{self.address} does not serve {self._model!r}; it serves {sorted(served)}",
                "start it with the recipe's base_model, or let its agent load the adapter",
            )

    async def answer(self, messages: Sequence[Message]) -> Answer:
        """Answer greedily; raises EndpointError where no other question would be answered either."""
        body = {"model": self._model, "messages": chat_turns(messages), **self._parameters}
        encoded = msgspec.json.encode(body)
        return await self._patience.answer(partial(self._completed, encoded))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _completed(self, body: bytes) -> Answer | Refusal:
        found = await self._called("POST", "/v1/chat/completions", body)
        return found if isinstance(found, Refusal) else read_completion(*found)

    async def _listed(self, served: set[str]) -> Answer | Refusal:
        """Add the names of the models that the endpoint lists."""
        found = await self._called("GET", "/v1/models")
        if isinstance(found, Refusal):
            return found
        try:
            served.update(str(entry["id"]) for entry in msgspec.json.decode(found[0])["data"])
        except (ValueError, KeyError, TypeError):
            start = found[0][:200].decode("utf-8", "replace")
            return Refusal(f"its list of models is none: {start!r}")
        return Answer("", "", found[1])

    async def _called(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[bytes, float] | Refusal:
        """Make one try; return what a response with status 200 holds and the time that it took."""
        import aiohttp

        start = time.perf_counter()
        try:
            async with self._session.request(method, f"{self._endpoint.url}{path}", data=body) as response:
                found = await _read(response)
            status, headers = response.status, response.headers
        except TimeoutError:
            said = f"no answer within {self._timeout_s:g} s"
            return Refusal(said, may_pass=True, latency_s=time.perf_counter() - start)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: what is no HTTP, or no URL
            said = self._clean(f"{type(error).__name__}: {error}")
            may_pass = not isinstance(error, ValueError)
            return Refusal(said, may_pass=may_pass, latency_s=time.perf_counter() - start)
        taken = time.perf_counter() - start
        if found is None:
            return Refusal(f"the answer is longer than {_LARGEST:,} bytes", latency_s=taken)
        if status == 200:
            return found, taken
        return self._refused(status, found, headers, taken)

    def _refused(self, status: int, body: bytes, headers: Mapping[str, str], taken: float) -> Refusal:
        said = self._clean(f"HTTP {status}: {body[:2000].decode('utf-8', 'replace')}")
        return refusal_of(status, said, headers, self._actions, taken)

    def _clean(self, text: str) -> str:
        return OpenAIAccount(self._endpoint.url, self._endpoint.api_key).clean(text)


async def _read(response: ClientResponse) -> bytes | None:
    """Return a response's body; None where it is longer than any answer."""
    found = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        found += chunk
        if len(found) > _LARGEST:
            return None
    return bytes(found)
