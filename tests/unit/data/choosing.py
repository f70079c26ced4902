"""Rows that are nearly the same, what the data stage makes of them, and what a reader would check."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from retune.data.collect import collect
from retune.data.drops import Drops
from retune.data.intake import Plan
from retune.data.selection import LEFT_OUT, History, Selection, distinct, examples_of, select
from retune.data.sources import find_sources
from retune.data.spool import Spool
from retune.settings import EnvironmentFileSystems
from retune.spec import PipelineSpec
from retune.testing.leaks import edits
from tests.unit.data.conftest import Project

QUEUES = ("billing", "shipping", "returns", "account")
_WORDS = [
    "".join(random.Random(number).choices("etaoinshrdlu", k=3 + number % 5)).lower() for number in range(400)
]


def rows_of(seed: int, count: int, label_noise: float = 0.1) -> list[dict[str, Any]]:
    """Return rows of which about half are edited copies of others, some with another queue."""
    rng = random.Random(seed)
    made: list[dict[str, Any]] = []
    while len(made) < count:
        if made and rng.random() < 0.5:
            # Mostly of the last ones, so that copies of copies come about.
            origin = made[-rng.randint(1, min(len(made), 5))]
            text = rng.choice(list(edits(origin["text"], rng).values()))
            queue = rng.choice(QUEUES) if rng.random() < label_noise else origin["queue"]
        else:
            text, queue = " ".join(rng.choices(_WORDS, k=rng.randint(4, 8))), rng.choice(QUEUES)
        made.append({"text": text, "queue": queue})
    return made


def choose(project: Project, spec: PipelineSpec, history: History | None = None) -> Selection:
    """Read, clean, and split as `prepare` does, without publishing anything."""
    history = history or History()
    found = find_sources(spec.data.sources, project.settings, EnvironmentFileSystems())
    folder = project.settings.home / "spool"
    collected = collect(found, Plan(spec, folder), lambda _: None)
    spool, drops = Spool(folder), Drops()
    left = distinct(examples_of(collected.rows, drops), spec, spool, history, drops)
    selection = select(left, spec, spool, history, drops, lambda _: None)
    # With the texts, which the table does without.
    examples = selection.examples.with_columns(prompt=pl.Series(list(spool.prompts(selection.examples))))
    spool.close()
    return Selection(examples, selection.held_out, drops, selection.near_pairs, None, selection.judged)


def remember(selection: Selection, history: History | None = None) -> History:
    """Return what the next run knows."""
    history = history or History()
    names = selection.examples["fingerprint"]
    sides = {**history.sides, **dict(zip(names, selection.examples["side"], strict=True))}
    left_out = selection.drops.names(LEFT_OUT)
    return History(
        sides,
        {**history.held_out, **selection.held_out},
        {**history.left_out, **{name: why for name, why in left_out if name not in sides}},
    )


def side(selection: Selection, name: str) -> list[str]:
    """Return the prompts on a side."""
    return selection.examples.filter(pl.col("side") == name)["prompt"].to_list()


def said(selection: Selection, *reasons: str) -> list[tuple[Any, ...]]:
    """Return (reason, file, line, detail) of what was left out, for some reasons or all."""
    frame = selection.drops.frame
    if not frame.height:
        return []
    found = frame.select("reason", "file", "line", "detail").rows()
    return sorted(row for row in found if not reasons or row[0] in reasons)


def shingles(text: str) -> frozenset[str]:
    """Return a text's shingles as the docstring of `retune.text.shingles` has them; ASCII only."""
    words = re.findall(r"[^\W_]+", text.lower().replace("'", ""))
    grams = {f" {word} "[at : at + 3] for word in words for at in range(len(word))}
    joints = {f"{f' {a}'[-3:]}+{f'{b} '[:3]}" for a, b in zip(words, words[1:], strict=False)}
    return frozenset(grams | joints)


def close(some: Iterable[str], others: Sequence[str], least: float) -> list[tuple[str, str]]:
    """Return all pairs of a text of one side and a text of the other that are alike: all are compared."""
    known = [(text, shingles(text)) for text in others]
    found = []
    for text in some:
        own = shingles(text)
        for other, held in known:
            both = len(own & held)
            if both and both >= least * (len(own) + len(held) - both):
                found.append((text, other))
    return found
