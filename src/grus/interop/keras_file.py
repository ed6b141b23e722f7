"""The .keras file: a ZIP archive of a model's configuration as JSON and its arrays as HDF5."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from grus.errors import InputError
from grus.interop.keras_layers import Cell, layer_of, planned
from grus.interop.layers import Array, Layer

__all__ = ["read_layers", "to_bytes"]

_CONFIG, _ARRAYS, _METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_CONFIG = 1 << 24  # bytes
# what zipfile, json, h5py and a configuration of another shape raise
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError),
    *(ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RuntimeError),
)


def read_layers(path: str | os.PathLike[str]) -> Iterator[Layer]:
    """The layers in a file. Raises InputError where it is not what Keras writes of GRU layers alone."""
    h5py = _h5py()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (_CONFIG, _ARRAYS):  # nothing that is read may unpack to more than the file is
                size, most = archive.getinfo(name).file_size, os.path.getsize(path) + _MOST_CONFIG
                if size > (most if name == _ARRAYS else _MOST_CONFIG):
                    raise InputError(f"{name} in it says that it has {size:,} bytes, which is too many")
            config = json.loads(archive.read(_CONFIG))
            with h5py.File(io.BytesIO(archive.read(_ARRAYS)), "r") as file:
                left = archive.getinfo(_ARRAYS).file_size  # several names may stand for the same numbers
                for cells in planned(config["class_name"], config["config"]):
                    arrays = [_arrays(h5py, file, cell) for cell in cells]
                    left -= sum(array.nbytes for each in arrays for array in each)
                    if left < 0:
                        raise InputError("its layers have more numbers than the file")
                    yield layer_of(cells, arrays)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"this is not a .keras file, or is damaged: {error}") from None


def _arrays(h5py: Any, file: Any, cell: Cell) -> list[Any]:
    group = file
    for part in cell.group.split("/"):
        group = _member(h5py, group, part, h5py.Group)
    arrays = []
    for index in range(cell.arrays):
        dataset = _member(h5py, group, str(index), h5py.Dataset)
        if dataset.external or dataset.is_virtual:
            raise InputError(f"{dataset.name} in it has its numbers in another file")
        stored, needed = dataset.id.get_storage_size(), dataset.dtype.itemsize * dataset.size
        if needed > stored:  # Keras does not compress
            raise InputError(f"{dataset.name} in it has {needed:,} bytes, but holds {stored:,}")
        arrays.append(dataset[()])
    return arrays


def _member(h5py: Any, group: Any, name: str, kind: Any) -> Any:
    """One member that lies in the file itself: links may lead anywhere."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink) or not isinstance(group[name], kind):
        raise InputError(f"{group.name.rstrip('/')}/{name} in it is missing or a link")
    return group[name]


def to_bytes(layers: Sequence[Layer], arrays: Sequence[Array]) -> bytes:
    """A file of these layers, ``arrays`` being all of theirs in order. Equal layers make equal files, byte for byte."""
    h5py = _h5py()
    first = layers[0].block
    shape = {"name": "input", "batch_shape": [None, None, first.input_size], "dtype": "float32"}
    members = [{"module": "keras.layers", "class_name": "InputLayer", "config": shape, "registered_name": None}]
    members += [_configured(layer, f"gru_{i}") for i, layer in enumerate(layers)]
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "grus", "layers": members},
        "registered_name": None,
    }
    weights, left = io.BytesIO(), iter(arrays)
    with h5py.File(weights, "w") as file:
        for cells in planned("Sequential", config["config"]):  # type: ignore[arg-type]
            for cell in cells:
                for index in range(cell.arrays):
                    file.create_dataset(f"{cell.group}/{index}", data=next(left))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        contents = ((_METADATA, b'{"keras_version":"3"}'), (_CONFIG, json.dumps(config).encode()))
        for name, content in (*contents, (_ARRAYS, weights.getvalue())):
            archive.writestr(zipfile.ZipInfo(name), content)  # which has no time of its own
    return data.getvalue()


def _configured(layer: Layer, name: str) -> dict[str, Any]:
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
            "return_sequences": True,
            "go_backwards": go_backwards,
        }
        return {"module": "keras.layers", "class_name": "GRU", "config": options, "registered_name": None}

    if not block.bidirectional:
        return gru(name, False)
    halves = {"layer": gru("forward_" + name, False), "backward_layer": gru("backward_" + name, True)}
    options = {"name": name, "dtype": "float32", "merge_mode": "concat", **halves}
    return {"module": "keras.layers", "class_name": "Bidirectional", "config": options, "registered_name": None}


def _h5py() -> Any:
    try:
        import h5py  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise InputError("a .keras file needs the package h5py: pip install 'grus[keras]'") from None
    return h5py
