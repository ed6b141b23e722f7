"""``grus classify``: a module a verb, and how the data is read. For people who have labelled texts or series.

May import: what ``grus.cli`` may, but no other task's folder. Begin with ``fit``.
"""

SUMMARY = "sort texts or numeric series into classes, whole or step by step"
VERBS = ("fit", "predict", "evaluate")
DESCRIPTION = "Sort texts or numeric series into classes, a label a sequence or a label a step, with probabilities."
EXAMPLES = """\
a classifier in three lines:
  grus classify fit reviews.csv -o model.safetensors
  grus classify predict model.safetensors new.csv -o labels.csv
  grus classify evaluate model.safetensors test.csv --train reviews.csv
"""
