// How a call is shared out: how many workers, and what each of its shards is.
#ifndef GRUS_SHARING_H
#define GRUS_SHARING_H

#include "gru.h"
#include "team.h"

namespace grus {

constexpr int64_t SHARED_FLOPS = 1 << 19;       // a call below this is not worth waking a second worker
constexpr int64_t STEP_FLOPS = 1 << 15;         // nor is a step, where workers must meet after each
constexpr int64_t STEP_BACK_FLOPS = 1 << 16;    // the way back meets twice as often
constexpr int64_t STATIONARY_FLOATS = 1 << 18;  // recurrent weights that a core's L2 keeps between steps

// Rows of the batch while each worker gets enough of them and keeps the weights in its L2, else the units where a step
// has `least` flops.
struct Sharing {
    int workers;
    bool units;
};

Sharing sharing(const gru_sequence &call, const gru_packed &weights, const gru_kernels *table, int threads,
                int64_t least);

double step_flops(const gru_sequence &call, const gru_packed &weights);

// The workers of a call, and the shards it is cut into.
struct Crew {
    Region region;
    bool units;
    int shards;

    Crew(const Sharing &how, const gru_sequence &call, const gru_packed &weights, const gru_kernels *table);
};

}  // namespace grus

#endif
