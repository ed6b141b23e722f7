"""``grus language``: a module a verb. For people who have a text, and want others judged by it or more of its kind.

May import: what ``grus.cli`` may, but no other task's folder. Begin with ``fit``.
"""

SUMMARY = "learn to write a text on, by characters or subwords"
VERBS = ("fit", "evaluate", "generate")
DESCRIPTION = "Learn from a text how texts like it go on: to judge others by it, and to write."
EXAMPLES = """\
a language model in three lines:
  grus language fit plays.txt -o model.safetensors
  grus language generate model.safetensors --prompt "To be, "
  grus language evaluate model.safetensors other.txt --train plays.txt
"""
