"""The page stays readable and small where the task has many labels."""

from __future__ import annotations

import re

from retune.evaluation.report import render
from tests.unit.evaluation.page_builders import rich


def test_with_77_labels_it_is_below_a_megabyte_and_names_each() -> None:
    html = render(rich(77, 616))
    assert len(html.encode()) < 1_000_000
    confusion = html.partition("What candidate answers</h2>")[2].partition("<h3>")[0]
    drawn = re.findall(r"<text[^>]*>([^<]+)</text>", confusion)
    assert len({text for text in drawn if re.search(r"_\d\d$", text)}) == 77
    assert "the 40 with the smallest gains are drawn" in html
