"""Classes of texts and numeric series by a GRU: one label a sequence, or one a step.

``Classifier`` has all of it in the manner of scikit-learn. Below it, each in the module of its name: ``predict``,
``evaluate``, ``files`` (tables, folders, .ts, .npz), and ``fit``, the only one that needs PyTorch.
May import: what the tasks share, ``grus.runtime`` and what lies below; no other task.
Begin with ``classifier``.
"""

from grus.tasks.classify.classifier import Classifier
from grus.tasks.classify.examples import Examples
from grus.tasks.classify.files import Names, read
from grus.tasks.classify.predict import reading
from grus.tasks.classify.report import Report
from grus.tasks.classify.settings import Architecture, Optimiser, Settings, Trainer

__all__ = [
    "Architecture",
    "Classifier",
    "Examples",
    "Names",
    "Optimiser",
    "Report",
    "Settings",
    "Trainer",
    "read",
    "reading",
]
