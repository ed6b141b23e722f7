"""What a model's task adds to an export: the names of its classes, its vocabulary, and what is left to the caller."""

from __future__ import annotations

import json

from grus.export.c99.text import fill
from grus.spec.task import Characters, Classify, Language, Series, Subwords, Task, Text, Words

__all__ = ["classes", "said", "vocabulary"]


def classes(task: Task | None, name: str) -> str:
    """What the header says of the task; nothing where there is none to be told."""
    lines = []
    if isinstance(task, Classify):
        names = ",".join(f" \\\n    {_string(c)}" for c in task.classes)
        lines += [
            "",
            f"/* The classes, in the order of y: const char *const names[] = {name.upper()}_CLASSES; in UTF-8 */",
            f"#define {name.upper()}_CLASSES {{{names} \\\n}}",
        ]
    if _text(task) is not None:
        lines += ["", f"/* x is an id: line n of {name}_vocab.txt has the token of id n; 0 is what is not listed. */"]
    return "".join(line + "\n" for line in lines)


def vocabulary(task: Task | None) -> bytes | None:
    """The tokens a text model knows, one a line as JSON: line 1 is id 1."""
    text = _text(task)
    return None if text is None else "".join(json.dumps(token) + "\n" for token in text.vocabulary).encode()


def said(task: Classify | Language, name: str) -> str:
    """What lies before and after the network, for the README."""
    before = _series(task.input) if isinstance(task.input, Series) else _tokens(task, task.input, name)
    return f"**Before.** {before.rstrip()}\n\n**After.** {_after(task, name)}"


def _series(series: Series) -> str:
    lines = [f"- x[{i}]: {c.name}: (value - {c.mean!r}) / {c.std!r}" for i, c in enumerate(series.channels)]
    return "A step is one value of each channel, standardised; a missing value becomes 0.\n\n" + "\n".join(lines)


def _tokens(task: Classify | Language, text: Text, name: str) -> str:
    match text:
        case Words():
            kind = f"words and punctuation marks{', in lower case' if text.lower else ''}"
        case Characters():
            kind = "Unicode characters"
        case Subwords():
            kind = "byte-level pieces (BPE); their merges are in the model file"
    first = "0 is what is not in it" + ", and what a text begins with" * task.facts.begins
    return fill("README_text.md", kind=kind, name=name, first=first, size=len(text.vocabulary))


def _after(task: Classify | Language, name: str) -> str:
    match task:
        case Language():
            return "y is the logits of the next token, one for each id: softmax(y) is their probabilities."
        case Classify():
            return _of_classes(task, name)


def _of_classes(task: Classify, name: str) -> str:
    which = (
        "Every step's y is about that step"
        if task.labels == "step"
        else "The y of a sequence's last step is about the whole sequence"
    )
    most = f"\nThe model reads the first {task.longest} steps, and no more." if task.longest else ""
    return (
        f"{which}: softmax(y / {task.temperature!r}) is the\n"
        f"probabilities of the classes, whose names are `{name.upper()}_CLASSES` in the header.{most}"
    )


def _text(task: Task | None) -> Text | None:
    reads = None if task is None else task.facts.reads
    return None if isinstance(reads, Series) else reads


def _string(text: str) -> str:
    """A string constant; what is not plain ASCII as octal bytes of UTF-8, and ? too, for the sake of trigraphs."""
    data = text.encode("utf-8", "surrogatepass")
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return f'"{"".join(plain)}"'
