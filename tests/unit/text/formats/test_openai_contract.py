from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from retune.text.conversations import Conversation
from retune.text.formats import openai_rows

from .conversations import conversations

CONTRACT = Path(__file__).resolve().parents[5] / "shared" / "contracts" / "openai-fine-tuning.openapi.json"
pytestmark = pytest.mark.skipif(not CONTRACT.exists(), reason="../shared is not here: no OpenAPI description")


@pytest.fixture(scope="module")
def message() -> jsonschema.Draft202012Validator:
    return validator("ChatCompletionRequestMessage")


@pytest.fixture(scope="module")
def tool() -> jsonschema.Draft202012Validator:
    return validator("ChatCompletionTool")


def validator(name: str) -> jsonschema.Draft202012Validator:
    # The description is cut: it has no FineTuneChatRequestInput, whose messages are those of a chat.
    contract: dict[str, Any] = json.loads(CONTRACT.read_text())
    schema = {"$ref": f"#/components/schemas/{name}", "components": contract["components"]}
    return jsonschema.Draft202012Validator(schema)


def test_the_contract_can_say_no(message: jsonschema.Draft202012Validator) -> None:
    assert message.is_valid({"role": "user", "content": "x"})
    assert not message.is_valid({"role": "tool", "content": "x"})
    assert not message.is_valid({"role": "user", "content": 5})


@settings(max_examples=40)
@given(conversations(weights=True), conversations(pair=True))
def test_lines_are_as_the_contract_has_them(
    message: jsonschema.Draft202012Validator,
    tool: jsonschema.Draft202012Validator,
    row: Conversation,
    pair: Conversation,
) -> None:
    sft = json.loads(openai_rows.SFT.line(row))
    preference = json.loads(openai_rows.PREFERENCE.line(pair))
    assert set(preference) == {"input", "preferred_output", "non_preferred_output"}
    messages = sft["messages"] + preference["input"]["messages"]
    for one in messages + preference["preferred_output"] + preference["non_preferred_output"]:
        message.validate(one)
    for one in sft.get("tools", []) + preference["input"].get("tools", []):
        tool.validate(one)
