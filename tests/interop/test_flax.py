"""To and from Flax, linen and nnx: the numbers, the arrays, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from interop.trained import SHAPES, check, inputs, random_model, same
from numpy.typing import NDArray

from grus import InputError, Model
from grus.interop import flax as interop
from grus.spec import GRU, Linear

Array = NDArray[Any]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    linen = pytest.importorskip("flax.linen", reason="Flax is not installed")
    from flax import nnx


# each shape one way at least: JAX takes its time. There is no GRU without biases in Flax
OURS = {name: SHAPES[name] for name in ("one", "no bias", "stacked, both directions", "sizes differ")}
THEIRS = {name: SHAPES[name] for name in ("square", "stacked", "both directions", "sizes differ")}


def layers_of(blocks: tuple[GRU, ...]) -> list[tuple[int, int, bool]]:
    """(input size, hidden size, both directions) of each layer."""
    each = [(block, layer) for block in blocks for layer in range(block.num_layers)]
    return [(b.output_size if layer else b.input_size, b.hidden_size, b.bidirectional) for b, layer in each]


def of_linen(blocks: tuple[GRU, ...]) -> Any:
    def one(size: int, both: bool) -> Any:
        rnns = [linen.RNN(linen.GRUCell(size)) for _ in range(1 + both)]
        return linen.Bidirectional(*rnns) if both else rnns[0]

    made = [one(size, both) for _, size, both in layers_of(blocks)]
    return made[0] if len(made) == 1 else linen.Sequential(made)


def of_nnx(blocks: tuple[GRU, ...]) -> Any:
    def one(features: int, size: int, both: bool) -> Any:
        rnns = [nnx.RNN(nnx.GRUCell(features, size, rngs=nnx.Rngs(0))) for _ in range(1 + both)]
        return nnx.Bidirectional(*rnns, rngs=nnx.Rngs(0)) if both else rnns[0]

    made = [one(*sizes) for sizes in layers_of(blocks)]
    return made[0] if len(made) == 1 else nnx.Sequential(*made)


def without_b_hn(model: Model) -> Model:
    """What nnx can say: its cell has no bias beside the state."""
    arrays = {n: np.zeros_like(a) if "bias_hh" in n else a for n, a in model.arrays.items()}
    return Model(model.spec, arrays)


def one_bias(model: Model) -> Model:
    """The same model with the biases of r and z all beside the input, as Flax has them."""
    arrays = {name: array.copy() for name, array in model.arrays.items()}
    for name in arrays:
        if "bias_hh" in name:
            rz = slice(0, len(arrays[name]) * 2 // 3)
            arrays[name.replace("_hh", "_ih")][rz] += arrays[name][rz]
            arrays[name][rz] = 0
    return Model(model.spec, arrays)


def randomised(tree: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.uniform(-0.8, 0.8, leaf.shape).astype(np.float32), tree)


def paths(tree: Any) -> list[Any]:
    return [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def equal(one: Any, other: Any) -> bool:
    pairs = list(zip(paths(one), paths(other), strict=True))
    return all(a == b and np.array_equal(x, y) for (a, x), (b, y) in pairs)


def names(blocks: tuple[GRU, ...], pattern: str) -> list[str] | None:
    """What ``cells`` has to say of a Sequential of these; nothing of a single layer."""
    count = len(layers_of(blocks))
    return None if count == 1 else [pattern.format(i) for i in range(count)]


def turned(x: Array) -> Array:
    return np.ascontiguousarray(x.swapaxes(0, 1))


def with_state(module: Any, x: Array, h0: list[Array]) -> Array:
    """An nnx module or a bound linen one, layer for layer from an initial state: x and y [T, B, F]."""
    states, y = iter(h0), turned(x)
    for layer in module.layers if isinstance(module, (nnx.Sequential, linen.Sequential)) else [module]:
        both = isinstance(layer, (nnx.Bidirectional, linen.Bidirectional))
        carry = (next(states), next(states)) if both else next(states)
        y = layer(y, initial_carry=carry)
    return turned(np.asarray(y))


@pytest.mark.parametrize("blocks", OURS.values(), ids=OURS)
def test_a_model_becomes_linen(blocks: tuple[GRU, ...]) -> None:
    model = random_model(*blocks)
    tree, module = interop.save(model), of_linen(blocks)
    x, h0 = inputs(model)
    with jax.disable_jit():  # compiling takes JAX a second for each shape, a few steps without do not
        check("linen", turned(np.asarray(module.apply({"params": tree}, turned(x)))), model, x)
        check("linen", with_state(module.bind({"params": tree}), x, h0), model, x, h0)
    again = interop.load({"params": tree}, names(blocks, "params/layers_{}"))
    if all(block.bias for block in blocks):
        assert same(again, one_bias(model))
    assert equal(interop.save(again), tree)


@pytest.mark.parametrize("blocks", THEIRS.values(), ids=THEIRS)
def test_linen_becomes_a_model(blocks: tuple[GRU, ...]) -> None:
    module = of_linen(blocks)
    start = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 2, blocks[0].input_size), np.float32))
    variables = randomised(start)
    model = interop.load(variables, names(blocks, "params/layers_{}"))
    assert model.spec.blocks == blocks
    x, h0 = inputs(model)
    with jax.disable_jit():
        check("linen", turned(np.asarray(module.apply(variables, turned(x)))), model, x)
        check("linen", with_state(module.bind(variables), x, h0), model, x, h0)
    assert equal(interop.save(model), variables["params"])


@pytest.mark.parametrize("blocks", OURS.values(), ids=OURS)
def test_a_model_becomes_nnx(blocks: tuple[GRU, ...]) -> None:
    model = without_b_hn(random_model(*blocks))
    tree, module = interop.save(model, api="nnx"), of_nnx(blocks)
    nnx.update(module, tree)
    x, h0 = inputs(model)
    check("nnx", with_state(module, x, h0), model, x, h0)
    again = interop.load(nnx.state(module), names(blocks, "layers/{}"))
    if all(block.bias for block in blocks):
        assert same(again, model)
    assert equal(interop.save(again, api="nnx"), tree)


@pytest.mark.parametrize("blocks", THEIRS.values(), ids=THEIRS)
def test_nnx_becomes_a_model(blocks: tuple[GRU, ...]) -> None:
    module = of_nnx(blocks)
    nnx.update(module, randomised(nnx.to_pure_dict(nnx.state(module, nnx.Param))))
    model = interop.load(nnx.state(module), names(blocks, "layers/{}"))
    assert model.spec.blocks == blocks
    x, h0 = inputs(model)
    check("nnx", with_state(module, x, h0), model, x, h0)
    assert equal(interop.save(model, api="nnx"), nnx.to_pure_dict(nnx.state(module, nnx.Param)))


class Tagger(linen.Module):  # type: ignore[misc, name-defined]
    """Cells made inside a method have names that do not say how they are joined."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.RNN(linen.GRUCell(4))(linen.Dense(3)(x))
        return linen.Bidirectional(linen.RNN(linen.GRUCell(4)), linen.RNN(linen.GRUCell(4)))(x)


def test_cells_anywhere_by_path() -> None:
    tree = randomised(jax.eval_shape(Tagger().init, jax.random.key(0), np.zeros((1, 2, 5), np.float32)))
    with pytest.raises(
        InputError, match=r"there are 3 GRU layers: give .* cells=, from 'params/GRUCell_0', 'params/GRU"
    ):
        interop.load(tree)
    model = interop.load(tree, ["params/GRUCell_0", ("params/GRUCell_1", "params/GRUCell_2")])
    assert model.spec.blocks == (GRU(3, 4), GRU(4, 4, bidirectional=True))
    x = inputs(model)[0]
    eye = {
        "params": tree["params"] | {"Dense_0": {"kernel": np.eye(3, dtype=np.float32), "bias": np.zeros(3, np.float32)}}
    }
    with jax.disable_jit():
        check("linen", turned(np.asarray(Tagger().apply(eye, turned(x)))), model, x)
    one = interop.load(tree, "params/GRUCell_2")
    assert equal(interop.save(one)["cell"], tree["params"]["GRUCell_2"])
    assert same(interop.load(tree["params"]["GRUCell_2"]), one)
    assert same(interop.load({"forward_rnn": {"cell": tree["params"]["GRUCell_2"]}}), one)  # half of a Bidirectional


def test_how_layers_are_joined_has_to_be_said() -> None:
    """What stands between two of them may leave no trace in the tree."""
    module = linen.Sequential([linen.RNN(linen.GRUCell(4)), linen.relu, linen.RNN(linen.GRUCell(4))])
    tree = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 2, 4), np.float32))
    with pytest.raises(
        InputError, match="there are 2 GRU layers: .* cells=, from 'params/layers_0', 'params/layers_2'"
    ):
        interop.load(tree)
    tree = randomised(tree)
    for path in ("params/layers_2", "params/layers_2/cell"):
        assert equal(interop.save(interop.load(tree, path)), tree["params"]["layers_2"])


def test_other_cells_are_not_taken_for_a_gru() -> None:
    for cell in (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.SimpleCell):
        with pytest.raises(InputError, match=r"there are 0 GRU layers: .* from \(there is none\)"):
            interop.load(nnx.state(cell(3, 4, rngs=nnx.Rngs(0))))
    for cell in (linen.LSTMCell, linen.MGUCell, linen.SimpleCell):
        with pytest.raises(InputError, match=r"there are 0 GRU layers: .* from \(there is none\)"):
            interop.load(jax.eval_shape(linen.RNN(cell(4)).init, jax.random.key(0), np.zeros((1, 2, 3), np.float32)))


def cell(gate: str = "", name: str = "", value: Any = None) -> dict[str, Any]:
    tree = interop.save(random_model(GRU(3, 4)))["cell"]
    if gate and value is None:
        del tree[gate][name]
    elif gate:
        tree[gate][name] = value
    return dict(tree)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.load(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))), r"params is a GRUCell, expected a tree of dicts"),
        (lambda: interop.load({}), r"there are 0 GRU layers: .* from \(there is none\)"),
        (lambda: interop.load({"a": cell()}, "b"), "cells has 'b', expected paths of GRU layers or cells: 'a'"),
        (lambda: interop.load({"a": cell()}, []), "there are no layers"),
        (
            lambda: interop.load({"a": cell(), "b": cell()}, ["a", "b"]),
            "takes 3 features, but the one before it gives 4",
        ),
        (lambda: interop.load({"a": cell()}, [("a", "b")]), r"cells has \('a', 'b'\), expected paths"),  # type: ignore[list-item]
        (lambda: interop.load({"a": cell()}, [("a",)]), r"cells has \('a',\), expected paths"),  # type: ignore[list-item]
        (lambda: interop.load({"a": cell()}, [["a", "a"]]), r"cells has \['a', 'a'\], expected paths"),  # type: ignore[list-item]
        (lambda: interop.load({"a": cell("hn", "bias")}), "a/hn/bias is missing: a GRU cell of Flax has it"),
        (lambda: interop.load(cell("ir", "kernel", np.zeros((5, 4), np.float32))), "have kernels of unlike shapes"),
        (lambda: interop.load(cell("hn", "bias", np.zeros(5, np.float32))), "recurrent_bias"),
        (
            lambda: interop.load(cell("hn", "bias", np.zeros((1, 4), np.float32))),
            r"hn/bias has shape \(1, 4\), expected 1",
        ),
        (lambda: interop.load(cell("ir", "kernel", np.float32(1))), r"ir/kernel has shape \(\), expected 2 dimensions"),
        (lambda: interop.load(cell("ir", "bias", np.full(4, 0.1))), "ir/bias is float64 and float32 would round it"),
        (lambda: interop.save(random_model(GRU(3, 4)), api="nnx"), "nnx.GRUCell has no bias b_hn"),
        (lambda: interop.save(random_model(GRU(3, 4, reset_after=False))), "'flax' has no GRU with the reset before"),
        (lambda: interop.save(random_model(GRU(3, 4)), api="haiku"), "api is 'haiku', expected 'linen' or 'nnx'"),  # type: ignore[arg-type]
        (lambda: interop.save(random_model(GRU(3, 4), Linear(4, 1))), "the model has Linear beside GRU"),
    ],
)
def test_what_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
