"""The compiled kernels of Grus (csrc/bind.cpp), behind grus.runtime.kernels. Arrays are not converted, only checked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grus.runtime.calls import BackwardCall, ForwardCall

_Array = NDArray[np.float32]

def isas() -> list[str]: ...
def default_isa() -> str: ...
def threads() -> int: ...
def set_threads(count: int) -> None: ...
def quota(root: str) -> int: ...
def allow(threads: Callable[[], int]) -> None: ...
def fields() -> dict[str, list[str]]: ...
def know_tensors(
    tensor: object, parameter: object, float32: object, strided: object, empty: object, device: object
) -> None: ...
def forward_given(
    x: object,
    h0: object | None,
    weights: Sequence[object],
    I: int,
    H: int,
    bias: bool,
    reset_after: bool,
    batch_first: bool,
    cell: bool,
    most: int,
    graph: bool,
) -> tuple[Any, Any, Gates | None] | None: ...
def backward_given(
    gates: Gates,
    x: object,
    h0: object | None,
    y: object | None,
    weights: Sequence[object],
    dy: object | None,
    dh_n: object | None,
    I: int,
    H: int,
    reset_after: bool,
    batch_first: bool,
    cell: bool,
    asked: Sequence[bool],
) -> tuple[Any, ...] | None: ...

class Allowed:
    def __enter__(self) -> Allowed: ...
    def __exit__(self, *_: object) -> None: ...

class Gates:
    @property
    def first_step(self) -> int: ...
    def array(self) -> _Array: ...

class Layer:
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def training(self) -> bool: ...
    def gates(self, T: int, B: int, steps: int) -> Gates: ...
    def forward(
        self, x: _Array, h0: _Array | None, y: _Array, reverse: bool, threads: int, gates: Gates | None
    ) -> None: ...
    def forward_at(self, call: ForwardCall, limited: bool) -> None: ...
    def backward_at(self, call: BackwardCall) -> None: ...
    def holds_at(
        self, weight_ih: int, weight_hh: int, bias_ih: int, bias_hh: int, gain_hh: int, reset_after: bool
    ) -> bool: ...
    def step(self, x: _Array, h: _Array, y: _Array) -> None: ...
    def backward(
        self,
        x: _Array,
        h0: _Array | None,
        y: _Array,
        dy: _Array | None,
        dh_n: _Array | None,
        dx: _Array | None,
        dh0: _Array,
        dW: _Array | None,
        dU: _Array | None,
        db_i: _Array | None,
        db_h: _Array | None,
        reverse: bool,
        threads: int,
        gates: Gates | None,
    ) -> None: ...

def forward_both_at(first: Layer, call: ForwardCall, second: Layer, other: ForwardCall) -> None: ...
def backward_both_at(first: Layer, call: BackwardCall, second: Layer, other: BackwardCall) -> None: ...
def make_layer_at(
    I: int,
    H: int,
    weight_ih: int,
    weight_hh: int,
    bias_ih: int,
    bias_hh: int,
    gain_hh: int,
    reset_after: bool,
    isa: str,
    training: bool,
    keep: bool,
) -> Layer: ...
def make_layer_as_given(
    I: int,
    H: int,
    weight_ih: int,
    weight_hh: int,
    bias_ih: int,
    bias_hh: int,
    gain_hh: int,
    reset_after: bool,
) -> Layer: ...
def make_layer(
    weight_ih: _Array,
    weight_hh: _Array,
    bias_ih: _Array | None,
    bias_hh: _Array | None,
    reset_after: bool,
    isa: str,
    training: bool,
    keep: bool,
) -> Layer: ...

class Dense:
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    def __call__(self, x: _Array, y: _Array, threads: int) -> None: ...

def make_dense(weight: _Array, bias: _Array | None, isa: str) -> Dense: ...
def normalise(x: _Array, gain: _Array, bias: _Array | None, y: _Array, isa: str, threads: int) -> None: ...
def normalise_back(
    x: _Array, gain: _Array, dy: _Array, dx: _Array, dgain_dbias: _Array, isa: str, threads: int
) -> None: ...
def activation(x: _Array, y: _Array, function: str, isa: str) -> None: ...
