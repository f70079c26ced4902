"""Evidently's comparison of derived columns; no text of a request enters it."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KS, AUC, LABELS = "ks_distance", "domain_classifier_auc", "jensenshannon"


@dataclass(frozen=True)
class Column:
    """One derived column on both sides, how it is compared, and what chance can do."""

    name: str
    method: str
    reference: Sequence[float] | Sequence[str]
    window: Sequence[float] | Sequence[str]
    threshold: float


def compare(columns: Sequence[Column], drift_share: float) -> tuple[dict[str, float], str]:
    """Run Evidently's drift preset.

    Args:
        columns: What is compared.
        drift_share: Share of the columns that must have moved, as Evidently's page says it.

    Returns:
        Each column's distance by name, and Evidently's page (HTML).
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")  # read when evidently is imported
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    _register()
    labels = [column.name for column in columns if column.method == LABELS]
    definition = DataDefinition(
        numerical_columns=[column.name for column in columns if column.name not in labels],
        categorical_columns=labels,
    )

    def dataset(side: Mapping[str, Sequence[Any]]) -> Dataset:
        # Evidently puts labels into a script of its page as they are.
        safe = {
            name: [html.escape(value) for value in values] if name in labels else values
            for name, values in side.items()
        }
        return Dataset.from_pandas(pd.DataFrame(safe), data_definition=definition)

    preset = DataDriftPreset(
        columns=[column.name for column in columns],
        drift_share=drift_share,
        per_column_method={column.name: column.method for column in columns},
        per_column_threshold={column.name: column.threshold for column in columns},
        include_tests=False,
    )
    snapshot = Report([preset]).run(
        current_data=dataset({column.name: column.window for column in columns}),
        reference_data=dataset({column.name: column.reference for column in columns}),
    )
    scores = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if "column" in metric["config"]
    }
    return scores, snapshot.get_html_str(as_iframe=False)


def _register() -> None:
    """Teach Evidently two distances; its own tests of numbers give p-values or obey one outlier."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from scipy.stats import ks_2samp
    from sklearn.metrics import roc_auc_score

    def ks_distance(reference: Any, window: Any, kind: Any, threshold: float) -> tuple[float, bool]:
        distance = float(ks_2samp(reference, window, method="asymp").statistic)
        return distance, distance >= threshold

    def domain_auc(reference: Any, window: Any, kind: Any, threshold: float) -> tuple[float, bool]:
        is_new = [0] * len(reference) + [1] * len(window)
        area = float(roc_auc_score(is_new, [*reference, *window]))
        return area, area >= threshold

    for name, title, function in (
        (KS, "Kolmogorov-Smirnov distance", ks_distance),
        (AUC, "ROC AUC of a domain classifier", domain_auc),
    ):
        register_stattest(StatTest(name, title, [ColumnType.Numerical]), function)
