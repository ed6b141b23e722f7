#include "sharing.h"

#include <algorithm>

#include "pack.h"

namespace grus {
namespace {

constexpr int64_t STATIONARY_FLOATS = 1 << 18;

// Rows go out in twice as many shards as there are workers while the shards stay full tiles and the weights in L2: the
// work of a core that another process has is then taken over.
int row_shards(const Layer &layer, int64_t B, int workers) {
    bool split = workers > 1 && B >= 2 * workers * layer.table()->tile && stationary(layer);
    return std::min(split ? 2 * workers : workers, MAX_SHARDS);
}

// What a call must take that waking a second worker pays. A short call of a training comes behind other code, and finds
// the workers asleep and their caches full of other things.
double least_flops(const Layer &layer, const gru_sequence &call) {
    const gru_packed &w = layer.weights();
    if (!w.given || 3 * w.H * (w.I + w.H) > STATIONARY_FLOATS) return SHARED_FLOPS;
    return call.saved ? 8 * SHARED_FLOPS : 2 * SHARED_FLOPS;
}

}  // namespace

double step_flops(const Layer &layer, const gru_sequence &call) {
    int64_t I = layer.input_size(), H = layer.hidden_size();
    return 6.0 * static_cast<double>(call.B * H * (I + H));
}

bool stationary(const Layer &layer) { return 3 * layer.hidden_size() * layer.hidden_size() <= STATIONARY_FLOATS; }

Sharing sharing(const Layer &layer, const gru_sequence &call, int threads, int64_t least, bool by_rows) {
    double flops = step_flops(layer, call);
    if (threads <= 1 || flops * static_cast<double>(call.T) < least_flops(layer, call)) return {1, false};
    int64_t B = call.B, tile = layer.table()->tile, some = threads * std::max<int64_t>(1, tile / 2);
    if (by_rows && B >= some && (stationary(layer) || B >= threads * tile * 4)) return {threads, false};
    int workers = static_cast<int>(std::min<int64_t>(threads, tiles(layer.hidden_size(), layer.table()->width)));
    if (flops >= static_cast<double>(least) && workers > 1) return {workers, true};
    return {static_cast<int>(std::min<int64_t>(threads, B)), false};
}

Crew::Crew(const Sharing &how, const Layer &layer, const gru_sequence &call) : region(how.workers) {
    units = how.units && region.count() > 1;
    shards = units ? region.count() : row_shards(layer, call.B, region.count());
}

}  // namespace grus
