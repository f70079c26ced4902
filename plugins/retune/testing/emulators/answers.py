"""Who answers for an emulator's models: a vLLM server, or nobody, which gives canned answers."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from retune.artifacts import digest_of_tree
from retune.testing.emulators.server import Refused

_BYTES_PER_TOKEN = 4
_TIMEOUT_S = 120.0


class Answers:
    """Chat completions of a vLLM server that serves the small base model.

    An adapter is loaded when it is first asked for, under the digest of its files: a name never means
    other weights, and a server that was started anew is given it again.

    Args:
        vllm: Base URL, without `/v1`.
    """

    def __init__(self, vllm: str) -> None:
        self._http = httpx.AsyncClient(base_url=vllm.rstrip("/"), timeout=_TIMEOUT_S, trust_env=False)
        self._names: dict[Path | None, str] = {}
        """Adapter, or None for the base model -> what the server calls it, once it has it."""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def complete(self, asked: dict[str, Any], adapter: Path | None) -> dict[str, Any]:
        """Return vLLM's chat completion.

        Args:
            asked: The request as OpenAI's clients send it; its model is replaced, and it is not streamed.
            adapter: Folder of the adapter that answers; None for the base model.

        Raises:
            Refused: vLLM refuses the request, or does not answer.
        """
        body = {key: value for key, value in asked.items() if key not in ("stream", "stream_options")}
        known = adapter in self._names
        try:
            return await self._ask({**body, "model": await self._name(adapter)})
        except Refused as refused:
            if refused.status != 404 or not known:
                raise
        self._names.clear()  # the server was started anew, without its adapters
        return await self._ask({**body, "model": await self._name(adapter)})

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self._send("POST", "/v1/chat/completions", body)).json()
        return found

    async def _name(self, adapter: Path | None) -> str:
        if adapter not in self._names:
            models = (await self._send("GET", "/v1/models")).json()["data"]
            name = next(model["id"] for model in models if not model.get("parent"))
            if adapter is not None:
                name = digest_of_tree(adapter)
                if name not in [model["id"] for model in models]:
                    await self._load(name, adapter)
            self._names[adapter] = name
        return self._names[adapter]

    async def _load(self, name: str, adapter: Path) -> None:
        try:
            await self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(adapter)})
        except Refused as refused:
            # Another request may have loaded it since the look.
            if "already been loaded" not in refused.message:
                raise

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            message = f"The vLLM server does not answer: {error or type(error).__name__}"
            raise Refused(503, message) from error
        if not answer.is_success:
            raise Refused(answer.status_code, _message(answer))
        return answer


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def canned(model: str, prompt: str) -> str:
    """Return the answer of a model to a prompt: the same for the same two.

    Args:
        model: Its name.
        prompt: What it was asked.
    """
    digest = sha256(f"{model}\n{prompt}".encode()).hexdigest()
    return f"canned answer {digest[:8]}"


def tokens(text: str) -> int:
    """Return about how many tokens a text has: four bytes each."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
