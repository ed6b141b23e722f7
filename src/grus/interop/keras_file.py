"""The .keras file: a ZIP archive of a model's configuration as JSON and its arrays as HDF5."""

from __future__ import annotations

import io
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from grus import installed
from grus.errors import InputError
from grus.interop.keras_graph import Step, chosen, steps
from grus.interop.keras_layers import layer_of, planned
from grus.interop.layers import Array, Layer

__all__ = ["DAMAGED", "Arrays", "gives_ends", "layers_of_step", "member", "open_h5py", "read_layers", "to_bytes"]

_CONFIG, _ARRAYS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_CONFIG = 1 << 24  # bytes
# what zipfile, json, h5py and a configuration of another shape raise
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError),
    *(ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
)


def read_layers(path: str | os.PathLike[str], names: Sequence[str] | None) -> tuple[list[Layer], bool]:
    """The layers in a file, and whether the last one's directions each give their last state.

    Raises InputError where it is not what Keras writes of GRU layers alone, and none of them are named.
    """
    h5py = open_h5py()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (_CONFIG, _ARRAYS):  # nothing that is read may unpack to more than the file is
                size, most = archive.getinfo(name).file_size, os.path.getsize(path) + _MOST_CONFIG
                if size > (most if name == _ARRAYS else _MOST_CONFIG):
                    raise InputError(f"{name} in it says that it has {size:,} bytes, which is too many")
            config = json.loads(archive.read(_CONFIG))
            taken = chosen(steps(config["class_name"], config["config"]), names)
            with h5py.File(io.BytesIO(archive.read(_ARRAYS)), "r") as file:
                reader = Arrays(h5py, file, archive.getinfo(_ARRAYS).file_size)
                layers = [
                    layer_of(cells, [reader.read(*(f"{cell.group}/{i}" for i in range(cell.arrays))) for cell in cells])
                    for step in taken
                    for cells in planned(step.kind, step.config, step.group)
                ]
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"this is not a .keras file, or is damaged: {error}") from None
    return layers, gives_ends(taken, layers)


def gives_ends(taken: Sequence[Step], layers: Sequence[Layer]) -> bool:
    return bool(layers) and len(layers[-1].directions) == 2 and not taken[-1].sequences


def layers_of_step(step: Step, arrays: Iterable[Any]) -> list[Layer]:
    """The layers of one step by all its arrays, in their order."""
    left = iter(arrays)
    plan = planned(step.kind, step.config, step.group)
    return [layer_of(cells, [list(itertools.islice(left, cell.arrays)) for cell in cells]) for cells in plan]


class Arrays:
    """The datasets of an open file; all that is read has no more numbers than the file has bytes."""

    def __init__(self, h5py: Any, file: Any, size: int) -> None:
        self.h5py, self.file, self.left = h5py, file, size

    def read(self, *names: str) -> list[Any]:
        found = [self._one(name) for name in names]
        self.left -= sum(array.nbytes for array in found)  # several names may stand for the same numbers
        if self.left < 0:
            raise InputError("its layers have more numbers than the file")
        return found

    def _one(self, name: str) -> Any:
        *groups, last = name.split("/")
        dataset = member(self.h5py, self.group("/".join(groups)), last, self.h5py.Dataset)
        if dataset.external or dataset.is_virtual:
            raise InputError(f"{dataset.name} in it has its numbers in another file")
        stored, needed = dataset.id.get_storage_size(), dataset.dtype.itemsize * dataset.size
        if needed > stored:  # Keras does not compress
            raise InputError(f"{dataset.name} in it has {needed:,} bytes, but holds {stored:,}")
        return dataset[()]

    def group(self, name: str) -> Any:
        group = self.file
        for part in name.split("/"):
            group = member(self.h5py, group, part, self.h5py.Group)
        return group


def member(h5py: Any, group: Any, name: str, kind: Any) -> Any:
    """One member that lies in the file itself: links may lead anywhere."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], kind):
        raise InputError(f"{group.name.rstrip('/')}/{name} in it is missing or a link")
    return group[name]


def to_bytes(layers: Sequence[Layer], arrays: Sequence[Array], ends: bool = False) -> bytes:
    """A file of these layers, ``arrays`` being all of theirs in order. Equal layers make equal files, byte for byte.

    With ``ends`` the last one gives its last step alone.
    """
    h5py = open_h5py()
    first = layers[0].block
    shape = {"name": "input", "batch_shape": [None, None, first.input_size], "dtype": "float32"}
    members = [{"module": "keras.layers", "class_name": "InputLayer", "config": shape, "registered_name": None}]
    members += [_configured(layer, f"gru_{i}", not ends or i < len(layers) - 1) for i, layer in enumerate(layers)]
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "grus", "layers": members},
        "registered_name": None,
    }
    weights, left = io.BytesIO(), iter(arrays)
    with h5py.File(weights, "w") as file:
        for step in steps("Sequential", config["config"])[0]:
            for cell in next(planned(step.kind, step.config, step.group)):
                for index in range(cell.arrays):
                    file.create_dataset(f"{cell.group}/{index}", data=next(left))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        contents = ((_METADATA, b'{"keras_version":"3"}'), (_CONFIG, json.dumps(config).encode()))
        for name, content in (*contents, (_ARRAYS, weights.getvalue())):
            archive.writestr(zipfile.ZipInfo(name), content)  # which has no time of its own
    return data.getvalue()


def _configured(layer: Layer, name: str, sequences: bool) -> dict[str, Any]:
    block = layer.block

    def gru(name: str, go_backwards: bool) -> dict[str, Any]:
        options = {
            "name": name,
            "dtype": "float32",
            "units": block.hidden_size,
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "use_bias": block.bias,
            "reset_after": block.reset_after,
            "return_sequences": sequences,
            "go_backwards": go_backwards,
        }
        return {"module": "keras.layers", "class_name": "GRU", "config": options, "registered_name": None}

    if not block.bidirectional:
        return gru(name, False)
    halves = {"layer": gru("forward_" + name, False), "backward_layer": gru("backward_" + name, True)}
    options = {"name": name, "dtype": "float32", "merge_mode": "concat", **halves}
    return {"module": "keras.layers", "class_name": "Bidirectional", "config": options, "registered_name": None}


def open_h5py() -> Any:
    """The package, or InputError with the command that installs it."""
    try:
        import h5py  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError(f"a .keras file needs the package h5py: {installed.command('keras')}") from None
    return h5py
