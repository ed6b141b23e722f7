"""A classifier in the manner of scikit-learn: parameters as they were given, ``fit`` returns self."""

from __future__ import annotations

import dataclasses
import os
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grus.errors import InputError
from grus.model import load
from grus.spec import Characters, Series, Subwords, Words
from grus.tasks.classify.evaluate import evaluate
from grus.tasks.classify.examples import Examples, as_examples
from grus.tasks.classify.labels import as_array
from grus.tasks.classify.metrics import accuracy
from grus.tasks.classify.objects import IGNORED, column_names, in_order
from grus.tasks.classify.predict import predict_proba, task_of
from grus.tasks.classify.prepare import find_labels
from grus.tasks.classify.report import Report
from grus.tasks.classify.settings import Architecture, Optimiser, Settings, Trainer
from grus.tasks.estimator import Estimator
from grus.tasks.needs import check_torch

__all__ = ["Classifier"]


class Classifier(Estimator):
    """Classes of texts or numeric series, one a sequence or one a step, by a GRU.

    The parameters are those of :class:`Settings`; ``fit`` checks them. X is a list of str, of lists of str (texts cut
    into tokens), or of arrays [T, channels]; or an array [N, T, channels] or [N, T]. y has a label for each, or a list
    of one a step. scikit-learn's ``cross_val_score``, ``GridSearchCV`` and ``Pipeline`` take it, and a search reaches
    what is within a parameter by a name such as ``architecture__hidden_size``. ``random_state`` is
    scikit-learn's name for the trainer's seed; where it is given, it counts.

    After ``fit``: ``model_``, the trained :class:`grus.Model`, and ``classes_``, the labels in the order of the
    probabilities: text, numbers, booleans, dates or times, as ``fit`` was given them, after :meth:`load` too.

    >>> classifier = Classifier().fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict(["a text", "another"])  # doctest: +SKIP
    """

    kinds: ClassVar[type[Any]] = Settings
    _estimator_type = "classifier"  # for scikit-learn before 1.6

    classes_: NDArray[Any]
    feature_names_in_: NDArray[Any]  # of a frame with a series a row; as scikit-learn has it, no model file does

    def __init__(
        self,
        *,
        tokens: str = "words",
        vocabulary_size: int = 20_000,
        least_count: int = 2,
        lower: bool = True,
        vocabulary: str | None = None,
        longest: int | None = None,
        architecture: Architecture | None = None,
        optimiser: Optimiser | None = None,
        trainer: Trainer | None = None,
        random_state: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.vocabulary_size = vocabulary_size
        self.least_count = least_count
        self.lower = lower
        self.vocabulary = vocabulary
        self.longest = longest
        self.architecture = architecture
        self.optimiser = optimiser
        self.trainer = trainer
        self.random_state = random_state

    @property
    def settings(self) -> Any:
        """The parameters, checked. Raises InputError that names the one that is wrong."""
        given = {name: value for name, value in self.get_params(deep=False).items() if value is not None}
        seed = given.pop("random_state", None)
        settings = self.kinds(**given)
        if seed is None:
            return settings
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
            raise InputError(f"random_state is {seed!r}, expected an integer: it is the seed of the trainer")
        return dataclasses.replace(settings, trainer=dataclasses.replace(settings.trainer, seed=int(seed)))

    def fit(self, X: Any, y: Any = None, *, progress: bool = False) -> Classifier:
        """Train on the sequences X with the labels y (X may be Examples, with labels) and return self.

        Raises InputError without PyTorch, and for data that do not fit.
        """
        check_torch()
        from grus.tasks.classify.fit import fit

        examples, names = as_examples(X, y), column_names(X)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if len(names) > 1:
            self.feature_names_in_ = np.array(names, dtype=object)
        self.model_ = fit(examples, self.settings, progress=progress).model
        self.classes_ = as_array(task_of(self.model_).values)
        return self

    def predict(self, X: Any) -> Any:
        """The class of each sequence [N], as ``fit`` was given it; or a list of arrays [T] where steps have labels."""
        found = self.predict_proba(X)
        if isinstance(found, np.ndarray):
            return self.classes_[found.argmax(axis=1)]
        return [self.classes_[p.argmax(axis=1)] for p in found]

    def predict_proba(self, X: Any) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """The probabilities [N, classes], in the order of ``classes_``; or a list of [T, classes]."""
        return predict_proba(self._model(), self._ordered(X))

    def _ordered(self, X: Any) -> Any:
        return in_order(X, self.feature_names_in_.tolist()) if hasattr(self, "feature_names_in_") else X

    def score(self, X: Any, y: Any = None) -> float:
        """The share of sequences, or of steps where these have labels, whose class is predicted right."""
        examples = as_examples(self._ordered(X), y)
        if examples.labels is None:
            raise InputError("score needs the true labels y")
        truth = np.concatenate(find_labels(examples, task_of(self._model())))
        found = self.predict_proba(examples)
        p = found if isinstance(found, np.ndarray) else np.concatenate(found)
        counts = truth != IGNORED
        return accuracy(truth[counts], p.argmax(axis=1)[counts])

    def evaluate(self, X: Any, y: Any = None, train: Examples | None = None) -> Report:
        """Accuracy, F1, log loss and calibration. See :func:`grus.tasks.classify.evaluate.evaluate`."""
        return evaluate(self._model(), as_examples(self._ordered(X), y), train)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Classifier:
        """A fitted classifier from a model file. Raises InputError for a file that is none."""
        model = load(path)
        task = task_of(model)
        kinds = {Words: "words", Characters: "characters", Subwords: "subwords", Series: "words"}
        classifier = Classifier(tokens=kinds[type(task.input)], longest=task.longest)
        if isinstance(task.input, Words):
            classifier.lower = task.input.lower
        classifier.model_, classifier.classes_ = model, as_array(task.values)
        return classifier

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, from 1.6 on, asks an estimator about itself; only it calls this."""
        utils = import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=True, three_d_array=True, string=True, allow_nan=True),
        )
