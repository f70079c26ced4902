"""What a dataset says about a training before it: enough rows, enough of each label, sound labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retune.records import Dataset
from retune.records.advice import Finding
from retune.spec import PipelineSpec

LEAST_ROWS = 50
"""OpenAI, Supervised fine-tuning, "Right number of examples": improvements are seen from 50 to 100."""
LEAST_OF_A_LABEL = 10
"""The fewest of an intent that Casanueva et al. 2020 (arXiv 2003.04807) train detectors on."""
REALLY_WRONG = 0.51
"""Share of suspected labels that people found wrong: Northcutt et al. 2021 (arXiv 2103.14749)."""
_RARE_LABELS = 0.5


def row_findings(spec: PipelineSpec, dataset: Dataset, figures: Mapping[str, Any]) -> list[Finding]:
    """Say whether there are enough rows to train on and to judge with.

    Args:
        spec: The frozen spec.
        dataset: What would be trained on.
        figures: The data card's figures; empty where the dataset has none.

    Returns:
        Findings; those that speak for `collect_more_data` are what lacks.
    """
    found = [_to_train_on(dataset.train.rows), _to_judge_with(dataset.held_out.rows, spec.gate.min_examples)]
    labels = (figures.get("labels") or {}).get("labels", [])
    if spec.task.kind == "classification" and labels:
        found.append(_of_each_label({row["label"]: row["train"] for row in labels}))
    return found


def label_finding(figures: Mapping[str, Any], needed: float) -> Finding | None:
    """Say what wrong labels leave of the score that can be reached; nothing where nobody looked for them.

    A model that is always right is marked wrong wherever the label is: no more than 1 less their share
    can be reached, however it is trained. About half of what is suspected is wrong, see `REALLY_WRONG`.

    Args:
        figures: The data card's; empty where the dataset has none.
        needed: The score that must be reachable, 0 to 1.
    """
    errors = figures.get("label_errors")
    if not errors or not errors["judged"]:
        return None
    suspected = f"{errors['found']:,} of {errors['judged']:,} judged labels are suspected to be wrong"
    if errors["policy"] == "drop":
        return Finding(what="wrong_labels", value=0.0, sentence=f"{suspected}, and these rows were left out.")
    share = REALLY_WRONG * errors["found"] / errors["judged"]
    short = 1 - share < needed
    said = f"{suspected}, about half of them rightly: no model is likely to score above {1 - share:.3f}"
    return Finding(
        what="wrong_labels",
        value=share,
        threshold=1 - needed,
        sentence=f"{said}, and {needed:.3f} must be reached." if short else f"{said}.",
        action="mend the labels that the data card lists, or set data.label_errors: drop" if short else "",
        speaks_for="collect_more_data" if short else None,
    )


def _to_train_on(rows: int) -> Finding:
    short = rows < LEAST_ROWS
    return Finding(
        what="rows",
        value=rows,
        threshold=LEAST_ROWS,
        sentence=f"{rows:,} rows to train on, {'fewer than' if short else 'at least'} the {LEAST_ROWS} from"
        " which improvements are seen.",
        action=f"add {LEAST_ROWS - rows:,} rows or more" if short else "",
        speaks_for="collect_more_data" if short else None,
    )


def _to_judge_with(rows: int, least: int) -> Finding:
    short = rows < least
    return Finding(
        what="held_out_rows",
        value=rows,
        threshold=least,
        sentence=f"{rows:,} rows to judge with, {'fewer than' if short else 'at least'} the {least:,} of"
        " gate.min_examples.",
        action="add rows, or raise data.split.held_out" if short else "",
        speaks_for="collect_more_data" if short else None,
    )


def _of_each_label(rows: Mapping[str, int]) -> Finding:
    rare = sorted((label for label, count in rows.items() if count < LEAST_OF_A_LABEL), key=rows.__getitem__)
    short = len(rare) > _RARE_LABELS * len(rows)
    said = f"{len(rare)} of {len(rows)} labels have fewer than {LEAST_OF_A_LABEL} rows to train on"
    if rare:
        said += f", the fewest {rare[0]} with {rows[rare[0]]}"
    return Finding(
        what="rare_labels",
        value=len(rare),
        threshold=_RARE_LABELS * len(rows),
        sentence=f"{said}.",
        action=f"add rows of {', '.join(rare[:5])}{' and others' if len(rare) > 5 else ''}" if rare else "",
        speaks_for="collect_more_data" if short else None,
    )
