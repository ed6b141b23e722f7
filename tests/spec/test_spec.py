"""The spec: JSON both ways, names and shapes, and what a hostile text meets."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grus.errors import InputError
from grus.spec import (
    GRU,
    Activation,
    Block,
    Bypass,
    Categorical,
    Characters,
    Classify,
    Embedding,
    Forecast,
    Language,
    Linear,
    Mean,
    Numeric,
    Pool,
    Residual,
    Series,
    Spec,
    Subwords,
    Words,
    leaves,
    parameters,
)
from grus.spec.fields import MAX_SIZE
from grus.spec.spec import MAX_DEPTH

SIZE = st.integers(1, 9)


@st.composite
def chains(draw: st.DrawFn, size: int, end: int | None = None, depth: int = 0) -> tuple[Block, ...]:
    """A chain from ``size`` features to ``end``."""
    blocks: list[Block] = []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(range(7) if depth < 3 else (0, 1, 2, 6)))
        if kind == 0:
            flags = [draw(st.booleans()) for _ in range(3)]
            blocks.append(GRU(size, draw(SIZE), draw(st.integers(1, 3)), *flags))
        elif kind == 1:
            blocks.append(Linear(size, draw(SIZE), draw(st.booleans())))
        elif kind == 2:
            blocks.append(Activation(size, draw(st.sampled_from(["relu", "tanh", "sigmoid"]))))
        elif kind == 3 and size > 1:
            around = draw(st.integers(1, size - 1))
            blocks.append(Bypass(around, draw(chains(size - around, depth=depth + 1))))
        elif kind == 4:
            blocks.append(Residual(draw(chains(size, size, depth=depth + 1))))
        elif kind == 5:
            out = draw(SIZE)
            members = [draw(chains(size, out, depth=depth + 1)) for _ in range(draw(st.integers(1, 3)))]
            blocks.append(Mean(tuple(members)))
        elif kind == 6:
            function = draw(st.sampled_from(["max", "mean", "attention"] + ["ends"] * (size % 2 == 0)))
            blocks.append(Pool(size, function, draw(SIZE) if function == "attention" else 0))
        size = blocks[-1].output_size if blocks else size
    return (*blocks, Linear(size, size if end is None else end))


@given(st.data(), SIZE)
@settings(max_examples=60, deadline=None)
def test_json_both_ways(data: st.DataObject, size: int) -> None:
    blocks = data.draw(chains(size))
    spec = Spec(blocks, data.draw(st.sampled_from([None, Forecast(18, 36, (0.1, 0.5, 0.9), "MS", 12)])))
    again = Spec.from_json(spec.to_json())
    assert again == spec and hash(again) == hash(spec)
    assert parameters(again.blocks) == parameters(blocks)
    assert spec.input_size == size and spec.output_size == blocks[-1].output_size
    assert all(min(shape) >= 1 for shape in parameters(blocks).values())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("two_way", [True, False])
def test_a_gru_has_the_parameters_of_pytorch(bias: bool, two_way: bool) -> None:
    theirs = torch.nn.GRU(3, 5, 2, bias=bias, bidirectional=two_way).state_dict()
    ours = parameters((GRU(3, 5, 2, bias, two_way),))
    assert list(ours.items()) == [("0." + name, tuple(tensor.shape)) for name, tensor in theirs.items()]


def test_names_follow_the_nesting() -> None:
    blocks = (
        Bypass(1, (Linear(2, 2), Residual((Linear(2, 2, bias=False), Activation(2, "tanh"))))),
        Mean(((Linear(3, 1),), (Activation(3, "relu"), Linear(3, 1)))),
    )
    assert parameters(blocks) == {
        "0.0.weight": (2, 2),
        "0.0.bias": (2,),
        "0.1.0.weight": (2, 2),
        "1.0.0.weight": (1, 3),
        "1.0.0.bias": (1,),
        "1.1.1.weight": (1, 3),
        "1.1.1.bias": (1,),
    }


def test_arrays_of_the_blocks_for_text() -> None:
    blocks = (Embedding(7, 4), Mean(((Pool(4, "attention", 3),), (Pool(4, "max"),))), Residual((Pool(4, "mean"),)))
    assert parameters(blocks) == {"0.weight": (7, 4), "1.0.0.weight": (3, 4), "1.0.0.bias": (3,), "1.0.0.query": (3,)}
    assert [type(block) for block in leaves(blocks)] == [Embedding, Pool, Pool, Pool]


CLASSES = ("no", "yes")
MERGED = Subwords(("a", "b", "ab"), ("a b",))
TASKS = {
    "words": (Classify(Words(("film", "don't"), lower=False), CLASSES, longest=9), (Embedding(3, 2),)),
    "tags": (Classify(Characters(("a", "é", "\u2028")), CLASSES, "step", 1.5), (Embedding(4, 2),)),
    "subwords": (Classify(MERGED, CLASSES), (Embedding(4, 2),)),
    "series": (Classify(Series((Numeric("x", 1.5, 2.0), Numeric("y", 0.0, 1.0))), CLASSES), (Linear(2, 2),)),
    "language": (Language(MERGED), (Embedding(4, 2), Linear(2, 4))),
}


@pytest.mark.parametrize(("task", "blocks"), TASKS.values(), ids=TASKS)
def test_tasks_go_to_json_and_back(task: Classify | Language, blocks: tuple[Block, ...]) -> None:
    spec = Spec(blocks, task)
    assert Spec.from_json(spec.to_json()) == spec
    assert task.input.size == blocks[0].input_size or isinstance(blocks[0], Embedding)


@pytest.mark.alone
def test_a_large_vocabulary_is_read_quickly() -> None:
    words = tuple(f"wörd{i}" for i in range(100_000))
    merges = tuple(f"{a} {b}" for a in words[:100] for b in words[:100])
    joined = dict.fromkeys((*words, *(merge.replace(" ", "") for merge in merges)))
    for input in (Words(words), Subwords(tuple(joined), merges)):
        text = Spec((Embedding(input.size, 1), Linear(1, 2)), Classify(input, CLASSES)).to_json()
        start = time.process_time()
        Spec.from_json(text)
        assert time.process_time() - start < 1


def nested(depth: int, kind: str) -> tuple[Block, ...]:
    blocks: tuple[Block, ...] = (Linear(2, 2),)
    for _ in range(depth - 1):
        blocks = (Mean((blocks,)),) if kind == "mean" else (Residual(blocks),)
    return blocks


@pytest.mark.parametrize("kind", ["mean", "residual"])
def test_whatever_can_be_made_can_be_read_again(kind: str) -> None:
    deepest = Spec(nested(MAX_DEPTH, kind))
    assert Spec.from_json(deepest.to_json()) == deepest
    with pytest.raises(InputError, match=f"nest more than {MAX_DEPTH} deep"):
        Spec(nested(MAX_DEPTH + 1, kind))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GRU(0, 5), f"GRU.input_size is 0, expected an integer from 1 to {MAX_SIZE}"),
        (lambda: GRU(3, -5), "GRU.hidden_size is -5"),
        (lambda: GRU(3, 5.0), "GRU.hidden_size is 5.0"),  # type: ignore[arg-type]
        (lambda: GRU(True, 5), "GRU.input_size is True"),
        (lambda: GRU(3, MAX_SIZE + 1), "GRU.hidden_size is"),
        (lambda: GRU(3, 5, 0), "GRU.num_layers is 0"),
        (lambda: GRU(3, 5, 1000), "GRU.num_layers is 1000, expected at most"),
        (lambda: GRU(3, 5, bias=1), "GRU.bias is 1, expected True or False"),  # type: ignore[arg-type]
        (lambda: GRU(3, 5, reset_after=None), "GRU.reset_after is None"),  # type: ignore[arg-type]
        (lambda: Linear(3, "5"), "Linear.output_size is '5'"),  # type: ignore[arg-type]
        (lambda: Activation(3, "gelu"), "Activation.function is 'gelu', expected 'relu', 'tanh' or"),  # type: ignore[arg-type]
        (lambda: Activation(3, ["relu"]), r"Activation.function is \['relu'\]"),  # type: ignore[arg-type]
        (lambda: Bypass(0, (Linear(1, 1),)), "Bypass.size is 0"),
        (lambda: Bypass(1, ()), r"Bypass.blocks is \(\), expected a tuple of at least one block"),
        (lambda: Bypass(1, [Linear(1, 1)]), "Bypass.blocks is"),  # type: ignore[arg-type]
        (lambda: Residual((Linear(3, 4),)), "Residual.blocks turn 3 features into 4, expected equal"),
        (lambda: Mean(()), r"Mean.members is \(\)"),
        (lambda: Mean(((Linear(1, 1),), ())), r"Mean.members\[1\] is \(\)"),
        (lambda: Mean(((Linear(1, 1),), (Linear(1, 2),))), "Mean.members have unequal"),
        (lambda: Spec(()), r"Spec.blocks is \(\)"),
        (lambda: Spec((Linear(1, 2), Linear(3, 1))), "gives 2 features, but Linear.* takes 3"),
        (lambda: Spec((Linear(1, 2),), "forecast"), "Spec.task is 'forecast'"),  # type: ignore[arg-type]
        (lambda: Spec((3,)), r"Spec.blocks is \(3,\)"),  # type: ignore[arg-type]
        (lambda: Embedding(0, 4), "Embedding.size is 0"),
        (lambda: Embedding(MAX_SIZE + 1, 4), "Embedding.size is"),
        (lambda: Embedding(4, 2.0), "Embedding.output_size is 2.0"),  # type: ignore[arg-type]
        (lambda: Pool(0, "max"), "Pool.size is 0"),
        (lambda: Pool(4, "sum"), "Pool.function is 'sum', expected 'max', 'mean', 'ends' or"),  # type: ignore[arg-type]
        (lambda: Pool(4, "attention"), "Pool.attention_size is 0, expected an integer from 1"),
        (lambda: Pool(5, "ends"), "Pool.size is 5, expected an even number for 'ends'"),
        (lambda: Pool(4, "mean", 3), "Pool.attention_size is 3, expected 0"),
        (lambda: Spec((Linear(2, 3), Embedding(7, 4))), r"gives 3 features, but Embedding.* takes 1"),
        (lambda: Words(()), r"Words.vocabulary is \(\), expected a tuple of different words"),
        (lambda: Words(("a", "a")), "Words.vocabulary is"),
        (lambda: Words(("a", "")), "Words.vocabulary is"),
        (lambda: Words(["a"]), "Words.vocabulary is"),  # type: ignore[arg-type]
        (lambda: Words(("a",), 1), "Words.lower is 1, expected True or False"),  # type: ignore[arg-type]
        (lambda: Words(("x" * 10_000, "x" * 10_000)), "^Words.vocabulary is .{400}…, expected.{0,99}$"),
        (lambda: Characters(("ab",)), "Characters.vocabulary is .*, expected single characters"),
        (lambda: Subwords(("a", "b"), ("a b",)), "Subwords.merges has 'a b', expected two pieces"),
        (lambda: Subwords(("a",), ("a",)), "Subwords.merges has 'a', expected two pieces"),
        (lambda: Subwords(("a",), (3,)), "Subwords.merges is"),  # type: ignore[arg-type]
        (lambda: Series(()), r"Series.channels is \(\)"),
        (lambda: Series((Numeric("x", 0.0, 1.0),) * 2), "Series has a channel twice"),
        (lambda: Series((Categorical("x", ("a",)),)), "Series.channels is"),  # type: ignore[arg-type]
        (lambda: Classify(MERGED, ("one",)), "Classify.classes is .* at least two different names"),
        (lambda: Classify(MERGED, ("one", "one")), "Classify.classes is"),
        (lambda: Classify("words", CLASSES), "Classify.input is 'words'"),  # type: ignore[arg-type]
        (lambda: Classify(MERGED, CLASSES, "word"), "Classify.labels is 'word'"),  # type: ignore[arg-type]
        (lambda: Classify(MERGED, CLASSES, temperature=0.0), "Classify.temperature is 0.0"),
        (lambda: Classify(MERGED, CLASSES, longest=-1), "Classify.longest is -1"),
        (lambda: Language(Words(("a",))), "Language.input is Words.*, expected Characters or Subwords"),  # type: ignore[arg-type]
        (
            lambda: Spec((Embedding(4, 2), Linear(2, 3)), Classify(MERGED, CLASSES)),
            "take 1 features and give 3, the task wants 1 and 2",
        ),
        (
            lambda: Spec((Linear(2, 2),), Classify(MERGED, CLASSES)),
            "take 2 features and give 2, the task wants 1 and 2",
        ),
        (
            lambda: Spec((Embedding(3, 2),), Classify(MERGED, CLASSES)),
            "Embedding.*, but the task's Subwords is of size 4",
        ),
        (lambda: Spec((Embedding(4, 2),), Language(MERGED)), "give 2, the task wants 1 and 4"),
        (
            lambda: Spec((Embedding(4, 2),), Classify(Series((Numeric("x", 0.0, 1.0),)), CLASSES)),
            "Embedding.*, but the task's Series is of size 1",
        ),
    ],
)
def test_bad_blocks(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


LINEAR = {"type": "Linear", "input_size": 1, "output_size": 1, "bias": True}
TASK = json.loads(Spec((Linear(1, 1),), Forecast(18, 36, (0.1, 0.5, 0.9), "MS", 12)).to_json())["task"]
WORDS = {"type": "Classify", "input": {"type": "Words", "vocabulary": ["a"]}, "classes": ["no", "yes"]}


def spec_text(*blocks: Any, **more: Any) -> str:
    return json.dumps({"type": "Spec", "blocks": list(blocks), "task": None, **more})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the spec is not JSON"),
        ("{", "the spec is not JSON"),
        ("[" * 100_000, "the spec is not JSON|nests more than"),
        ('{"type":' * 900 + "1" + "}" * 900, "the spec"),
        ("9" * 10_000, "the spec"),
        ("[]", "the spec is a tuple, expected a Spec"),
        ("null", "the spec is a NoneType"),
        (json.dumps(LINEAR), "the spec is a Linear, expected a Spec"),
        ("{}", "an object of type None, expected one of"),
        ('{"type": ["Spec"]}', r"an object of type \['Spec'\]"),
        ('{"type": "os.system"}', "an object of type 'os.system', expected one of"),
        (spec_text(), r"Spec.blocks is \(\)"),
        (spec_text(3), r"Spec.blocks is \(3,\)"),
        (spec_text(LINEAR | {"input_size": 1e300}), "Linear.input_size is 1e\\+300"),
        (spec_text(LINEAR | {"input_size": 10**4000}), "Linear.input_size is 1000"),
        (spec_text(LINEAR | {"input_size": None}), "Linear.input_size is None"),
        (spec_text(LINEAR | {"extra": 1}), r"Linear in the spec has unknown fields \['extra'\]"),
        (spec_text({"type": "Linear"}), r"lacks the fields \['input_size', 'output_size'\]"),
        (spec_text(LINEAR, more=1), r"Spec in the spec has unknown fields \['more'\]"),
        (spec_text(LINEAR, task=LINEAR), "Spec.task is Linear"),
        (spec_text(LINEAR, task={}), "an object of type None"),
        (spec_text(LINEAR | {"input_size": float("nan")}), "the spec holds nan, expected finite numbers"),
        (spec_text({"type": "Spec", "blocks": [LINEAR]}), "Spec.blocks is"),
        (spec_text({"type": "GRU", "input_size": 1, "hidden_size": 1, "num_layers": MAX_SIZE}), "GRU.num_layers is"),
        (spec_text(LINEAR, task=TASK | {"horizon": "18"}), "Forecast.horizon is '18'"),
        (spec_text(LINEAR, task=TASK | {"horizon": 0}), "Forecast.horizon is 0"),
        (spec_text(LINEAR, task=TASK | {"quantiles": 0.5}), "Forecast.quantiles is 0.5"),
        (spec_text(LINEAR, task=TASK | {"quantiles": []}), r"Forecast.quantiles is \(\)"),
        (spec_text(LINEAR, task=TASK | {"quantiles": ["0.5"]}), "Forecast.quantiles is"),
        (spec_text(LINEAR, task=TASK | {"quantiles": [1.5]}), "Forecast.quantiles is"),
        (spec_text(LINEAR, task=TASK | {"frequency": 3}), "Forecast.frequency is 3"),
        (spec_text(LINEAR, task=TASK | {"season": None}), "Forecast.season is None"),
        (spec_text(LINEAR, task=TASK | {"frequency": "\ud800"}), r"the spec holds '\\ud800', which is no Unicode"),
        (spec_text(LINEAR, task=WORDS | {"classes": ["no", "\udfff"]}), r"the spec holds '\\udfff', which is no"),
        (spec_text(LINEAR, task=WORDS | {"input": {"type": "Words", "vocabulary": ["a", "b\ud800"]}}), "no Unicode"),
    ],
    ids=str,
)
def test_bad_text(text: str, message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError, match=message):
        Spec.from_json(text)
    assert time.perf_counter() - start < 5


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=8))
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_field_is_taken_or_refused(value: Any) -> None:
    gru = {"type": "GRU", "input_size": 1, "hidden_size": 1}
    pool = {"type": "Pool", "size": 1, "function": "attention", "attention_size": 2}
    embedding = {"type": "Embedding", "size": 2, "output_size": 1}
    relu, mean = {"type": "Activation", "size": 1, "function": "relu"}, {"type": "Mean", "members": []}
    for block in (LINEAR, gru, relu, mean, pool, embedding):
        for field in block:
            for text in (spec_text(block | {field: value}), spec_text(LINEAR, task=TASK | {field: value})):
                try:
                    assert isinstance(Spec.from_json(text), Spec)
                except InputError:
                    continue


@given(st.sampled_from([f.name for f in dataclasses.fields(Forecast)]), st.data())
@settings(max_examples=80, deadline=None)
def test_any_value_in_a_task_is_taken_or_refused(field: str, data: st.DataObject) -> None:
    leaves = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers() | st.just(LINEAR)
    value = data.draw(st.recursive(leaves, st.lists, max_leaves=4))
    try:
        spec = Spec.from_json(spec_text(LINEAR, task=TASK | {field: value}))
    except InputError:
        return
    assert Spec.from_json(spec.to_json()) == spec


@given(st.sampled_from(sorted(TASKS)), st.data())
@settings(max_examples=80, deadline=None)
def test_any_value_in_a_task_that_reads_text_or_series(name: str, data: st.DataObject) -> None:
    whole = json.loads(Spec(TASKS[name][1], TASKS[name][0]).to_json())
    where = data.draw(st.sampled_from([whole["task"], whole["task"]["input"]]))
    values = st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers() | st.just(LINEAR)
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(st.recursive(values, st.lists, max_leaves=4))
    try:
        spec = Spec.from_json(json.dumps(whole))
    except InputError as error:
        assert len(str(error)) < 3000
        return
    assert Spec.from_json(spec.to_json()) == spec
