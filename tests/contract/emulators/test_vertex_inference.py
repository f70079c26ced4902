"""`generateContent` and `countTokens`, canned and by a vLLM server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.genai import errors, types

from retune.testing.emulators.process import Running
from retune.testing.vllm_stub import VllmStub
from tests.contract.emulators.vertex_client import MODEL, client_of, vertex


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with vertex(tmp_path_factory.mktemp("vertex")) as found:
        yield found


def test_the_same_question_has_the_same_answer(emulator: Running) -> None:
    client = client_of(emulator)
    answers = [client.models.generate_content(model=MODEL, contents=text) for text in ("a", "a", "b")]
    texts = [answer.text for answer in answers]
    assert texts[0] == texts[1] != texts[2]
    usage = answers[0].usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count > 0
    assert answers[0].model_version == MODEL
    counted = client.models.count_tokens(model=MODEL, contents="how many are these?")
    assert counted.total_tokens == 5


def test_a_model_or_endpoint_that_is_not_there_is_not_found(emulator: Running) -> None:
    client = client_of(emulator)
    with pytest.raises(errors.ClientError, match="404 NOT_FOUND.*Publisher Model .*gemini-0"):
        client.models.generate_content(model="gemini-0", contents="hi")
    endpoint = "projects/retune/locations/us-central1/endpoints/7"
    with pytest.raises(errors.ClientError, match="404 NOT_FOUND.*endpoints/7"):
        client.models.generate_content(model=endpoint, contents="hi")


@pytest.mark.parametrize(
    ("contents", "config", "words"),
    [
        (types.Part.from_bytes(data=b"x", mime_type="image/png"), {}, "reads only text"),
        ("hi", {"response_logprobs": True}, "responseLogprobs"),
        ("hi", {"tools": [{"function_declarations": [{"name": "f"}]}]}, "tools"),
    ],
)
def test_what_is_not_emulated_is_said_so(
    emulator: Running, contents: Any, config: dict[str, Any], words: str
) -> None:
    client, given = client_of(emulator), types.GenerateContentConfig(**config)
    with pytest.raises(errors.APIError, match=words):
        client.models.generate_content(model=MODEL, contents=contents, config=given)


def test_a_vllm_server_answers_with_the_settings_translated(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []
    with VllmStub(answer=lambda model, prompt: f"{model} says {prompt}") as stub:
        stub.on_body = bodies.append
        with vertex(tmp_path, vllm=stub.url) as emulator:
            client = client_of(emulator)
            answer = client.models.generate_content(
                model=MODEL,
                contents=[
                    types.UserContent("first"),
                    types.ModelContent("so"),
                    types.UserContent("second"),
                ],
                config=types.GenerateContentConfig(
                    system_instruction="be short",
                    temperature=0.0,
                    top_p=0.9,
                    top_k=3,
                    max_output_tokens=9,
                    stop_sequences=["."],
                    seed=7,
                    response_mime_type="application/json",
                    response_schema=types.Schema(type=types.Type.STRING, enum=["a", "b"]),
                ),
            )
            enum = types.GenerateContentConfig(
                response_mime_type="text/x.enum", response_schema={"type": "STRING", "enum": ["a", "b"]}
            )
            client.models.generate_content(model=MODEL, contents="third", config=enum)
            emulator.set_options(vllm="http://127.0.0.1:9")
            emulator.kill()
            emulator.start()
            with pytest.raises(errors.ServerError, match="503 UNAVAILABLE.*vLLM server does not answer"):
                client.models.generate_content(model=MODEL, contents="hi")
    assert answer.text == "base says second"
    assert answer.candidates[0].finish_reason == "STOP"
    asked, by_enum = bodies
    assert asked["messages"] == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "so"},
        {"role": "user", "content": "second"},
    ]
    schema = {"type": "string", "enum": ["a", "b"]}
    assert {name: asked[name] for name in asked if name not in ("messages", "model")} == {
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 3,
        "max_tokens": 9,
        "stop": ["."],
        "seed": 7,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    assert by_enum["structured_outputs"] == {"choice": ["a", "b"]}
