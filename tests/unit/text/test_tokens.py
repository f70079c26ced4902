from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.text.chat_template import renderer
from retune.text.conversations import Conversation, Function, Message, ToolCall, conversation, make
from retune.text.tokens import TokenCounter, counter_for, upper_bound

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
"""
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def write_tokenizer(folder: Path, **config: Any) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the parcel is late, the parcel is lost"] * 5, trainer)
    tokenizer.enable_truncation(4)  # as a file has it whose tokenizer was last used so
    tokenizer.enable_padding(length=4)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> TokenCounter:
    project = tmp_path_factory.mktemp("project")
    write_tokenizer(project / "models" / "base", chat_template=CHAT_TEMPLATE)
    return counter_for("models/base", project)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    tried: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        tried.append(str(args))
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def test_a_local_folder_is_counted_by_its_own_tokenizer_without_its_limits(counter: TokenCounter) -> None:
    assert counter.exact
    # A word of the training text is one token, an unseen one a token a letter.
    assert counter.count(["the", "xyz", "", "the parcel is late, the parcel is lost"]) == [1, 3, 0, 9]


def test_a_conversation_is_counted_with_what_its_template_writes(counter: TokenCounter) -> None:
    row = conversation("", "the", "the")
    written = "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\nthe<|im_end|>\n"
    assert counter.conversations([row]) == counter.count([written])
    assert counter.conversations([row])[0] > sum(counter.count(["the", "the"])) + 4


@settings(deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=5))
def test_the_bound_is_never_below_the_count(counter: TokenCounter, texts: list[str]) -> None:
    turns = [Message(role="user", content=text) for text in texts[:-1]]
    row = make([*turns, Message(role="assistant", content=texts[-1])])
    bound = upper_bound(sum(len(text.encode()) for text in texts), len(texts))
    assert counter.conversations([row])[0] <= bound


def test_only_rows_over_the_window_are_read(counter: TokenCounter) -> None:
    rows = [conversation("", text, "the") for text in ("the", "the " * 500, "xyz " * 500)]
    read: list[int] = []

    def reading(wanted: list[int]) -> Iterable[Conversation]:
        read.extend(wanted)
        return [rows[row] for row in wanted]

    bounds = [upper_bound(len(row.prompt) + len(row.completion), 2) for row in rows]
    tokens = counter.within(1500, bounds, reading)
    assert read == [1, 2]
    assert tokens == [bounds[0], *counter.conversations(rows[1:])]
    assert tokens[1] < 1500 < tokens[2]


def test_a_template_that_refuses_leaves_the_texts_counted(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "base", chat_template="{{ raise_exception('no') }}")
    counted = counter_for("base", tmp_path)
    row = conversation("", "the", "the")
    assert counted.exact
    assert counted.conversations([row]) == [counted.count(["the\nthe"])[0] + 10]


@pytest.mark.parametrize("broken", ["{% if %}", None, 3])
def test_a_broken_template_is_none(tmp_path: Path, broken: Any) -> None:
    write_tokenizer(tmp_path / "base", chat_template=broken)
    assert counter_for("base", tmp_path).template == ""


def test_a_template_runs_in_a_sandbox() -> None:
    with pytest.raises(ValueError, match="unsafe"):
        renderer("{{ messages.__class__.__mro__ }}")(conversation("", "a", "b"))


def test_a_template_gets_tools_and_calls_as_transformers_gives_them() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (
        "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
        "{% for message in messages %}{{ message.role }}: {{ message.content }}"
        "{% for call in message.tool_calls %}{{ call.function.arguments.order }}{% endfor %}\n{% endfor %}"
    )
    call = ToolCall(function=Function(arguments='{"order": "<4711>"}', name="find"), id="1")
    tools = [{"type": "function", "function": {"name": "find", "description": "<é>"}}]
    row = make(
        [Message(role="user", content="where?"), Message(role="assistant", content="", tool_calls=(call,))],
        tools=json.dumps(tools),
    )
    messages = [
        {"role": "user", "content": "where?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "function": {"name": "find", "arguments": {"order": "<4711>"}},
                    "id": "1",
                    "type": "function",
                }
            ],
        },
    ]
    expected, _ = render_jinja_template([messages], tools=tools, chat_template=template)
    assert renderer(template)(row) == expected[0]
    assert "<4711>" in expected[0]


def test_a_hub_model_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tmp_path / "models--acme--base"
    write_tokenizer(repo / "snapshots" / ("a" * 40), chat_template=CHAT_TEMPLATE)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = counter_for("acme/base", tmp_path / "project")
    assert (found.exact, found.template) == (True, CHAT_TEMPLATE)
    assert not counter_for("acme/other", tmp_path / "project").exact


@pytest.mark.parametrize(
    "base_model", ["gpt-4.1-mini-2025-04-14", "gemini-2.5-flash", "acme/none", "no such: id"]
)
def test_what_no_tokenizer_is_here_for_is_estimated_and_nothing_is_fetched(
    base_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = counter_for(base_model, tmp_path)
    assert not found.exact
    assert found.count(["", "abcd", "abcde", "ééé"]) == [0, 1, 2, 2]
    assert base_model in found.name and not no_network


def test_a_damaged_encoding_is_not_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    address = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    damaged = tmp_path / hashlib.sha1(address.encode()).hexdigest()
    damaged.write_bytes(b"half")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert not counter_for("gpt-4o", tmp_path).exact
    assert damaged.exists() and not no_network


def test_a_broken_tokenizer_is_estimated(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.json").write_text("{}")
    assert not counter_for("base", tmp_path).exact
