"""GRU weights, and the one table of every convention they come in.

Inside Grus the gates are stacked in the order r, z, n, z keeps the past, and there are two biases: what
``torch.nn.GRU`` calls ``weight_ih``, ``weight_hh``, ``bias_ih`` and ``bias_hh``. The table says how others differ, and
two functions turn one into the other. No kernel knows a second convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grus.errors import InputError

__all__ = ["CONVENTIONS", "Convention", "GRUWeights", "as_array", "from_convention", "to_convention"]


@dataclass(frozen=True, eq=False)
class GRUWeights:
    """The weights of one layer in one direction, in Grus' own convention.

    weight_ih [3H, I], weight_hh [3H, H], bias_ih [3H], bias_hh [3H]; rows in the order r, z, n.
    ``reset_after`` says where the reset gate acts: on the product U_n h (True) or on h (False).
    """

    weight_ih: NDArray[Any]
    weight_hh: NDArray[Any]
    bias_ih: NDArray[Any]
    bias_hh: NDArray[Any]
    reset_after: bool = True

    def __post_init__(self) -> None:
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray):
                raise InputError(f"{name} is a {type(array).__name__}, expected a NumPy array")
        hidden = self.weight_hh.shape[1] if self.weight_hh.ndim == 2 else -1
        if hidden < 1 or self.weight_hh.shape[0] != 3 * hidden:
            raise InputError(f"weight_hh has shape {self.weight_hh.shape}, expected (3 * hidden_size, hidden_size)")
        if self.weight_ih.ndim != 2 or self.weight_ih.shape[0] != 3 * hidden or self.weight_ih.shape[1] < 1:
            raise InputError(f"weight_ih has shape {self.weight_ih.shape}, expected ({3 * hidden}, input_size)")
        for name in ("bias_ih", "bias_hh"):
            if getattr(self, name).shape != (3 * hidden,):
                raise InputError(f"{name} has shape {getattr(self, name).shape}, expected ({3 * hidden},)")

    @property
    def input_size(self) -> int:
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        return int(self.weight_hh.shape[1])


@dataclass(frozen=True)
class Convention:
    """How one library or paper writes a GRU.

    gate_order: the order in which the gates are stacked.
    z_keeps: True for h' = (1 − z) ⊙ n + z ⊙ h, False for h' = (1 − z) ⊙ h + z ⊙ n.
    reset_after: where the reset gate can act: (True,), (False,) or both.
    biases: "two" (one beside W, one beside U), "candidate" (one beside W, and of U's only b_hn) or "one".
    transposed: weights stored as [input, 3H] and [H, 3H].
    """

    gate_order: Literal["rzn", "zrn"]
    z_keeps: bool
    reset_after: tuple[bool, ...]
    biases: Literal["two", "candidate", "one"]
    transposed: bool
    source: str


CONVENTIONS: dict[str, Convention] = {
    "grus": Convention("rzn", True, (True, False), "two", False, "this library"),
    "torch": Convention("rzn", True, (True,), "two", False, "torch.nn.GRU, cuDNN"),
    "keras": Convention("zrn", True, (True,), "two", True, "keras.layers.GRU(reset_after=True), bias [2, 3H]"),
    "keras_reset_before": Convention("zrn", True, (False,), "one", True, "keras.layers.GRU(reset_after=False)"),
    "flax": Convention("rzn", True, (True,), "candidate", True, "flax.linen.GRUCell: dense kernels ir iz in, hr hz hn"),
    "equinox": Convention("rzn", True, (True,), "candidate", False, "equinox.nn.GRUCell: bias [3H], bias_n [H]"),
    "onnx": Convention("zrn", True, (True, False), "two", False, "ONNX GRU: W[zrh], R[zrh], B = [Wb, Rb]"),
    "cho2014": Convention("rzn", True, (False,), "one", False, "Cho et al. 2014, arXiv:1406.1078, eq. 5 to 8"),
    "chung2014": Convention("rzn", False, (False,), "one", False, "Chung et al. 2014, arXiv:1412.3555, section 3.2"),
}


def _reorder(rows: NDArray[Any], order: str, wanted: str) -> NDArray[Any]:
    parts = dict(zip(order, np.split(rows, 3), strict=True))
    return np.concatenate([parts[gate] for gate in wanted])


def _negate_update(rows: NDArray[Any]) -> NDArray[Any]:
    # σ(−a) = 1 − σ(a): negating what feeds z turns a z that renews into one that keeps
    reset, update, candidate = np.split(rows, 3)
    return np.concatenate([reset, -update, candidate])


def as_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """``values`` as an array; InputError where they are a ragged list."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} is not an array: {error}") from None


def _numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    array = as_array(name, values)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} is {array.dtype}, expected real numbers")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _convention(name: str, reset_after: bool) -> Convention:
    if name not in CONVENTIONS:
        raise InputError(f"convention is {name!r}, expected one of {', '.join(sorted(CONVENTIONS))}")
    convention = CONVENTIONS[name]
    if reset_after not in convention.reset_after:
        position = "after" if reset_after else "before"
        raise InputError(f"the convention {name!r} has no GRU with the reset {position} the product")
    return convention


def from_convention(
    convention: str,
    input_weights: ArrayLike,
    recurrent_weights: ArrayLike,
    input_bias: ArrayLike | None = None,
    recurrent_bias: ArrayLike | None = None,
    *,
    reset_after: bool,
) -> GRUWeights:
    """Weights as a library or paper stores them, turned into Grus' own convention.

    Shapes as stored there: [3H, I] and [3H, H], or [I, 3H] and [H, 3H] where the convention is transposed; biases
    [3H], for ``"candidate"`` conventions ``recurrent_bias`` is b_hn alone, [H]. A bias left out is zero.
    Raises InputError for an unknown convention, a wrong shape, or a reset position the convention does not have.
    """
    rule = _convention(convention, reset_after)
    weight_ih, weight_hh = _numbers("input_weights", input_weights), _numbers("recurrent_weights", recurrent_weights)
    if rule.transposed:
        weight_ih, weight_hh = weight_ih.T, weight_hh.T
    if weight_hh.ndim != 2 or weight_hh.shape[0] != 3 * weight_hh.shape[1]:
        raise InputError(f"recurrent_weights has shape {np.shape(recurrent_weights)}, which is not that of a GRU")
    if weight_ih.ndim != 2 or weight_ih.shape[0] != weight_hh.shape[0]:
        raise InputError(f"input_weights has shape {np.shape(input_weights)}, which does not fit recurrent_weights")
    hidden = weight_hh.shape[1]
    zeros = np.zeros(3 * hidden, weight_hh.dtype)
    bias_ih = zeros if input_bias is None else _numbers("input_bias", input_bias)
    if recurrent_bias is None:
        bias_hh = zeros
    elif rule.biases == "one":
        raise InputError(f"the convention {convention!r} has one bias: recurrent_bias was given, expected None")
    elif rule.biases == "candidate":
        tail = _numbers("recurrent_bias", recurrent_bias)
        bias_hh = np.concatenate([zeros[: 2 * hidden], tail]) if tail.ndim == 1 else tail
    else:
        bias_hh = _numbers("recurrent_bias", recurrent_bias)
    for name, bias in (("input_bias", bias_ih), ("recurrent_bias", bias_hh)):
        if bias.shape != (3 * hidden,):
            raise InputError(f"{name} does not fit hidden_size {hidden}: it makes a bias of shape {bias.shape}")
    arrays = [_reorder(a, rule.gate_order, "rzn") for a in (weight_ih, weight_hh, bias_ih, bias_hh)]
    if not rule.z_keeps:
        arrays = [_negate_update(a) for a in arrays]
    weight_ih, weight_hh, bias_ih, bias_hh = (np.ascontiguousarray(a) for a in arrays)
    return GRUWeights(weight_ih, weight_hh, bias_ih, bias_hh, reset_after)


def to_convention(
    weights: GRUWeights, convention: str
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """The inverse of :func:`from_convention`: (input weights, recurrent weights, input bias, recurrent bias).

    Raises InputError where the convention cannot say the same: a reset position it lacks, or a non-zero b_hn under
    reset-after in a convention with one bias. Two biases that meet in one sum are added, which is exact in the maths.
    """
    rule = _convention(convention, weights.reset_after)
    hidden = weights.hidden_size
    weight_ih, weight_hh, bias_ih, bias_hh = weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh
    recurrent_bias: NDArray[Any] | None = bias_hh
    if rule.biases != "two":
        merged = bias_hh.copy()
        if rule.biases == "candidate" or weights.reset_after:
            merged[2 * hidden :] = 0
        if rule.biases == "one" and np.any(bias_hh != merged):
            raise InputError(f"the convention {convention!r} has one bias and cannot hold b_hn with reset_after")
        bias_ih = bias_ih + merged
        recurrent_bias = bias_hh - merged
    arrays = [weight_ih, weight_hh, bias_ih] + ([] if recurrent_bias is None else [recurrent_bias])
    if not rule.z_keeps:
        arrays = [_negate_update(a) for a in arrays]
    arrays = [_reorder(a, "rzn", rule.gate_order) for a in arrays]
    if rule.transposed:
        arrays[:2] = [arrays[0].T, arrays[1].T]
    arrays = [np.ascontiguousarray(a) for a in arrays]
    tail = {"two": arrays[3], "candidate": arrays[3][2 * hidden :], "one": None}[rule.biases]
    return arrays[0], arrays[1], arrays[2], tail
