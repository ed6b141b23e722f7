"""Models to and from other libraries, one module for each: :mod:`torch`, :mod:`keras`, :mod:`flax`, :mod:`onnx`.

Every module has the same verbs. ``load`` makes a Model of what the library keeps its weights in, ``save`` makes that of
a Model; ``load_file`` and ``save_file`` do so with a file, where the library has one without pickle. None of the
libraries has to be installed. Weights pass as they are, in float32; what cannot be said on the other side is refused
with the reason.

A Model made here is a chain of GRU blocks: each layer's output sequence is the next one's input. What comes before and
after (embeddings, dense layers, how long the sequences are, whether the batch is first) stays with the caller.

May import: the model, the spec and ``weights``; of the libraries ``onnx`` and ``h5py`` alone, where a file is read.
Begin with ``torch``, the plainest of them.
"""

from __future__ import annotations

from grus.interop import flax, keras, onnx, torch

__all__ = ["flax", "keras", "onnx", "torch"]
