// One instruction set's kernels, from the same source as every other's. The order of the includes matters.

#include "gru.h"
#include "simd.h"

#include "activations.inl"
#include "tiles.inl"
#include "forward.inl"
#include "backward.inl"

#define GRUS_TABLE(name) {name, V, ROWS, pack, forward, backward, dense, activation}
