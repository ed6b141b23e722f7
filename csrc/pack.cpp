#include "pack.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "team.h"

namespace grus {
namespace {

constexpr int64_t SHARED_WEIGHTS = 1 << 16;  // fewer are not worth waking a second worker

// One panel of the packed weights, as gru_kernels::pack takes it; `padded` floats behind it become zeros.
struct Panel {
    float *to;
    const float *from;
    int64_t rows, K;
    int gates;
    int64_t from_gate, from_row, from_k, padded;
};

struct PackCall {
    const gru_kernels *table;
    const Panel *panels;
    int64_t count;
};

}  // namespace

void pack_panels(const gru_kernels *table, const gru_packed &to, const gru_weights &from) {
    int64_t I = to.I, H = to.H, HP = to.HP, V = table->width;
    const float *W = from.weight_ih, *U = from.weight_hh;
    std::vector<Panel> panels;
    auto forward = [&](float *at, const float *weight, int64_t K, int gates) {
        for (int64_t j = 0; j < HP / V; j++)
            panels.push_back(
                {at + j * K * gates * V, weight + j * V * K, std::min(V, H - j * V), K, gates, H * K, K, 1, 0});
    };
    // of the transpose, [tile][gate][HP][V]: the k of a gate are its units, padded ones stay zero
    auto back = [&](float *at, const float *weight, int64_t columns, std::initializer_list<int> order) {
        for (int64_t j = 0; j < tiles(columns, V); j++)
            for (int gate : order) {
                const float *source = weight + gate * H * columns + j * V;
                panels.push_back({at, source, std::min(V, columns - j * V), H, 1, 0, 1, columns, (HP - H) * V});
                at += HP * V;
            }
    };
    if (W) forward(to.W, W, I, 3);
    forward(to.U, U, H, to.reset_after ? 3 : 2);
    if (!to.reset_after) forward(to.U_n, U + 2 * H * H, H, 1);
    if (to.Ut) {
        if (W) back(to.Wt, W, I, {2, 0, 1});
        if (to.reset_after) {
            back(to.Ut, U, H, {0, 1, 2});
        } else {
            back(to.Ut, U, H, {0, 1});
            back(to.Ut_n, U, H, {2});
        }
    }
    auto work = [](const PackCall &call, gru_worker *me) {
        each_shard(me, [&](int shard) {
            int64_t begin = call.count * shard / me->shards, end = call.count * (shard + 1) / me->shards;
            for (const Panel *p = call.panels + begin; p < call.panels + end; p++) {
                call.table->pack(p->to, p->from, p->rows, p->K, p->gates, p->from_gate, p->from_row, p->from_k);
                float *rest = p->to + p->K * p->gates * call.table->width;
                std::fill(rest, rest + p->padded, 0.0f);
            }
        });
    };
    Region region(3 * H * (I + H) < SHARED_WEIGHTS ? 1 : threads());
    int shards = region.count() == 1 ? 1 : std::min(4 * region.count(), MAX_SHARDS);
    region.run<PackCall>(work, {table, panels.data(), static_cast<int64_t>(panels.size())}, shards);
}

}  // namespace grus
