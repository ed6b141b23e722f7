"""What a trained network must beat, to stand beside it in the same table.

Each takes the training part and the test part as they are, and gives a label for each test item, or bits a character.
Those of text and series need ``pip install 'grus[baselines]'``, and say so; the rest needs NumPy alone.

May import: NumPy, and where they are used scikit-learn and aeon; nothing of the tasks. Begin with ``ngram``.
"""

from __future__ import annotations

from grus.tasks.baselines.compression import xz_bits
from grus.tasks.baselines.ngram import NGram
from grus.tasks.baselines.series import minirocket, nearest_neighbour
from grus.tasks.baselines.text import majority, tfidf_logistic

__all__ = ["NGram", "majority", "minirocket", "nearest_neighbour", "tfidf_logistic", "xz_bits"]
