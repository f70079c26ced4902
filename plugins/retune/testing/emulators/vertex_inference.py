"""Vertex AI's `generateContent` and `countTokens`, of base models and of tuned ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retune.testing.emulators.answers import Answers, canned, tokens
from retune.testing.emulators.server import Call, Route
from retune.testing.emulators.store import Entry, Store
from retune.testing.emulators.vertex_catalog import find_model
from retune.testing.emulators.vertex_chat import candidates, chat_request, text_of
from retune.testing.emulators.vertex_contract import PREFIX, vertex_contract
from retune.testing.emulators.vertex_names import number_of, project_number, timestamp
from retune.testing.emulators.vertex_refusals import VertexRefused
from retune.testing.emulators.vertex_requests import read_request

_PLACE = "/v1beta1/projects/{project}/locations/{location}"
_BASE = f"{_PLACE}/publishers/{{publisher}}/models/{{model}}"
_TUNED = f"{_PLACE}/endpoints/{{endpoint}}"


class Inference:
    """The routes by which models answer.

    Args:
        store: Knows what was tuned.
        answers: Who answers; None for canned answers.
        adapter: Job -> the folder of the adapter that it made; None where jobs do not really train.
    """

    def __init__(self, store: Store, answers: Answers | None, adapter: Callable[[str], Path] | None) -> None:
        self._store = store
        self._answers = answers
        self._adapter = adapter

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("POST", f"{_BASE}:generateContent", self._by_base),
            Route("POST", f"{_TUNED}:generateContent", self._by_tuned),
            Route("POST", f"{_BASE}:countTokens", self._count_by_base),
            Route("POST", f"{_TUNED}:countTokens", self._count_by_tuned),
        ]

    async def _by_base(self, call: Call) -> dict[str, Any]:
        return await self._answer(call, self._base(call), None)

    async def _by_tuned(self, call: Call) -> dict[str, Any]:
        entry = self._tuned(call)
        folder = self._adapter(entry.body["job"]) if self._adapter else None
        return await self._answer(call, entry.id, folder)

    async def _count_by_base(self, call: Call) -> dict[str, Any]:
        self._base(call)
        return await _count(call)

    async def _count_by_tuned(self, call: Call) -> dict[str, Any]:
        self._tuned(call)
        return await _count(call)

    def _base(self, call: Call) -> str:
        publisher, name = call.path("publisher"), call.path("model")
        full = name if publisher == "google" else f"{publisher}/{name}"
        if find_model(full, call.options, call.now) is None:
            place = f"projects/{call.path('project')}/locations/{call.path('location')}"
            message = (
                f"Publisher Model `{place}/publishers/{publisher}/models/{name}` was not found or your"
                " project does not have access to it. Please ensure you are using a valid model version."
            )
            raise VertexRefused(404, message)
        return full

    def _tuned(self, call: Call) -> Entry:
        endpoint = call.path("endpoint")
        found = self._store.get("endpoint", endpoint, call.now)
        if found is None:
            place = f"projects/{project_number(call.path('project'))}/locations/{call.path('location')}"
            raise VertexRefused(404, f"The Endpoint {place}/endpoints/{endpoint} is not found.")
        return found

    async def _answer(self, call: Call, model: str, adapter: Path | None) -> dict[str, Any]:
        asked = await read_request(call, vertex_contract(), f"{PREFIX}GenerateContentRequest", "")
        if not asked.get("contents"):
            raise VertexRefused(400, "Unable to submit request because it must have a contents field.")
        request = chat_request(asked)
        if self._answers is None:
            answer = _canned(model, json.dumps(request["messages"]))
        else:
            answer = await self._answers.complete(request, adapter)
        given, made = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
        return {
            "candidates": candidates(answer),
            "usageMetadata": {
                "promptTokenCount": given,
                "candidatesTokenCount": made,
                "totalTokenCount": given + made,
                "trafficType": "ON_DEMAND",
            },
            "modelVersion": model,
            "createTime": timestamp(call.now),
            "responseId": number_of(model, call.now),
        }


def _canned(model: str, prompt: str) -> dict[str, Any]:
    text = canned(model, prompt)
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": tokens(prompt), "completion_tokens": tokens(text)}
    return {"choices": [choice], "usage": usage}


async def _count(call: Call) -> dict[str, Any]:
    asked = await read_request(call, vertex_contract(), f"{PREFIX}CountTokensRequest", "")
    text = "".join(text_of(content) for content in asked.get("contents", ()))
    return {"totalTokens": tokens(text), "totalBillableCharacters": len("".join(text.split()))}
