"""The page shows everything that was measured, stays readable, and lets no text of users act."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from retune.evaluation.evidence import Beside, Evidence
from retune.evaluation.report import render
from retune.records import Latency, MetricValue, Outcome
from tests.unit.evaluation.page_builders import HOSTILE, answered, labels_of, measured, rich, texts, with_spec


class Page(HTMLParser):
    """What a browser would make of a page: its tags, what opens and closes, and its attributes."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def full() -> str:
    return render(rich(10, 200))


def test_nothing_in_it_acts_and_nothing_is_fetched(full: str) -> None:
    page = Page(full)
    assert not {"script", "iframe", "object", "form", "link", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("href", "xlink:href", "src") and value]
    assert all(value.startswith(("#", "data:image/png")) for value in sources)
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<rdf:RDF.*?</rdf:RDF>', "", full, flags=re.DOTALL)
    assert page.open == [], "a tag is not closed"
    assert HOSTILE not in full and "&lt;script&gt;" in full


def test_checks_stand_in_groups_with_what_is_shown_beside(full: str) -> None:
    checks = full.partition("<h2>Checks</h2>")[2].partition("<h2>")[0]
    order = [checks.index(title) for title in ("What must be shown", "What vetoes", "What must hold")]
    assert order == sorted(order)
    assert "mcnemar p 1.2e-09" in checks
    assert "at least -0.030" in checks and "A better prompt is enough" in full


def test_every_contender_metric_and_sentence_is_there(full: str) -> None:
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", full))
    for words in (
        "candidate+few_shot with examples",
        "valid_label",
        "3 runs have used this held-out set",
        "Asked again, candidate changed its score on 3.3% of 30 examples (0.6% to 16.7%)",
        "Trainer and server: 8 of 8 prompts agree.",
        "It preferred the candidate on 60%.",
        "agreement 0.820",
        "Twice the rows would bring 3 points.",
        "A better prompt brought 27 points over base.",
        "250 ms to 420 ms",
        "$0.0123",
        "safety candidate",
    ):
        assert words in said, words
    assert full.count("<svg") == 7


def test_free_texts_are_shown_as_differences_and_cut() -> None:
    html = render(texts(f"The parcel arrives on Tuesday morning. {HOSTILE}", "x" * 100_000))
    assert "<del>Monday</del>" in html and "<ins>Tuesday</ins>" in html
    assert "(99,400 characters more)" in html and HOSTILE not in html
    assert len(html) < 100_000 and "Labels won" not in html


def test_a_latency_of_few_requests_has_no_upper_end() -> None:
    few = Latency(concurrency=1, n=20, p50_s=0.1, p95_s=0.2, p95_low_s=0.15, p95_high_s=60.0)
    rows = answered("one", labels_of(2), 20, 0.5)
    reports = {"one": measured("one", rows, latency=few)}
    html = render(Evidence(with_spec({}), reports, {"one": rows}, subject="one"))
    assert "at least 150 ms" in html and "60,000 ms" not in html


def test_half_a_surrogate_pair_breaks_no_file() -> None:
    assert render(texts("The parcel \ud800 arrives on Monday morning.", "no")).encode()


def test_without_a_gate_the_headline_stands_alone() -> None:
    labels = labels_of(3)
    mine = answered("one", labels, 30, 0.5)
    evidence = Evidence(
        with_spec({}),
        {"one": measured("one", mine, latency=None, cost_per_1000_usd=None)},
        {"one": mine},
        subject="one",
        labels=labels,
        headline="accuracy 0.5",
    )
    html = render(evidence)
    assert "accuracy 0.5" in html and "not measured by itself" in html and "not known" in html
    absent = ("<h2>Checks", "won and lost", "training went", "What it gains", "Advice")
    assert not [title for title in absent if title in html]


def test_what_was_not_measured_by_all_leaves_gaps() -> None:
    evidence = rich(4, 60, beside=Beside())
    reports = dict(evidence.reports)
    odd = {
        "accuracy": MetricValue(value=float("nan"), low=0.0, high=1.0, n=60),
        "perplexity": MetricValue(value=3.2, low=3.0, high=3.5, n=60, higher_is_better=False),
        "precision[card_payment_01]": MetricValue(value=0.25, low=0.1, high=0.4, n=15),
    }
    reports["candidate"] = reports["candidate"].model_copy(update={"metrics": odd})
    html = render(replace(evidence, reports=reports))
    assert "not a number" in html and "lower is better" in html
    labels = html.partition("Every label's figures")[2].partition("</details>")[0]
    assert "card_payment_01" in labels and "0.250" in labels


def test_a_page_says_how_failed_calls_count() -> None:
    def said(evidence: Evidence) -> str:
        return re.sub(r"\s+", " ", render(evidence))

    assert "A call that failed never speaks for candidate" in said(rich(4, 100))
    assert "A call that failed, of either, counts as a tie." in said(rich(4, 100, two_sided=True))
    assert "call that failed" not in said(texts("one", "other"))


def test_a_set_of_one_class_and_failed_calls_only_are_drawn() -> None:
    labels = ("one",)
    rows = [
        Outcome(
            id=f"{number}",
            prompt="p",
            expected="one",
            answer="",
            predicted="",
            correct=False,
            error="timeout",
            latency_s=0.0,
            scores={"accuracy": 0.0},
        )
        for number in range(20)
    ]
    evidence = Evidence(
        with_spec({}), {"a": measured("a", rows)}, {"a": rows}, subject="a", labels=labels, headline="h"
    )
    assert "(no answer)" in render(evidence)
