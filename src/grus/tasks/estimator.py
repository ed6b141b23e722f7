"""What the estimators of every task share: checked settings, the fitted model, its file."""

from __future__ import annotations

import os
from typing import Any

from grus.errors import InputError
from grus.model import Model
from grus.tasks.params import Parameters

__all__ = ["Estimator"]


class Estimator(Parameters):
    """An estimator in the manner of scikit-learn; after ``fit`` it has ``model_``, the trained :class:`grus.Model`."""

    model_: Model

    @property
    def settings(self) -> Any:
        """The parameters, checked, as ``kinds``. Raises InputError that names the one that is wrong."""
        return self.kinds(**{name: value for name, value in self.get_params(deep=False).items() if value is not None})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model, one .safetensors file that :func:`grus.load` and the command line read too."""
        self._model().save(path)

    def _model(self) -> Model:
        if not hasattr(self, "model_"):
            name = type(self).__name__
            raise InputError(f"this {name} is not fitted yet: call fit first, or {name}.load")
        return self.model_
