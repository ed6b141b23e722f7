"""Language models: a GRU that reads a text token by token and says what comes next; bits per character, and samples.

``LanguageModel`` has all of it in one class. Below it, each in the module of its name: ``evaluate``, ``generate``, and
``fit``, the only one that needs PyTorch.
May import: what the tasks share, ``grus.runtime`` and what lies below; no other task.
Begin with ``fit``.
"""

from grus.tasks.language.languagemodel import LanguageModel
from grus.tasks.language.report import Report
from grus.tasks.language.settings import Architecture, Dropout, Optimiser, Settings, Trainer

__all__ = ["Architecture", "Dropout", "LanguageModel", "Optimiser", "Report", "Settings", "Trainer"]
