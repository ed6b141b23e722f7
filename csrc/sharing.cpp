#include "sharing.h"

#include <algorithm>

#include "pack.h"

namespace grus {
namespace {

bool stationary(const gru_packed &weights) { return 3 * weights.H * weights.H <= STATIONARY_FLOATS; }

// Rows go out in twice as many shards as there are workers while the shards stay full tiles and the weights in L2: the
// work of a core that another process has is then taken over.
int row_shards(int64_t B, const gru_packed &weights, const gru_kernels *table, int workers) {
    bool split = workers > 1 && B >= 2 * workers * table->tile && stationary(weights);
    return std::min(split ? 2 * workers : workers, MAX_SHARDS);
}

}  // namespace

double step_flops(const gru_sequence &call, const gru_packed &weights) {
    return 6.0 * static_cast<double>(call.B * weights.H * (weights.I + weights.H));
}

Sharing sharing(const gru_sequence &call, const gru_packed &weights, const gru_kernels *table, int threads,
                int64_t least) {
    int64_t B = call.B, tile = table->tile, some = threads * std::max<int64_t>(1, tile / 2);
    double flops = step_flops(call, weights);
    if (threads <= 1 || flops * static_cast<double>(call.T) < SHARED_FLOPS) return {1, false};
    if (B >= some && (stationary(weights) || B >= threads * tile * 4)) return {threads, false};
    int workers = static_cast<int>(std::min<int64_t>(threads, tiles(weights.H, table->width)));
    if (flops >= static_cast<double>(least) && workers > 1) return {workers, true};
    return {static_cast<int>(std::min<int64_t>(threads, B)), false};
}

Crew::Crew(const Sharing &how, const gru_sequence &call, const gru_packed &weights, const gru_kernels *table)
    : region(how.workers) {
    units = how.units && region.count() > 1;
    shards = units ? region.count() : row_shards(call.B, weights, table, region.count());
}

}  // namespace grus
