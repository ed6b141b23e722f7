// One instruction set's kernels, from the same source as every other's. The order of the includes matters.

#include "gru.h"
#include "layout.h"
#include "simd.h"

#include "activations.inl"
#include "tiles.inl"
#include "step.inl"
#include "norm.inl"
#include "forward.inl"
#include "step_back.inl"
#include "norm_back.inl"
#include "weight_gradients.inl"
#include "backward.inl"
#include "norm_rows.inl"

#define GRUS_TABLE(name) {name, V, ROWS, pack, forward, backward, dense, normalise, normalise_back, activation}
