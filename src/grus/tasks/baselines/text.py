"""Labels of texts: the most frequent one, and a linear classifier over words and pairs of words."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from grus.errors import InputError
from grus.tasks.baselines.needs import check_labels, module

__all__ = ["majority", "tfidf_logistic"]


def majority(labels: Sequence[str], count: int) -> list[str]:
    """The most frequent label ``count`` times; of equally frequent ones the first in the order of the alphabet.

    Raises InputError where there is no label.
    """
    check_labels(labels, labels, least_classes=1)
    counts = Counter(labels)
    return [min(counts, key=lambda label: (-counts[label], label))] * count


def tfidf_logistic(
    texts: Sequence[str], labels: Sequence[str], test: Sequence[str], *, inverse_regularisation: float = 30.0
) -> list[str]:
    """A label for each text of ``test``, by scikit-learn's logistic regression over TF-IDF weights.

    The terms are words and pairs of words that stand in at least two texts; a weight is (1 + log tf) · idf, and the
    weights of a text have length 1. Raises InputError where scikit-learn is missing, where the labels are of one class,
    and where no text has a word of two letters or more.
    """
    check_labels(texts, labels)
    extraction = module("sklearn.feature_extraction.text", "scikit-learn")
    linear = module("sklearn.linear_model", "scikit-learn")
    least = 2 if len(texts) > 100 else 1
    terms = extraction.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=least)
    classifier = linear.LogisticRegression(C=inverse_regularisation, max_iter=1000)
    try:
        weights = terms.fit_transform(texts)
    except ValueError as error:  # its only reason, as the texts are strings
        raise InputError(f"texts have no words to learn from: {error}") from None
    with warnings.catch_warnings():  # that almost every text has a label of its own is told by the table
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        classifier.fit(weights, labels)
    return [str(label) for label in classifier.predict(terms.transform(test))] if test else []
