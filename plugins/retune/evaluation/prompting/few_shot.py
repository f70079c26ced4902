"""Examples of the training side, shown as earlier turns before the question."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from retune.artifacts import digest_of_json
from retune.errors import DataError
from retune.evaluation.prompting.bm25 import Bm25
from retune.evaluation.prompting.room import Room
from retune.text import near_duplicates
from retune.text.conversations import Conversation, Message

MOST_POOL = 50_000
"""Examples that are chosen from; of a larger training side a seeded choice."""

Choose = Callable[[Conversation], Sequence[Conversation]]


@dataclass(frozen=True)
class Pool:
    """Examples that may be shown.

    Attributes:
        examples: In an order that the seed decides.
        left_out: Why others are not among them -> how many.
    """

    examples: tuple[Conversation, ...]
    left_out: dict[str, int]


def pool_of(
    train: Iterable[Conversation], judged: Sequence[Conversation], seed: int, similarity: float
) -> Pool:
    """Return the examples of the training side that may be shown.

    The data stage keeps the sides apart; that no example here asks what is judged is checked all the same.

    Args:
        train: The training side.
        judged: The validation and the held-out side.
        seed: Another seed is another order.
        similarity: Similarity (Jaccard) from which two prompts are nearly the same.

    Raises:
        DataError: None may be shown.
    """
    seen: Counter[bool] = Counter()

    def plain_ones() -> Iterator[Conversation]:
        for row in train:
            plain = _is_plain(row)
            seen[plain] += 1
            if plain:
                yield row

    # A million rows are not held at once.
    found = heapq.nsmallest(MOST_POOL, plain_ones(), key=lambda row: _place(row.id, seed))
    left_out = {"tools are called in them": seen[False], f"{MOST_POOL:,} are enough": seen[True] - len(found)}
    asked = {row.fingerprint for row in judged}
    apart = [row for row in found if row.fingerprint not in asked]
    close = near_duplicates.matches(
        near_duplicates.signatures([row.asked for row in apart]),
        near_duplicates.signatures([row.asked for row in judged]),
        similarity,
    )
    kept = tuple(row for row, match in zip(apart, close.tolist(), strict=True) if match < 0)
    left_out["they are too close to what is judged"] = len(found) - len(kept)
    left_out = {why: count for why, count in left_out.items() if count}
    if not kept:
        reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.items()) or "there is none"
        raise DataError(
            f"few_shot: no example of the training side may be shown ({reasons})",
            "take few_shot out of evaluation, or add rows",
        )
    return Pool(kept, left_out)


class FewShot:
    """Shows examples before it asks.

    Args:
        choose: Returns the examples for a question, the one to keep first; never the question itself.
        room: What a prompt may hold; examples that do not fit any more are left out, the last ones first.
        best_last: Whether the first one comes last, next to the question.
        digest: Of the pool and the parameters.
    """

    def __init__(self, choose: Choose, room: Room, digest: str, *, best_last: bool) -> None:
        self._choose = choose
        self._room = room
        self._best_last = best_last
        self._digest = digest

    @property
    def digest(self) -> str:
        """Digest of the pool and the parameters."""
        return self._digest

    def messages(self, example: Conversation) -> tuple[Message, ...]:
        """Return the system prompt, the examples as turns, and the question's own turns."""
        return _prompt(example, self._in_order(self._fitting(example)))

    def shown(self, example: Conversation) -> int:
        """Return how many examples a question has room for."""
        return len(self._fitting(example))

    def _fitting(self, example: Conversation) -> Sequence[Conversation]:
        found = self._choose(example)
        most = self._room.most(len(found), lambda count: _prompt(example, self._in_order(found[:count])))
        return found[:most]

    def _in_order(self, examples: Sequence[Conversation]) -> Sequence[Conversation]:
        return examples[::-1] if self._best_last else examples


def stratified(pool: Pool, count: int, seed: int, room: Room, *, labelled: bool) -> FewShot:
    """Return a prompter that shows the same examples before every question, spread over the labels.

    Args:
        pool: What it chooses from.
        count: Examples in a prompt; one that asks what the question asks is left out.
        seed: Another seed is another choice.
        room: What a prompt may hold.
        labelled: Whether an answer is a label.
    """
    by_label: dict[str, list[Conversation]] = defaultdict(list)
    for row in pool.examples:
        by_label[row.completion if labelled else ""].append(row)
    labels = sorted(by_label, key=lambda label: _place(label, seed))
    # One of each label after the other, so that a prompt with room for few is spread over them too.
    rounds = range(max(map(len, by_label.values())))
    spread = (by_label[label][turn] for turn in rounds for label in labels if turn < len(by_label[label]))
    chosen = list(islice(spread, count))
    return FewShot(
        lambda example: [row for row in chosen if row.fingerprint != example.fingerprint],
        room,
        _digest("stratified", chosen, count, room),
        best_last=False,
    )


def nearest(pool: Pool, count: int, room: Room) -> FewShot:
    """Return a prompter that shows the examples whose question is most alike (BM25), the best one last.

    Args:
        pool: What it chooses from.
        count: Examples in a prompt.
        room: What a prompt may hold.
    """
    ranking = Bm25([row.prompt for row in pool.examples])

    # A prompt that is answered in several ways stands there several times.
    copies = max(Counter(row.fingerprint for row in pool.examples).values())

    def choose(example: Conversation) -> list[Conversation]:
        found = (pool.examples[place] for place in ranking.best(example.prompt, count + copies))
        return [row for row in found if row.fingerprint != example.fingerprint][:count]

    return FewShot(choose, room, _digest("nearest", pool.examples, count, room), best_last=True)


def _is_plain(row: Conversation) -> bool:
    """Say whether an example is turns of user and assistant alone: tools would have to be offered as well."""
    return not row.tools and all(
        turn.role in ("system", "user", "assistant") and not turn.tool_calls for turn in row.messages
    )


def _place(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def _digest(choose: str, examples: Sequence[Conversation], count: int, room: Room) -> str:
    ids = [row.id for row in examples]
    return digest_of_json(
        {
            "strategy": "few_shot",
            "choose": choose,
            "examples": count,
            "pool": ids,
            "window": room.window,
            "answer": room.answer,
            "counter": room.counter.name,
        }
    )


def _prompt(example: Conversation, shown: Sequence[Conversation]) -> tuple[Message, ...]:
    turns = example.context
    start = next((place for place, turn in enumerate(turns) if turn.role != "system"), len(turns))
    earlier = [
        Message(role=turn.role, content=turn.content)
        for row in shown
        for turn in row.messages
        if turn.role != "system"
    ]
    return (*turns[:start], *earlier, *turns[start:])
