// One instruction set's kernels, from the same source as every other's.

#include "activations.inl"
#include "backward.inl"
#include "forward.inl"
#include "gru.h"
#include "simd.h"
#include "tiles.inl"

#define GRUS_TABLE(name) {name, V, ROWS, pack, forward, backward, dense, activation}
