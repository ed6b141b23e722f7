// One instruction set's kernels, from the same source as every other's. The order of the includes matters.

#include "gru.h"
#include "layout.h"
#include "simd.h"

#include "activations.inl"
#include "shards.inl"
#include "panels.inl"
#include "given.inl"
#include "cell.inl"
#include "states.inl"
#include "dense.inl"
#include "normalise/moments.inl"
#include "normalise/rows.inl"
#include "forward/step.inl"
#include "forward/reset_after.inl"
#include "forward/reset_before.inl"
#include "forward/normalised.inl"
#include "forward/walk.inl"
#include "backward/chunk.inl"
#include "backward/carry.inl"
#include "backward/reset_after.inl"
#include "backward/reset_before.inl"
#include "backward/normalised.inl"
#include "backward/weights.inl"
#include "backward/walk.inl"

#define GRUS_TABLE(name) \
    {name,               \
     V,                  \
     ROWS,               \
     float32::pack,      \
     forward<float32>,   \
     backward<float32>,  \
     forward<as_given>,  \
     backward<as_given>, \
     dense,              \
     normalise,          \
     normalise_back,     \
     activation}
