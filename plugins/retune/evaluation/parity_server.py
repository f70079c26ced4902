"""A server as trainer and server are compared by: its token ids, and its greedy answers.

Source of `/tokenize`, `/detokenize`, `return_token_ids` and `repetition_penalty`: vLLM 0.32,
entrypoints/serve/tokenize/protocol.py and entrypoints/openai/chat_completion/protocol.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from retune.errors import EndpointError
from retune.settings import EndpointAddress
from retune.training.parity import ANSWER_TOKENS, Turns

_NO_SUCH_ADDRESS = {404, 405, 501}


@dataclass(frozen=True)
class Heard:
    """A server's greedy answer.

    Attributes:
        text: As it came.
        ids: Token ids; None where the server tells none.
        stopped: Whether it ended by itself, and not at the limit.
    """

    text: str
    ids: list[int] | None
    stopped: bool


class Server:
    """A server with a model.

    Args:
        endpoint: Where it is.
        model: What it calls the model.
        timeout_s: Of one request.
    """

    def __init__(self, endpoint: EndpointAddress, model: str, timeout_s: float) -> None:
        self._http = httpx.Client(base_url=endpoint.url, timeout=timeout_s, trust_env=False)
        self._model = model
        self._key = endpoint.api_key
        self._headers = {"x-retune-probe": "1"}  # keeps our own calls out of the captured traffic
        if endpoint.api_key:
            self._headers["authorization"] = f"Bearer {endpoint.api_key}"
        self.address = f"endpoint {endpoint.url}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def tokens(self, messages: Turns) -> list[int] | None:
        """Return a conversation's token ids, or None where the server has no such call."""
        answer = self._post("/tokenize", messages=messages, add_generation_prompt=True)
        if answer.status_code in _NO_SUCH_ADDRESS:
            return None
        found = self._fields(answer, "tokens")
        if not isinstance(found, list):
            raise self._strange(answer)
        return found

    def text(self, ids: Sequence[int]) -> str:
        """Return what token ids stand for."""
        return str(self._fields(self._post("/detokenize", tokens=list(ids)), "prompt"))

    def answer(self, messages: Turns, ids: bool) -> Heard:
        """Answer greedily; `ids` asks for token ids too, which only vLLM's kind knows."""
        # Of a base model's generation settings vLLM would go on heeding the penalty.
        own = {"return_token_ids": True, "repetition_penalty": 1.0} if ids else {}
        given = {"messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0, **own}
        answer = self._post("/v1/chat/completions", **given)
        choices = self._fields(answer, "choices")
        try:
            text, found = choices[0]["message"].get("content") or "", choices[0].get("token_ids")
            return Heard(text, found, choices[0]["finish_reason"] == "stop")
        except (LookupError, TypeError, AttributeError) as error:
            raise self._strange(answer) from error

    def _post(self, path: str, **body: Any) -> httpx.Response:
        try:
            return self._http.post(path, json={"model": self._model, **body}, headers=self._headers)
        except httpx.HTTPError as error:
            raise EndpointError(
                f"{self.address}{path} does not answer: {error or type(error).__name__}",
                "see the server's log, or wait until it is up",
            ) from error

    def _fields(self, answer: httpx.Response, name: str) -> Any:
        try:
            if answer.is_success:
                return answer.json()[name]
        except (ValueError, LookupError, TypeError) as error:
            raise self._strange(answer) from error
        raise self._strange(answer)

    def _strange(self, answer: httpx.Response) -> EndpointError:
        said = " ".join(answer.text.split())
        if self._key:
            said = said.replace(self._key, "***")
        return EndpointError(
            f"{self.address}{answer.url.path} answered {answer.status_code}: {said[:300]}",
            "see the server's log",
        )
