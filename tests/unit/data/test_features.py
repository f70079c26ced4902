from __future__ import annotations

import polars as pl
import pytest

from retune.data.features import FEATURES, language_of, to_table


def test_lists_and_polars_give_the_same_table() -> None:
    columns = {
        "retune_file": ["a", "b"],
        "retune_line": [1, 2],
        "retune_flaw": [None, "no turns"],
        "retune_roles_in_order": [True, None],
        "retune_tokens": [7, None],
        "retune_label": ["billing", None],
        "queue": ["billing", None],
    }
    table = to_table(columns)
    assert {name: str(table[name].dtype) for name in columns if name in FEATURES} == {
        name: FEATURES[name] for name in columns if name in FEATURES
    }
    assert table.equals(to_table({name: pl.Series(values) for name, values in columns.items()}))
    assert table["retune_tokens"].isna().tolist() == [False, True]
    assert list(table.index) == [0, 1]


def test_no_rows() -> None:
    table = to_table({name: [] for name in FEATURES})
    assert table.empty and {name: str(dtype) for name, dtype in table.dtypes.items()} == FEATURES


@pytest.mark.parametrize("texts", [[], ["", "  ", "123", "\u2603"]])
def test_what_tells_no_language(texts: list[str]) -> None:
    assert language_of(texts) == [""] * len(texts)


def test_languages_by_two_letters() -> None:
    texts = [
        "Please cancel my subscription, I do not need it any more",
        "Bitte kündigen Sie mein Abonnement, ich brauche es nicht mehr",
        "Je voudrais annuler mon abonnement, je n'en ai plus besoin",
        "请取消我的订阅，我不再需要它了",
        "\ud83d half of a pair, but English all the same" * 1000,
    ]
    assert language_of(texts) == ["en", "de", "fr", "zh", "en"]
