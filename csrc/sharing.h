// How a call is shared out: how many workers, and what each of its shards is.
#ifndef GRUS_SHARING_H
#define GRUS_SHARING_H

#include "layer.h"
#include "team.h"

namespace grus {

constexpr int64_t SHARED_FLOPS = 1 << 19;     // a call below this is not worth waking a second worker
constexpr int64_t STEP_FLOPS = 1 << 15;       // nor is a step, where workers must meet after each
constexpr int64_t STEP_BACK_FLOPS = 1 << 16;  // the way back meets twice as often

// Rows of the batch, where they may be, while each worker gets enough of them and keeps the weights in its L2; else the
// units where a step has `least` flops.
struct Sharing {
    int workers;
    bool units;
};

Sharing sharing(const Layer &layer, const gru_sequence &call, int threads, int64_t least, bool by_rows = true);

double step_flops(const Layer &layer, const gru_sequence &call);
bool stationary(const Layer &layer);  // whether a core's L2 keeps the recurrent weights between steps

// The workers of a call, and the shards it is cut into.
struct Crew {
    Region region;
    bool units;
    int shards;

    Crew(const Sharing &how, const Layer &layer, const gru_sequence &call);
};

}  // namespace grus

#endif
