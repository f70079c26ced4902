"""What was ever held out is never learned from: exact or edited, relabelled, or from another file."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retune.data.drops import Drops
from retune.data.firewall import stop_leaks
from retune.data.selection import History, select
from retune.errors import StateError
from retune.records import Dataset
from retune.state import dataset_records
from retune.testing.leaks import edits
from retune.text import near_duplicates
from tests.unit.data.builders import example, table
from tests.unit.data.choosing import QUEUES, choose, close, remember, rows_of, said, shingles, side
from tests.unit.data.conftest import Project

BANKING = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking77"
ASKED = "my new bank card has not arrived in the mail yet"
# Kinds of edit that leave a text of some words as close as the firewall looks.
KINDS = ("exact", "case", "punctuation", "white_space", "please", "contraction")


def leaks(*prompts: str, known: dict[str, bytes | None], threshold: float = 0.66) -> dict[str, str]:
    """Return prompt -> how it was found, of those that are left out."""
    train = table(example(prompt, "x", line=line) for line, prompt in enumerate(prompts, start=1))
    signatures = near_duplicates.signatures([prompts[line - 1] for line in train["line"]])
    drops = Drops()
    safe = stop_leaks(train, np.arange(train.height), signatures, known, threshold, drops)
    gone = drops.frame.select("reason", "line", "detail").rows() if drops.counts["was_held_out"] else []
    assert sorted([*safe["line"], *(line for _, line, _ in gone)]) == list(range(1, len(prompts) + 1))
    assert safe.columns == train.columns and {reason for reason, _, _ in gone} <= {"was_held_out"}
    return {prompts[line - 1]: detail for _, line, detail in gone}


def registered(prompt: str, signed: bool = True) -> dict[str, bytes | None]:
    (signature,) = near_duplicates.to_bytes(near_duplicates.signatures([prompt]))
    return {example(prompt)["fingerprint"]: signature if signed else None}


def test_copies_and_edited_copies_are_found() -> None:
    near, other = f"please, {ASKED}", "what does a transfer abroad cost"
    assert leaks(ASKED, near, other, known=registered(ASKED)) == {ASKED: "exact", near: "near"}
    # Where a row was registered without its signature, only a copy is found.
    assert leaks(ASKED, near, other, known=registered(ASKED, signed=False)) == {ASKED: "exact"}
    both = registered(ASKED, signed=False) | registered(other)
    assert leaks(ASKED, near, other, known=both) == {ASKED: "exact", other: "exact"}
    assert leaks(ASKED, near, known={}) == {}
    assert leaks(known=registered(ASKED)) == {}


def test_how_similar_is_the_spec_s_word() -> None:
    near, same = f"please, {ASKED}", f"{ASKED.upper()}?"
    assert leaks(near, same, known=registered(ASKED), threshold=1) == {same: "near"}
    assert leaks(near, same, known=registered(ASKED), threshold=0.8) == {same: "near", near: "near"}


def edited(rows: list[str], seed: int, *kinds: str) -> list[str]:
    rng = random.Random(seed)
    return [copy for text in rows for kind, copy in edits(text, rng).items() if kind in (kinds or KINDS)]


def test_what_was_held_out_never_comes_back(project: Project) -> None:
    """Three runs: the rows; relabelled copies of what was held out instead; the rows again."""
    spec = project.spec("*.jsonl", label_errors="off")
    project.rows(rows_of(1, 300), "first.jsonl")
    first = choose(project, spec)
    ever, history = side(first, "held_out"), remember(first)
    assert len(ever) > 30
    (project.root / "first.jsonl").unlink()
    copies = edited(ever, 1)
    project.rows([{"text": text, "queue": QUEUES[n % 4]} for n, text in enumerate(copies)], "second.jsonl")
    project.rows(rows_of(2, 300), "third.jsonl")
    for _ in range(2):
        found = choose(project, spec, history)
        assert not close(side(found, "train"), ever, spec.data.split.leak_similarity)
        names = found.examples.filter(found.examples["side"] != "held_out")["fingerprint"]
        assert not set(names) & set(history.held_out)
        ever += side(found, "held_out")
        history = remember(found, history)
        project.rows(rows_of(1, 300), "first.jsonl")
        (project.root / "second.jsonl").unlink(missing_ok=True)


def test_a_copy_that_stands_alone_is_left_out_with_its_place(project: Project) -> None:
    project.rows(rows_of(4, 200, label_noise=0), "first.jsonl")
    spec = project.spec("*.jsonl", label_errors="off")
    first = choose(project, spec)
    (project.root / "first.jsonl").unlink()
    copies = [text.upper() for text in side(first, "held_out")]
    project.rows([{"text": text, "queue": QUEUES[n % 4]} for n, text in enumerate(copies)], "copies.jsonl")
    project.rows(rows_of(5, 200), "rest.jsonl")
    found = choose(project, spec, remember(first))
    gone = said(found, "was_held_out")
    assert len(gone) > 10 and {row[1:2] + row[3:] for row in gone} == {("copies.jsonl", "near")}
    # One that is registered, but was never assigned a side, as by feedback.
    known = found.examples["fingerprint"]
    rest = choose(project, spec, History({}, dict.fromkeys(known)))
    assert not set(rest.examples.filter(rest.examples["side"] == "train")["fingerprint"]) & set(known)
    assert {row[3] for row in said(rest, "was_held_out")} == {"exact"}


def test_what_recipes_were_chosen_on_is_not_learned_from_either(project: Project) -> None:
    rows = rows_of(6, 300)
    project.rows(rows)
    spec = project.spec("*.jsonl", label_errors="off")
    first = choose(project, spec)
    chosen_on = side(first, "validation")
    texts = edited(chosen_on, 6, *KINDS[3:], "typo")
    copies = [{"text": text, "queue": QUEUES[n % 4]} for n, text in enumerate(texts)]
    project.rows(copies, "more.jsonl")
    found = choose(project, spec, remember(first))
    assert len(found.examples) > len(first.examples)
    kept = [text for text in chosen_on if text in set(found.examples["prompt"])]
    assert set(kept) <= set(side(found, "validation"))
    assert not close(side(found, "train"), side(found, "validation"), spec.data.split.leak_similarity)
    assert not close(side(found, "held_out"), kept, spec.data.split.leak_similarity)


def test_rows_that_come_back_relabelled_without_the_rest_go_where_they_were(project: Project) -> None:
    project.rows(rows_of(7, 300), "first.jsonl")
    spec = project.spec("*.jsonl", label_errors="off")
    first = choose(project, spec)
    (project.root / "first.jsonl").unlink()
    places = dict(first.examples.select("prompt", "side").iter_rows())
    back = [{"text": f" {text}\n", "queue": QUEUES[n % 4]} for n, text in enumerate(places)]
    project.rows(back, "back.jsonl")
    found = choose(project, spec, remember(first))
    again = dict(found.examples.select("prompt", "side").iter_rows())
    assert len(again) > 0.8 * len(places) and set(again.values()) == set(places.values())
    assert again == {text: places[text] for text in again}


def prompts(project: Project, dataset: Dataset, name: str) -> list[str]:
    return [row.prompt for row in project.read(getattr(dataset, name))]


def test_runs_with_more_rows_move_nobody_and_let_nothing_through(project: Project) -> None:
    """The whole stage, twice: 10% more rows, half of which are edited copies of any earlier row."""
    seed = 11
    rows, rng = rows_of(seed, 600), random.Random(seed)
    spec = project.spec("*.jsonl", label_errors="off", privacy="allow")
    least = spec.data.split.leak_similarity
    project.rows(rows)
    first = project.prepare(spec)
    sides = {name: prompts(project, first, name) for name in ("train", "validation", "held_out")}
    assert not close(sides["train"], sides["held_out"], least)
    assert not close(sides["train"] + sides["held_out"], sides["validation"], least)
    # There is something to find: on one side such pairs are plenty.
    assert len(close(sides["train"], sides["train"], least)) > len(sides["train"]) + 20
    copies = edited([row["text"] for row in rng.sample(rows, 5)], seed)
    more = [{"text": text, "queue": rng.choice(QUEUES)} for text in copies] + rows_of(seed + 50, 30)
    project.rows(more, "0.jsonl")
    second = project.prepare(spec)
    after = {name: prompts(project, second, name) for name in sides}
    place = {text: name for name, texts in after.items() for text in texts}
    assert second.rows_read == 600 + len(more) and len(place) > sum(map(len, sides.values()))
    for name, texts in sides.items():
        assert {place[text] for text in texts if text in place} == {name}
    left = [text for texts in sides.values() for text in texts if text not in place]
    # Only who shares a prompt with a new row of another label may have gone.
    assert len(left) <= second.dropped["conflict"] + second.dropped["bridges_split"]
    assert not close(after["train"], sides["held_out"] + after["held_out"], least)
    assert not close(after["train"], after["validation"], least)


def test_no_near_duplicate_of_real_rows_crosses_the_split(project: Project) -> None:
    if not BANKING.is_dir():
        pytest.skip(f"needs BANKING77 in {BANKING}")
    with (BANKING / "train.csv").open(encoding="utf-8", newline="") as file:
        real = [row for row in csv.DictReader(file) if row["text"].isascii()]
    rows: list[dict[str, Any]] = [{"text": row["text"], "queue": row["category"]} for row in real[:800]]
    project.rows(rows)
    found = choose(project, project.spec(label_errors="off", privacy="allow"))
    # A sketch holds a text of up to 85 shingles whole.
    short = {
        name: [text for text in side(found, name) if len(shingles(text)) <= 85]
        for name in ("train", "validation", "held_out")
    }
    assert len(short["held_out"]) > 100 and found.near_pairs > 50
    assert not close(short["held_out"], short["train"] + short["validation"], 0.66)
    # Of longer ones it knows the similarity to within some 0.05.
    assert not close(side(found, "held_out"), side(found, "train"), 0.66 + 3 * 0.054)


@pytest.mark.parametrize("seed", range(4))
def test_customers_stay_on_one_side_and_a_rerun_changes_nothing(project: Project, seed: int) -> None:
    rng = random.Random(seed)
    common = [row["text"] for row in rows_of(seed, 30, label_noise=0)]
    given: list[dict[str, Any]] = []
    spec = project.spec(label_errors="off", split={"group_by": "customer", "leak_similarity": 0.5})
    history = History()
    for step in range(3):
        for row in rows_of(100 * seed + step, 120, label_noise=0):
            text = rng.choice(common) if rng.random() < 0.3 else row["text"]
            given.append({**row, "text": text, "customer": f"C{rng.randrange(40):02}"})
        project.rows(given)
        found = choose(project, spec, history)
        history = remember(found, history)
        again = choose(project, spec, history).examples
        assert again.select("id", "side").equals(found.examples.select("id", "side"))
        groups = {name: set(part["group"]) for (name,), part in found.examples.group_by("side")}
        assert not groups["train"] & groups["held_out"] and not groups["train"] & groups["validation"]


def test_a_run_that_was_overtaken_is_not_registered(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(3, 200, label_noise=0)
    project.rows(rows[:100], "a.jsonl")
    project.rows(rows[100:], "b.jsonl")
    begun: list[bool] = []

    def overtaken(*args: Any) -> Any:
        if not begun:
            begun.append(True)
            project.prepare(project.spec("a.jsonl"))
        return select(*args)

    monkeypatch.setattr("retune.data.prepare.select", overtaken)
    with pytest.raises(StateError, match="another run of tickets has held out more rows"):
        project.prepare(project.spec("b.jsonl"))
    with project.db.read() as tx:
        latest = dataset_records.latest(tx, "tickets")
    assert latest and latest.sources.keys() == {"a.jsonl"}
    # Run again, it knows of the other.
    assert project.prepare(project.spec("b.jsonl")).sources.keys() == {"b.jsonl"}
