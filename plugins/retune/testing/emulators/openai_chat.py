"""OpenAI's `/v1/chat/completions`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.responses import Response

from retune.testing.emulators.answers import Answers, canned, tokens
from retune.testing.emulators.ids import fresh
from retune.testing.emulators.openai_errors import invalid
from retune.testing.emulators.openai_models import Models
from retune.testing.emulators.openai_requests import json_body, needed
from retune.testing.emulators.server import Call, Route


class Chat:
    """Chat completions.

    Args:
        models: Those that can be asked.
        answers: Who answers for them; None for canned answers.
        adapter: Job -> the folder of the adapter that it made; None where jobs do not really train.
    """

    def __init__(
        self, models: Models, answers: Answers | None, adapter: Callable[[str], Path] | None
    ) -> None:
        self._models = models
        self._answers = answers
        self._adapter = adapter

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("POST", "/v1/chat/completions", self._complete)]

    async def _complete(self, call: Call) -> dict[str, Any] | Response:
        asked = await json_body(call.request)
        model = needed(asked, "model")
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages:
            raise invalid("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
        job = self._models.tuned(model, call.options, call.now)
        head = {
            "id": fresh("chatcmpl-", 29),
            "object": "chat.completion",
            "created": int(call.now),
            "model": model,
        }
        if self._answers is None:
            prompt = json.dumps(messages)
            text = canned(model, prompt)
            usage = _usage(tokens(prompt), tokens(text))
            answer = {**head, "choices": [_choice({"content": text}, "stop")], "usage": usage}
        else:
            adapter = self._adapter(job) if job and self._adapter else None
            answer = {**head, **_reshaped(await self._answers.complete(asked, adapter))}
        return streamed(answer) if asked.get("stream") else answer


def _choice(message: Mapping[str, Any], reason: str, place: int = 0, logprobs: Any = None) -> dict[str, Any]:
    shown = {"role": "assistant", "content": message["content"], "refusal": None}
    if message.get("tool_calls"):
        shown["tool_calls"] = message["tool_calls"]
    logprobs = logprobs and {"refusal": None, **logprobs}
    return {"index": place, "message": shown, "logprobs": logprobs, "finish_reason": reason}


def _usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _reshaped(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what vLLM answered in OpenAI's shape: vLLM adds fields of its own and leaves others out."""
    choices = [
        _choice(found["message"], found["finish_reason"], place, found.get("logprobs"))
        for place, found in enumerate(answer["choices"])
    ]
    counts = answer["usage"]
    return {"choices": choices, "usage": _usage(counts["prompt_tokens"], counts["completion_tokens"])}


def streamed(answer: dict[str, Any]) -> Response:
    """Return an answer as server-sent events, a word each; the first choice only."""
    whole = answer["choices"][0]
    head = {name: answer[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    words = (whole["message"]["content"] or "").split(" ")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word if place == 0 else f" {word}"} for place, word in enumerate(words)]
    chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": whole["finish_reason"]})
    events = [json.dumps({**head, "choices": [chunk]}) for chunk in chunks]
    text = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
    return Response(text, media_type="text/event-stream")
