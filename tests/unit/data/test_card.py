from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retune.data.card import card
from retune.data.drops import Drops
from retune.data.figures import Found, describe
from retune.data.label_errors import LabelErrors, Suspect
from retune.data.token_totals import TokenTotal
from retune.text.conversations import conversation
from tests.unit.data.card_rows import spec, spooled, tickets, with_sides

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def figures_of(
    folder: Path, labels: list[str], kind: str = "classification", each: int = 4
) -> dict[str, Any]:
    labelled = kind == "classification"
    examples, spool = spooled(folder / "spool", tickets(labels, each), labelled)
    found = Found({"rows.jsonl": examples.height})
    figures = describe(with_sides(examples), Drops(), spool, spec(kind), found)
    spool.close()
    return figures


def hostile(folder: Path) -> dict[str, Any]:
    """Figures in which every text that a user can write is hostile."""
    rows = [conversation("", f"{EVIL} {n}", EVIL) for n in range(20)]
    examples, spool = spooled(folder / "spool", rows)
    examples = with_sides(examples.with_columns(file=pl.lit(EVIL)))
    drops = Drops()
    drops.add(examples[:2], "conflict", EVIL)
    figures = describe(
        examples,
        drops,
        spool,
        spec(),
        Found(
            {EVIL: 22},
            personal={EVIL: 3},
            label_errors=LabelErrors([Suspect(0, EVIL, EVIL, 0.9)], 20, 20),
            judged=examples,
            tokens=[TokenTotal(EVIL, EVIL, True, 8, 20, 100, 0.0, [5] * 20)],
            warnings=[EVIL],
        ),
    )
    figures["traffic"] = {
        "auc": 0.8,
        "train": 60,
        "traffic": 60,
        "in_train": [EVIL],
        "in_traffic": [EVIL],
        "said": EVIL,
    }
    return figures


def test_no_text_of_a_user_becomes_markup(tmp_path: Path) -> None:
    figures = hostile(tmp_path)
    page = card(json.loads(json.dumps(figures))).decode()
    found = Page(page)
    assert "&lt;script&gt;" in page
    assert not {"script", "img", "iframe", "link", "object"} & set(found.tags)
    assert not [name for name in found.names if name.startswith("on")]
    assert all(address.startswith("#") for address in found.addresses)
    # All other addresses are names of XML's own vocabularies.
    assert not re.findall(r"url\((?!#)", page)


def test_every_figure_has_its_place(tmp_path: Path) -> None:
    page = card(hostile(tmp_path)).decode()
    for section in (
        "What came in, what went out",
        "The split",
        "Labels",
        "Suspect labels",
        "Duplicates and leaks",
        "Lengths and tokens",
        "Variety",
        "Personal data",
        "Next to the traffic",
    ):
        assert f"<h2>{section}</h2>" in page
    # Flow, labels, three lengths, kinds, distance.
    assert page.count("<svg") == 7


@pytest.mark.parametrize("labels", [1, 2, 13, 77, 300])
def test_any_number_of_labels_stays_within_a_page(tmp_path: Path, labels: int) -> None:
    names = [f"a rather long name of a label, number {n}" for n in range(labels)]
    page = card(figures_of(tmp_path, names)).decode()
    heights = [float(height) for height in re.findall(r'<svg height="([0-9.]+)pt"', page)] or [
        float(height) for height in re.findall(r'<svg [^>]*?height="([0-9.]+)pt"', page)
    ]
    assert len(heights) == 4
    assert max(heights) < 600
    assert "number 0" in page


def test_free_text_has_no_section_on_labels(tmp_path: Path) -> None:
    page = card(figures_of(tmp_path, ["parcel"], "generation", 20)).decode()
    assert "<h2>Labels</h2>" not in page and "<h2>Suspect labels</h2>" not in page
    assert "No row was left out." in page


def test_the_same_figures_make_the_same_bytes(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, ["a $5 fee", "költség 好"])
    assert card(figures) == card(copy.deepcopy(figures))
    assert "a $5 fee" in card(figures).decode()
