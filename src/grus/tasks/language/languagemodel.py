"""A language model in one class: parameters as they were given, ``fit`` returns self."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from grus.errors import InputError
from grus.model import Model, load
from grus.runtime.session import Session
from grus.spec import Characters
from grus.tasks.estimator import Estimator
from grus.tasks.language.corpus import Split, as_corpus, split
from grus.tasks.language.evaluate import evaluate, task_of
from grus.tasks.language.generate import generate
from grus.tasks.language.report import Report
from grus.tasks.language.settings import Architecture, Dropout, Optimiser, Settings, Trainer
from grus.tasks.needs import check_torch

__all__ = ["LanguageModel"]


class LanguageModel(Estimator):
    """A GRU that says, at every character (or piece of a word) of a text, what comes next.

    The parameters are those of :class:`Settings`; they are checked by ``fit``. A text is a str, a pathlib.Path of a
    file, or a list of files; a list of several str are texts with ends of their own. After ``fit`` the attribute
    ``model_`` is the trained :class:`grus.Model`.

    >>> model = LanguageModel().fit(Path("plays.txt"))  # doctest: +SKIP
    >>> print(model.evaluate())  # doctest: +SKIP
    >>> "".join(model.generate("To be, ", 200, temperature=0.8, seed=1))  # doctest: +SKIP
    """

    kinds = Settings
    _session: tuple[Model, Session] | None = None

    def __init__(
        self,
        *,
        tokens: str = "characters",
        vocabulary_size: int | None = None,
        lines: bool = False,
        held_out: float = 0.05,
        validation: float = 0.05,
        architecture: Architecture | None = None,
        dropout: Dropout | None = None,
        optimiser: Optimiser | None = None,
        trainer: Trainer | None = None,
    ) -> None:
        self.tokens = tokens
        self.vocabulary_size = vocabulary_size
        self.lines = lines
        self.held_out = held_out
        self.validation = validation
        self.architecture = architecture
        self.dropout = dropout
        self.optimiser = optimiser
        self.trainer = trainer

    def fit(self, text: Any, *, progress: bool = False) -> LanguageModel:
        """Train on a text, but for the share ``held_out`` at its end, and return self.

        Raises InputError without PyTorch, and for a text that does not fit the settings.
        """
        check_torch()
        from grus.tasks.language.fit import fit

        settings = self.settings
        whole = as_corpus(text, lines=settings.lines)
        self.model_ = fit(whole, settings, progress=progress).model
        self._split = split(whole, settings)
        return self

    def evaluate(self, text: Any = None, train: Any = None) -> Report:
        """Bits per character and perplexity of ``text``; with ``train``, beside an n-gram model and xz given that text.

        Without ``text``: of what ``fit`` held out, beside the two given all that came before it. See
        :func:`grus.tasks.language.evaluate`.
        """
        if text is None:
            parts = self._parts()
            text, train = parts.test, parts.train + parts.validation
        return evaluate(self._model(), text, train)

    def generate(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> Iterator[str]:
        """What may follow ``prompt``, piece by piece. See :func:`grus.tasks.language.generate`."""
        model = self._model()
        if self._session is None or self._session[0] is not model:
            self._session = model, Session(model)  # its packed weights serve the next call too
        options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return generate(model, prompt, length, seed=seed, stop=stop, session=self._session[1], **options)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> LanguageModel:
        """A fitted language model from a model file. Raises InputError for a file that is none."""
        model = load(path)
        task = task_of(model)
        kind = task.input
        tokens = "characters" if isinstance(kind, Characters) else "subwords"
        loaded = LanguageModel(tokens=tokens, vocabulary_size=len(kind.vocabulary), lines=task.ends)
        loaded.model_ = model
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        """All but the session, which is made anew from the model when it is needed."""
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def _parts(self) -> Split:
        self._model()
        if not hasattr(self, "_split"):
            raise InputError("evaluate needs a text: a loaded LanguageModel does not keep what it was fitted to")
        if not self._split.test:
            raise InputError("evaluate needs a text: held_out was 0, so that fit held nothing back")
        return self._split
