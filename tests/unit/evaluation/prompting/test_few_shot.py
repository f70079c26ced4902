"""Examples are shown as earlier turns, never what is judged, and never more than there is room for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.errors import DataError
from retune.evaluation.prompting import few_shot
from retune.evaluation.prompting.few_shot import FewShot, Pool, nearest, pool_of, stratified
from retune.text.conversations import Conversation, Function, Message, ToolCall, make, normalise
from tests.unit.evaluation.prompting.builders import SYSTEM, contents, room, row

LABELS = ("account", "billing", "returns", "shipping")
WORDS = ("anchor", "basket", "candle", "dragon", "engine", "falcon", "garden", "hammer", "island", "jacket")


def train(count: int = 40) -> list[Conversation]:
    return [
        row(f"{WORDS[n % 10]} {WORDS[n // 10 % 10]} number {n} of {LABELS[n % 4]}", LABELS[n % 4])
        for n in range(count)
    ]


QUESTION = row("where is the thing that I asked about?", "shipping")


def pool(rows: list[Conversation] | None = None, judged: list[Conversation] | None = None) -> Pool:
    return pool_of(train() if rows is None else rows, judged or [QUESTION], 7, 0.66)


def test_examples_stand_as_turns_between_the_system_prompt_and_the_question() -> None:
    shown = stratified(pool(), 2, 7, room(), labelled=True).messages(QUESTION)
    assert [turn.role for turn in shown] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert shown[0].content == SYSTEM and shown[-1] == QUESTION.messages[-2]
    known = {(one.prompt, one.completion) for one in train()}
    assert {(shown[1].content, shown[2].content), (shown[3].content, shown[4].content)} <= known


def test_without_a_system_prompt_the_examples_come_first() -> None:
    plain = row("where is it?", "shipping", system="")
    rows = [row(one.prompt, one.completion, system="") for one in train()]
    shown = stratified(pool(rows), 1, 7, room(), labelled=True).messages(plain)
    assert [turn.role for turn in shown] == ["user", "assistant", "user"]


def test_the_turns_of_a_long_conversation_stay_together() -> None:
    turns = [
        Message(role="system", content="other"),
        Message(role="user", content="hello there my friend"),
        Message(role="assistant", content="what is it?", weight=0),
        Message(role="user", content="the invoice of the anchor"),
        Message(role="assistant", content="billing"),
    ]
    asked = make([*turns[:3], Message(role="user", content="quite another matter"), turns[4]])
    shown = stratified(pool([make(turns)]), 1, 7, room(), labelled=True).messages(asked)
    assert contents(shown) == [
        ("system", "other"),
        *contents(turns[1:]),
        *contents(asked.messages[1:-1]),
    ]
    assert all(turn.weight == 1 for turn in shown[1:5])


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_stratified_examples_are_spread_over_the_labels(seed: int, count: int) -> None:
    chosen = pool_of(train(), [QUESTION], seed, 0.66)
    shown = stratified(chosen, count, seed, room(), labelled=True).messages(QUESTION)
    labels = Counter(turn.content for turn in shown if turn.role == "assistant")
    assert sum(labels.values()) == count
    assert max(labels.values()) - min(labels.get(label, 0) for label in LABELS) <= 1


def test_stratified_examples_are_the_same_for_every_question_and_run() -> None:
    other = row("quite another question", "returns")
    first, second = (stratified(pool(), 6, 7, room(), labelled=True) for _ in range(2))
    assert first.messages(QUESTION)[:-1] == second.messages(other)[:-1]
    assert first.digest == second.digest


def test_the_order_of_the_rows_does_not_matter() -> None:
    backwards = stratified(pool(train()[::-1]), 6, 7, room(), labelled=True)
    assert backwards.digest == stratified(pool(), 6, 7, room(), labelled=True).digest


def test_another_seed_is_another_choice() -> None:
    digests = {
        stratified(pool_of(train(), [], seed, 0.66), 4, seed, room(), labelled=True).digest
        for seed in range(5)
    }
    assert len(digests) == 5


def test_the_nearest_example_comes_last() -> None:
    rows = [
        row("my parcel has not arrived", "shipping"),
        row("the parcel was open", "shipping"),
        row("a wrong invoice", "billing"),
    ]
    asked = row("has the parcel arrived by now or not?", "shipping")
    shown = nearest(pool(rows), 2, room()).messages(asked)
    assert [turn.content for turn in shown if turn.role == "user"] == [
        "the parcel was open",
        "my parcel has not arrived",
        asked.prompt,
    ]


@pytest.mark.parametrize("choose", ["stratified", "nearest"])
def test_what_is_judged_is_never_shown(choose: str) -> None:
    judged = [train()[0], row("falcon garden number 276 of returns!!", "billing")]
    close = row("Falcon  garden number 276 of returns", "returns")
    rows = [*train(), close]
    found = pool_of(rows, judged, 7, 0.66)
    assert found.left_out["they are too close to what is judged"] >= 2
    made = prompter(choose, found, 40)
    shown = {turn.content for turn in made.messages(QUESTION)}
    assert close.prompt not in shown and train()[0].prompt not in shown


@pytest.mark.parametrize("choose", ["stratified", "nearest"])
def test_a_question_never_shows_itself_whatever_its_answer(choose: str) -> None:
    same = row("  basket anchor   number 1 of billing", "billing")
    relabelled = row(same.prompt, "returns")
    rows = [*train(8), same, relabelled]
    made = prompter(choose, pool(rows), 8)
    shown = made.messages(row("basket anchor number 1 of billing", "account"))
    asked = [normalise(turn.content) for turn in shown if turn.role == "user"]
    assert asked.count(normalise(same.prompt)) == 1
    assert len(shown) == 2 + 2 * made.shown(same)
    assert made.shown(same) >= 6


def prompter(choose: str, found: Pool, count: int) -> FewShot:
    if choose == "nearest":
        return nearest(found, count, room())
    return stratified(found, count, 7, room(), labelled=True)


def test_nearest_shows_as_many_as_wanted_though_the_question_stands_there_often() -> None:
    rows = [row("one and the same question", f"answer {n}") for n in range(6)]
    rows += [row(f"another matter {word}", "x") for word in WORDS[:3]]
    made = nearest(pool(rows), 3, room())
    assert made.shown(row("one and the same question", "?")) == 3


@given(st.integers(20, 600))
@settings(max_examples=40, deadline=None)
def test_a_prompt_keeps_within_the_window(window: int) -> None:
    for made in (
        stratified(pool(), 8, 7, room(window), labelled=True),
        nearest(pool(), 8, room(window)),
    ):
        shown = made.messages(QUESTION)
        assert len(shown) == 2 + 2 * made.shown(QUESTION)
        if made.shown(QUESTION):
            texts = "\n".join(turn.content for turn in shown)
            assert len(texts.encode()) / 4 + 5 * len(shown) + 16 + 8 <= window + 1
    assert stratified(pool(), 8, 7, room(100_000), labelled=True).shown(QUESTION) == 8


def test_the_least_alike_example_is_left_out_first() -> None:
    full = nearest(pool(), 8, room()).messages(QUESTION)
    small = nearest(pool(), 8, room(150))
    assert 0 < small.shown(QUESTION) < 8
    assert small.messages(QUESTION)[1:] == full[-(1 + 2 * small.shown(QUESTION)) :]


def test_examples_with_tools_are_left_out() -> None:
    call = ToolCall(Function("{}", "look"), "1")
    with_call = make(
        [
            Message(role="user", content="look it up"),
            Message(role="assistant", content="", tool_calls=(call,)),
        ]
    )
    offered = make(train()[5].messages, tools='[{"type": "function"}]')
    found = pool([*train(4), with_call, offered])
    assert found.left_out == {"tools are called in them": 2}
    assert len(found.examples) == 4


def test_a_large_training_side_is_a_seeded_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "MOST_POOL", 10)
    found = pool()
    assert len(found.examples) == 10 and found.left_out == {"10 are enough": 30}
    assert found == pool(train()[::-1])
    assert pool_of(train(), [QUESTION], 8, 0.66).examples != found.examples


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(DataError, match=r"no example .* \(1 they are too close to what is judged\)"):
        pool([QUESTION])
    with pytest.raises(DataError, match="there is none"):
        pool([])
