"""How far the training data is from what the model is really asked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_PROMPTS = 2000
"""Different prompts of a side that are compared."""
LEAST_PROMPTS = 50
_MOST_CHARS = 1000
_FOLDS = 5
_WORDS = 10
_SEEN_IN = 5
# Letters only: no number, address or name with digits may land on a page.
_WORD = r"(?u)\b[^\W\d_]{2,}\b"


@dataclass(frozen=True)
class Distance:
    """What tells training data and traffic apart.

    Attributes:
        auc: Chance that a classifier that has seen neither takes a request of the traffic for
            likelier traffic than a training prompt; 0.5: they are alike. None: too few to say.
        train: Training prompts that were compared.
        traffic: Captured prompts that were compared.
        in_train: Words that speak for training data, the strongest first.
        in_traffic: Words that speak for traffic.
    """

    auc: float | None
    train: int
    traffic: int
    in_train: list[str] = field(default_factory=list)
    in_traffic: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """One sentence: how far they are apart."""
        if self.auc is None:
            return (
                f"{self.traffic:,} different captured requests and {self.train:,} training prompts are too"
                f" few to compare: it takes {LEAST_PROMPTS} of each."
            )
        far = (
            "much like"
            if self.auc < 0.6
            else "somewhat unlike"
            if self.auc < 0.75
            else "unlike"
            if self.auc < 0.9
            else "very unlike"
        )
        return (
            f"The training data is {far} the captured traffic: a classifier tells them apart with an AUC"
            f" of {self.auc:.2f} (0.5: alike, 1: never mistaken)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON."""
        return {**asdict(self), "said": self.said}


def distance_to_traffic(train_prompts: Iterable[str], traffic_prompts: Iterable[str], seed: int) -> Distance:
    """Measure how well a classifier tells training prompts from captured ones.

    TF-IDF of words and logistic regression, cross-validated; what is asked on both sides is kept
    together, so that nothing is learned by heart.

    Args:
        train_prompts: What the training data asks.
        traffic_prompts: What was asked at the gateway.
        seed: Another seed takes other folds, and other samples where there are more prompts.
    """
    from threadpoolctl import threadpool_limits

    train, traffic = _sampled(train_prompts, seed), _sampled(traffic_prompts, seed)
    if min(len(train), len(traffic)) < LEAST_PROMPTS:
        return Distance(None, len(train), len(traffic))
    try:
        with threadpool_limits(1):
            auc, words = _told_apart([*train, *traffic], [0] * len(train) + [1] * len(traffic), seed)
    except ValueError:  # no word of letters is asked often enough
        return Distance(None, len(train), len(traffic))
    return Distance(
        auc,
        len(train),
        len(traffic),
        in_train=[word for word, weight in words[:_WORDS] if weight < 0],
        in_traffic=[word for word, weight in words[::-1][:_WORDS] if weight > 0],
    )


def _sampled(prompts: Iterable[str], seed: int) -> list[str]:
    found = sorted({prompt[:_MOST_CHARS] for prompt in prompts if prompt.strip()})
    return random.Random(seed).sample(found, MOST_PROMPTS) if len(found) > MOST_PROMPTS else found


def _told_apart(texts: Sequence[str], sides: list[int], seed: int) -> tuple[float, list[tuple[str, float]]]:
    """Return the AUC, and every word with its weight, the one of training data first."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(token_pattern=_WORD, min_df=_SEEN_IN, sublinear_tf=True), LogisticRegression(C=10)
    )
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    guesses = cross_val_predict(model, texts, sides, groups=texts, cv=folds, method="predict_proba")
    model.fit(texts, sides)
    words = model[0].get_feature_names_out().tolist()
    weights = model[1].coef_[0].tolist()
    ordered = sorted(zip(words, weights, strict=True), key=lambda item: (item[1], item[0]))
    return float(roc_auc_score(sides, guesses[:, 1])), ordered
