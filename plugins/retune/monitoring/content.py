"""Can a classifier tell new requests from the reference by their words?"""

from __future__ import annotations

from collections.abc import Sequence

_FOLDS = 5


def newness(reference: Sequence[str], window: Sequence[str], seed: int) -> list[float] | None:
    """Return how new each text looks, first those of the reference, then those of the window.

    The score of a logistic regression on TF-IDF that has not seen the text, nor a copy of it on
    either side: repeated requests cannot give themselves away. (Evidently's own text drift trains
    on copies, fails on a tiny vocabulary and prints requests into its page.)

    Args:
        reference: The texts that the release was judged on.
        window: The captured requests.
        seed: Of the folds.

    Returns:
        The scores; None where either side has too few distinct texts, or no word occurs twice.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from threadpoolctl import threadpool_limits

    if min(len(set(reference)), len(set(window))) < 2 * _FOLDS:
        return None
    texts = [*reference, *window]
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True, min_df=2, max_features=20_000)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # empty vocabulary
        return None
    is_new = np.repeat([0, 1], [len(reference), len(window)])
    # No array of texts: it would make each of them as wide as the longest.
    copies: dict[str, int] = {}
    groups = [copies.setdefault(text, len(copies)) for text in texts]
    scores = np.zeros(len(texts))
    folds = GroupKFold(_FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # on a busy host, threads for so little work only wait for each other
        for train, test in folds.split(features, is_new, groups):
            model = LogisticRegression(class_weight="balanced").fit(features[train], is_new[train])
            scores[test] = model.predict_proba(features[test])[:, 1]
    return [float(score) for score in scores]
