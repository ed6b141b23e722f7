"""Flax: the parameters of ``GRUCell``, of linen and of nnx, anywhere in a tree.

linen's cell has kernels and biases ir, iz, in of the input, kernels hr, hz, hn of the state, and the bias of hn. nnx's
has one kernel and bias ``dense_i`` for r, z, n, one kernel ``dense_h``, and no bias beside the state at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from grus.errors import InputError
from grus.interop.layers import Array, Layer, float32, layers_of, model_of
from grus.model import Model
from grus.weights import GRUWeights, from_convention, to_convention

__all__ = ["load", "save"]

Tree: TypeAlias = Mapping[Any, Any]  # names to arrays or to further trees

_LINEN = ("ir", "iz", "in", "hr", "hz", "hn")
_NNX = ("dense_i", "dense_h")
_DIRECTIONS = ("forward_rnn", "backward_rnn")


def load(params: Tree, cells: str | Sequence[str | tuple[str, str]] | None = None) -> Model:
    """GRU cells as a Model.

    ``params`` is a tree of dicts as ``module.init`` gives it in linen, or ``nnx.state(module)``. ``cells`` is the path
    of an RNN, a Bidirectional or a cell ("params/encoder"), or one for each layer in order; a pair of cells' paths is a
    layer in both directions. It may be left out where there is one layer. A tree does not say how several are joined:
    naming them says that each takes the output of the one before, and nothing stands between.
    ``gate_fn`` and ``activation_fn`` are not in the tree either: Flax' defaults, σ and tanh, are meant.
    Raises InputError where the paths are not cells or have to be given, an array is missing, unknown or of a wrong
    shape, and where float32 would round.
    """
    if not isinstance(params, Mapping):
        raise InputError(f"params is a {type(params).__name__}, expected a tree of dicts: nnx.state(module) is one")
    found = dict(_cells(params, ""))
    layers = _layers(found)
    if cells is None:
        if len(layers) != 1:
            raise InputError(
                f"there are {len(layers)} GRU layers: give one, or several in order, with cells=, from {_list(layers)}"
            )
        chosen = list(layers.values())
    else:
        chosen = [_chosen(layer, found, layers) for layer in ([cells] if isinstance(cells, str) else cells)]
    return model_of(Layer(tuple(_weights(path, found[path]) for path in layer)) for layer in chosen)


def save(model: Model, *, api: Literal["linen", "nnx"] = "linen", block: str | None = None) -> dict[Any, Any]:
    """The tree of parameters of ``RNN(GRUCell)``, of ``Bidirectional`` of two, or of a ``Sequential`` of these.

    ``{"cell": cell}`` for one layer, ``{"forward_rnn": {"cell": …}, "backward_rnn": {"cell": …}}`` for one in both
    directions; of more layers linen's keys are "layers_0", "layers_1", …, and nnx's 0, 1, … below "layers". linen takes
    it as ``module.apply({"params": tree}, x)``, nnx by ``nnx.update(module, tree)``. ``block`` picks one GRU of a
    larger model, named as its arrays are. Flax has one bias for each of r and z where Grus has two: their sum, rounded
    to float32. A model without biases gets zeros.
    Raises InputError where Flax has no such GRU: reset before the product, or with nnx a bias b_hn that is not zero.
    """
    if api not in ("linen", "nnx"):
        raise InputError(f"api is {api!r}, expected 'linen' or 'nnx'")
    make = _linen if api == "linen" else _nnx
    layers: list[dict[Any, Any]] = []
    for layer in layers_of(model, block):
        trees = [{"cell": make(weights)} for weights in layer.directions]
        layers.append(trees[0] if len(trees) == 1 else dict(zip(_DIRECTIONS, trees, strict=True)))
    if len(layers) == 1:
        return layers[0]
    return (
        {f"layers_{i}": tree for i, tree in enumerate(layers)}
        if api == "linen"
        else {"layers": dict(enumerate(layers))}
    )


def _linen(weights: GRUWeights) -> dict[str, Any]:
    kernel_i, kernel_h, bias, b_hn = to_convention(weights, "flax")
    tree: dict[str, Any] = {}
    for gate, kernel, of_gate in zip("rzn", np.split(kernel_i, 3, axis=1), np.split(bias, 3), strict=True):
        tree[f"i{gate}"] = {"kernel": kernel.copy(), "bias": of_gate.copy()}
    for gate, kernel in zip("rzn", np.split(kernel_h, 3, axis=1), strict=True):
        tree[f"h{gate}"] = {"kernel": kernel.copy()}
    tree["hn"]["bias"] = b_hn
    return tree


def _nnx(weights: GRUWeights) -> dict[str, Any]:
    kernel_i, kernel_h, bias, b_hn = to_convention(weights, "flax")
    if np.any(b_hn):
        raise InputError(
            "nnx.GRUCell has no bias b_hn inside the product with r, and the model's is not zero: use linen"
        )
    return {"dense_i": {"kernel": kernel_i, "bias": bias}, "dense_h": {"kernel": kernel_h}}


def _weights(path: str, cell: Tree) -> GRUWeights:
    if _has(cell, _LINEN):
        kernels = [_array(cell, path, gate, "kernel") for gate in _LINEN]
        biases = [_array(cell, path, gate, "bias") for gate in ("ir", "iz", "in")]
        if any(len({k.shape for k in half}) > 1 for half in (kernels[:3], kernels[3:])):
            raise InputError(f"the gates of {path!r} have kernels of unlike shapes: {[k.shape for k in kernels]}")
        b_hn = _array(cell, path, "hn", "bias")
        kernel_i, kernel_h, bias = (np.concatenate(part, axis=-1) for part in (kernels[:3], kernels[3:], biases))
        return from_convention("flax", kernel_i, kernel_h, bias, b_hn, reset_after=True)
    kernel_i, kernel_h = (_array(cell, path, dense, "kernel") for dense in _NNX)
    return from_convention("flax", kernel_i, kernel_h, _array(cell, path, "dense_i", "bias"), reset_after=True)


def _array(cell: Tree, path: str, dense: str, name: str) -> Array:
    where = "/".join(filter(None, (path, dense, name)))
    if name not in cell[dense]:
        raise InputError(f"{where} is missing: a GRU cell of Flax has it")
    array = float32(where, cell[dense][name])
    if array.ndim != (2 if name == "kernel" else 1):
        raise InputError(f"{where} has shape {array.shape}, expected {2 if name == 'kernel' else 1} dimensions")
    return array


def _cells(tree: Tree, path: str) -> Iterator[tuple[str, Tree]]:
    """Every GRU cell below ``path``, by its own path."""
    if _has(tree, _LINEN) or (_has(tree, _NNX) and _gates(tree["dense_h"]) == 3):  # 4 in an LSTM, 1 in a plain RNN
        yield path, tree
        return
    for name in tree:
        if isinstance(tree[name], Mapping):
            yield from _cells(tree[name], f"{path}/{name}" if path else str(name))


def _has(tree: Tree, names: Sequence[str]) -> bool:
    return all(name in tree and isinstance(tree[name], Mapping) for name in names)


def _gates(dense: Tree) -> float:
    shape = tuple(getattr(dense.get("kernel"), "shape", ()))
    return shape[1] / shape[0] if len(shape) == 2 and shape[0] else 0


def _layers(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The paths of cells by that of what holds them: an RNN, a Bidirectional of two, or else the cell itself."""
    grouped: dict[str, dict[str, str]] = {}
    for path in paths:
        owner = path.removesuffix("cell").removesuffix("/")
        above, _, name = owner.rpartition("/")
        layer, direction = (above, name) if name in _DIRECTIONS else (owner, "")
        grouped.setdefault(layer, {})[direction] = path
    layers = {}
    for layer, found in grouped.items():
        if set(found) in ({""}, set(_DIRECTIONS)):
            layers[layer] = tuple(found[d] for d in ("", *_DIRECTIONS) if d in found)
        else:
            layers |= {path: (path,) for path in found.values()}
    return layers


def _chosen(given: Any, found: Collection[str], layers: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The cells' paths of one layer, as ``cells`` gives it."""
    if isinstance(given, str) and given in layers:
        return layers[given]
    pair: tuple[str, ...] = given if isinstance(given, tuple) and len(given) == 2 else (given,)
    if not all(isinstance(path, str) and path in found for path in pair):
        raise InputError(f"cells has {given!r}, expected paths of GRU layers or cells: {_list((*layers, *found))}")
    return pair


def _list(paths: Iterable[str]) -> str:
    return ", ".join(map(repr, dict.fromkeys(paths))) or "(there is none)"
