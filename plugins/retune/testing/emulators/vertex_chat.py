"""Requests of Vertex AI's `generateContent` as OpenAI's clients would send them, and the answers back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retune.testing.emulators.vertex_refusals import VertexRefused

_SETTINGS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "candidateCount": "n",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_LEFT_OUT = ("responseLogprobs", "logprobs", "speechConfig", "imageConfig", "responseFormat")
_FINISHED = {"stop": "STOP", "length": "MAX_TOKENS"}
_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}


def chat_request(asked: dict[str, Any]) -> dict[str, Any]:
    """Return a request without its model.

    Args:
        asked: A `GenerateContentRequest`.

    Raises:
        Refused: It asks for what is not emulated: tools, media, probabilities.
    """
    config = asked.get("generationConfig", {})
    for name in ("tools", "cachedContent"):
        if asked.get(name):
            raise VertexRefused(501, f"The emulator does not answer with {name}.")
    for name in _LEFT_OUT:
        if config.get(name):
            raise VertexRefused(501, f"The emulator does not know generation_config.{name}.")
    request: dict[str, Any] = {"messages": list(_messages(asked))}
    request |= {name: config[given] for given, name in _SETTINGS.items() if given in config}
    if "topK" in config:
        request["top_k"] = int(config["topK"])
    return request | _format(config)


def candidates(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates of a chat completion."""
    return [
        {
            "index": place,
            "content": {"role": "model", "parts": [{"text": choice["message"]["content"] or ""}]},
            "finishReason": _FINISHED.get(choice["finish_reason"], "OTHER"),
        }
        for place, choice in enumerate(answer["choices"])
    ]


def text_of(content: dict[str, Any]) -> str:
    """Return the text of a content; raises Refused where it holds something else."""
    texts = []
    for part in content.get("parts", ()):
        if set(part) - {"text", "thought", "thoughtSignature"}:
            kinds = ", ".join(sorted(part))
            raise VertexRefused(501, f"The emulator reads only text, not {kinds}.")
        texts.append(part.get("text", ""))
    return "".join(texts)


def _messages(asked: dict[str, Any]) -> Iterator[dict[str, str]]:
    if "systemInstruction" in asked:
        yield {"role": "system", "content": text_of(asked["systemInstruction"])}
    for content in asked["contents"]:
        role = "assistant" if content.get("role") == "model" else "user"
        yield {"role": role, "content": text_of(content)}


def _format(config: dict[str, Any]) -> dict[str, Any]:
    """Return what the answer is to look like, in vLLM's words."""
    schema = config.get("responseJsonSchema") or _json_schema(config.get("responseSchema"))
    if config.get("responseMimeType") == "text/x.enum" and schema:
        return {"structured_outputs": {"choice": schema["enum"]}}
    if schema:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}
    if config.get("responseMimeType") == "application/json":
        return {"response_format": {"type": "json_object"}}
    return {}


def _json_schema(value: Any) -> Any:
    """Return a schema with JSON Schema's names of types, which Vertex AI writes in capitals."""
    if isinstance(value, dict):
        return {
            key: item.lower() if key == "type" and item in _TYPES else _json_schema(item)
            for key, item in value.items()
            if key != "propertyOrdering"
        }
    return [_json_schema(item) for item in value] if isinstance(value, list) else value
