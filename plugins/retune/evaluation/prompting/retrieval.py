"""Passages of documents, shown in the system message before the question."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from retune.artifacts import digest_of_json
from retune.errors import DataError, Problem
from retune.evaluation.prompting.bm25 import Ranking, words
from retune.evaluation.prompting.documents import Document, Passage
from retune.evaluation.prompting.room import Room
from retune.text.conversations import Conversation, Message

HEADING = "Documents:"
_LONG = 5
"""Words from which a question that stands in a document was copied; shorter ones turn up by chance."""
_SHORT = 2
"""Words from which a line of its own that is a question was copied."""

_MARK = re.compile(
    r"<(?=[|｜]|/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn)>|</?SYS>)|\[(?=/?[A-Z_]{4,}\])",
)
"""Where a chat format's own marks begin: ChatML, Llama 3 and Phi (`<|im_end|>`), DeepSeek (`<｜User｜>`),
Gemma (`<end_of_turn>`), Llama 2 and Mistral (`</s>`, `[INST]`, `<<SYS>>`).
"""


class Retrieval:
    """Shows the passages that fit a question best.

    Args:
        passages: All of them.
        ranking: Ranks them.
        count: Passages in a prompt; those that do not fit into the room are left out, the last ones first.
        room: What a prompt may hold.
        digest: Of documents and parameters.
    """

    def __init__(
        self, passages: Sequence[Passage], ranking: Ranking, count: int, room: Room, digest: str
    ) -> None:
        self._passages = passages
        self._ranking = ranking
        self._count = count
        self._room = room
        self._digest = digest

    @property
    def digest(self) -> str:
        """Digest of the documents and the parameters."""
        return self._digest

    def messages(self, example: Conversation) -> tuple[Message, ...]:
        """Return the question's turns, the passages in the system message."""
        return _prompt(example, self._fitting(example))

    def shown(self, example: Conversation) -> int:
        """Return how many passages a question has room for."""
        return len(self._fitting(example))

    def _fitting(self, example: Conversation) -> list[Passage]:
        found = [self._passages[place] for place in self._ranking.best(example.prompt, self._count)]
        return found[: self._room.most(len(found), lambda count: _prompt(example, found[:count]))]


def digest_of(documents: Sequence[Document], count: int, most_words: int, ranking: str, room: Room) -> str:
    """Return the digest of all that decides which passages a question is shown.

    Args:
        documents: The texts.
        count: Passages in a prompt.
        most_words: Words of a passage.
        ranking: `bm25`, or the embedding model's name.
        room: What a prompt may hold.
    """
    return digest_of_json(
        {
            "strategy": "rag",
            "documents": [[document.name, document.digest] for document in documents],
            "passages": count,
            "passage_words": most_words,
            "ranking": ranking,
            "window": room.window,
            "answer": room.answer,
            "counter": room.counter.name,
        }
    )


def refuse_leaks(documents: Iterable[Document], judged: Sequence[Conversation]) -> None:
    """Make sure that no document holds what is judged.

    Case, punctuation and white space do not matter. A question of fewer than five words counts only
    where it is a line of its own, and a single word never: it would turn up in any text.

    Raises:
        DataError: Names each document that holds judged prompts, and how many.
    """
    asked = Counter(tuple(words(row.prompt)) for row in judged)
    by_start: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for question in asked:
        if len(question) >= _LONG:
            by_start[question[:_LONG]].append(question)
    problems = []
    for document in documents:
        found = {*_within(words(document.text), by_start), *_lines(document.text, asked)}
        if count := sum(asked[question] for question in found):
            what = f"holds the prompts of {count} of {len(judged)} validation and held-out examples"
            action = "take them out: a contender that reads what it is asked shows nothing"
            problems.append(Problem(what, action, document.name))
    if problems:
        raise DataError(problems)


def _within(
    text: Sequence[str], by_start: dict[tuple[str, ...], list[tuple[str, ...]]]
) -> Iterator[tuple[str, ...]]:
    for place in range(len(text) - _LONG + 1):
        for question in by_start.get(tuple(text[place : place + _LONG]), ()):
            if tuple(text[place : place + len(question)]) == question:
                yield question


def _lines(text: str, asked: Counter[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for line in text.splitlines():
        found = tuple(words(line))
        if _SHORT <= len(found) < _LONG and found in asked:
            yield found


def _prompt(example: Conversation, passages: Sequence[Passage]) -> tuple[Message, ...]:
    if not passages:
        return example.context
    quoted = [
        f"[{number}] {_harmless(passage.document)}\n{_harmless(passage.text)}"
        for number, passage in enumerate(passages, start=1)
    ]
    text = "\n\n".join([HEADING, *quoted])
    first, *rest = example.context
    if first.role != "system":
        return (Message(role="system", content=text), *example.context)
    # In one message: several system turns are refused by some chat templates.
    return (Message(role="system", content=f"{first.content}\n\n{text}", name=first.name), *rest)


def _harmless(text: str) -> str:
    """Break what a tokenizer would take for the end or the start of a turn."""
    return _MARK.sub(lambda found: f"{found[0]} ", text)
