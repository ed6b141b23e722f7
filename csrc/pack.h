// The weights in the order in which the tiles read them.
#ifndef GRUS_PACK_H
#define GRUS_PACK_H

#include "gru.h"

namespace grus {

inline int64_t tiles(int64_t n, int64_t V) { return (n + V - 1) / V; }

// All panels of the weights (gru_packed) but the biases, by as many workers as there is work for.
void pack_panels(const gru_kernels *table, const gru_packed &to, const gru_weights &from);

}  // namespace grus

#endif
