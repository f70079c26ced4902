"""Random conversations that every provider takes."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from retune.text.conversations import Conversation, Function, Message, ToolCall, make

TOOLS = (
    '[{"function":{"description":"Finds.","name":"find","parameters":{"properties":'
    '{"q":{"type":"string"},"type":{"type":"array"}},"type":"object"}},"type":"function"}]'
)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
objects = st.dictionaries(texts, texts | st.integers(-1000, 1000) | st.booleans(), max_size=3)


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@st.composite
def conversations(draw: st.DrawFn, pair: bool = False, weights: bool = False) -> Conversation:
    """Draw one of turns in order, perhaps with tools; `pair` with a worse answer to a user's turn."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message(role="system", content=draw(texts)))
    calls = 0
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Message(role="user", content=draw(texts)))
        for _ in range(draw(st.integers(0, 2))):
            asked = tuple(
                ToolCall(
                    Function(canonical(draw(objects)), draw(st.sampled_from(["find", "see"]))),
                    f"call_{calls + n}",
                )
                for n in range(draw(st.integers(1, 2)))
            )
            calls += len(asked)
            turns.append(Message(role="assistant", content=draw(st.just("") | texts), tool_calls=asked))
            answers = texts | objects.map(canonical) | texts.map(lambda text: canonical({"output": text}))
            turns += [Message(role="tool", content=draw(answers), tool_call_id=call.id) for call in asked]
        weight = draw(st.sampled_from([0, 1])) if weights else 1
        turns.append(Message(role="assistant", content=draw(texts), weight=weight))
    if weights:
        turns[-1] = Message(role="assistant", content=turns[-1].content)
    if pair:
        while turns[-2].role == "tool":
            del turns[-3 if turns[-3].tool_calls else -4 : -1]
    rejected = [Message(role="assistant", content=draw(texts))] if pair else []
    return make(turns, rejected, draw(st.sampled_from(["", TOOLS])))
