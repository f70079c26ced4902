"""How many tokens a text or a conversation has under a base model; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune.text.chat_template import renderer
from retune.text.conversations import Conversation

_BYTES_A_TOKEN = 4
_A_TURN = 16
"""Most tokens that chat templates write around a turn; ChatML and Llama 3 write five to seven."""
_A_CHAT = 96
"""Most tokens that chat templates write around a chat, such as a default system prompt."""
_PLAIN_TURN = 5
"""Tokens around a turn where there is no chat template to tell."""
_TOOLS_PREAMBLE = 512
_TOOLS_GROWTH = 4
_MOST_TEXTS = 1000
_ENCODINGS = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
"""OpenAI's encodings -> SHA-256 of their files."""


def upper_bound(text_bytes: int, turns: int, tools_bytes: int = 0) -> int:
    """Return a number of tokens that a conversation does not exceed under a byte-level tokenizer.

    Each token stands for at least a byte; the chat template writes its own around the turns.

    Args:
        text_bytes: UTF-8 bytes of all turns' texts and calls.
        turns: How many turns.
        tools_bytes: UTF-8 bytes of the tools' definitions, which templates indent and explain.
    """
    tools = _TOOLS_PREAMBLE + _TOOLS_GROWTH * tools_bytes if tools_bytes else 0
    return text_bytes + _A_TURN * turns + _A_CHAT + tools


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens as one base model does, or estimates them.

    Attributes:
        name: What counts, for people.
        exact: Texts are counted by the base model's own tokenizer.
        template: The base model's chat template; empty: what is around turns is reckoned by five tokens.
    """

    name: str
    exact: bool
    template: str = ""
    _encode: Callable[[Sequence[str]], list[int]] = field(repr=False, kw_only=True)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return each text's tokens, without any that mark its beginning or end."""
        found: list[int] = []
        for start in range(0, len(texts), _MOST_TEXTS):
            found += self._encode(texts[start : start + _MOST_TEXTS])
        return found

    def conversations(self, rows: Iterable[Conversation]) -> list[int]:
        """Return each conversation's tokens, with what the chat template writes around its turns.

        A rejected answer is not counted. Where the template refuses a conversation, its texts are
        counted and five tokens a turn.
        """
        write = renderer(self.template) if self.template else None
        texts: list[str] = []
        around: list[int] = []
        for row in rows:
            try:
                texts.append(write(row) if write else _plain(row))
                around.append(0 if write else _PLAIN_TURN * len(row.messages))
            except ValueError:
                texts.append(_plain(row))
                around.append(_PLAIN_TURN * len(row.messages))
        return [tokens + more for tokens, more in zip(self.count(texts), around, strict=True)]

    def within(
        self, window: int, bounds: Sequence[int], read: Callable[[list[int]], Iterable[Conversation]]
    ) -> list[int]:
        """Return each conversation's tokens as far as a window needs them.

        Where the bound is within the window it stands as it is and nothing is counted; so every
        row is judged and few are read.

        Args:
            window: Most tokens.
            bounds: Each conversation's `upper_bound`.
            read: Gives the conversations of these rows, in order.
        """
        found = list(bounds)
        over = [row for row, bound in enumerate(found) if bound > window]
        for start in range(0, len(over), _MOST_TEXTS):
            rows = over[start : start + _MOST_TEXTS]
            for row, tokens in zip(rows, self.conversations(read(rows)), strict=True):
                found[row] = tokens
        return found


def counter_for(base_model: str, project: Path) -> TokenCounter:
    """Return the best counter that this machine has for a base model.

    In order: its own tokenizer.json, in its folder or in Hugging Face's cache; OpenAI's encoding,
    where tiktoken has it in its cache; else an estimate of a token every four bytes.

    Args:
        base_model: A folder against the project's root, a Hugging Face id or a provider's model.
        project: The project's root.
    """
    return _own_tokenizer(base_model, project) or _tiktoken(base_model) or _estimate(base_model)


def _plain(row: Conversation) -> str:
    calls = (call.function for turn in row.messages for call in turn.tool_calls)
    said = [turn.content for turn in row.messages]
    return "\n".join([row.tools, *said, *(f"{call.name} {call.arguments}" for call in calls)]).strip()


def _own_tokenizer(base_model: str, project: Path) -> TokenCounter | None:
    folder = project / base_model
    path = folder / "tokenizer.json" if folder.is_dir() else _cached(base_model, "tokenizer.json")
    if path is None or not path.is_file():
        return None
    try:
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_file(str(path))
    # The library raises a bare Exception where the file is none of its own; the trainer will say so.
    except Exception:
        return None
    # The file may carry the limits under which it was last used.
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(texts: Sequence[str]) -> list[int]:
        return [len(found) for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def beside(name: str) -> Path | None:
        return folder / name if folder.is_dir() else _cached(base_model, name)

    name = f"the tokenizer of {base_model}"
    return TokenCounter(name, True, _template(beside), _encode=encode)


def _cached(base_model: str, name: str) -> Path | None:
    """Return a file of a Hugging Face id where the cache has it."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(base_model, name)
    except (ImportError, ValueError):  # ValueError: no id of the hub
        return None
    return Path(found) if isinstance(found, str) else None


def _template(beside: Callable[[str], Path | None]) -> str:
    """Return the chat template that lies beside a tokenizer, or nothing where none can be used."""
    try:
        if (path := beside("chat_template.jinja")) and path.is_file():
            found: Any = path.read_text(encoding="utf-8")
        else:
            config = beside("tokenizer_config.json")
            found = json.loads(config.read_bytes()).get("chat_template") if config else None
        if isinstance(found, str):
            renderer(found)
            return found
    except (OSError, ValueError):
        pass
    return ""


def _tiktoken(base_model: str) -> TokenCounter | None:
    try:
        from tiktoken import get_encoding
        from tiktoken.model import encoding_name_for_model

        encoding_name = encoding_name_for_model(base_model)
    except (ImportError, KeyError):
        return None
    if not _is_cached(encoding_name):
        return None
    encoding = get_encoding(encoding_name)

    def encode(texts: Sequence[str]) -> list[int]:
        return [len(encoding.encode_ordinary(text)) for text in texts]

    return TokenCounter(f"tiktoken's {encoding_name}", True, _encode=encode)


def _is_cached(encoding_name: str) -> bool:
    """Tell whether tiktoken has an encoding whole in its cache; else it would fetch it.

    It keeps one in a file that is named by the address that it comes from.
    """
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    address = f"https://openaipublic.blob.core.windows.net/encodings/{encoding_name}.tiktoken"
    named = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    if folder == "":  # the way to switch its cache off
        return False
    path = Path(folder or Path(tempfile.gettempdir(), "data-gym-cache")) / named
    if not path.is_file() or encoding_name not in _ENCODINGS:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == _ENCODINGS[encoding_name]


def _estimate(base_model: str) -> TokenCounter:
    def encode(texts: Sequence[str]) -> list[int]:
        return [-(-len(text.encode("utf-8", "replace")) // _BYTES_A_TOKEN) for text in texts]

    why = f"no tokenizer of {base_model} on this machine"
    return TokenCounter(f"an estimate, {_BYTES_A_TOKEN} bytes a token: {why}", False, _encode=encode)
