"""``grus forecast``: a module a verb, and how the table is read. For people who have series and no Python.

May import: what ``grus.cli`` may, but no other task's folder. Begin with ``fit``.
"""

SUMMARY = "forecast time series, with intervals"
VERBS = ("fit", "predict", "evaluate")
DESCRIPTION = "Forecast the series of a long table (columns unique_id, ds, y) with one GRU over them all."
EXAMPLES = """\
a forecaster in three lines:
  grus forecast fit sales.csv --horizon 18 -o model.safetensors
  grus forecast predict model.safetensors sales.csv -o forecast.csv --plot forecast.png
  grus forecast evaluate model.safetensors sales.csv
"""
