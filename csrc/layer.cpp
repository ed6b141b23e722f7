#include "layer.h"

#include <algorithm>
#include <cstring>

#include "layout.h"
#include "pack.h"

namespace grus {
namespace {

template <class F>
void each_array(const gru_weights &w, F f) {
    f(w.weight_ih, w.gain_hh ? 0 : 3 * w.H * w.I);
    f(w.weight_hh, 3 * w.H * w.H);
    f(w.bias_ih, 3 * w.H);
    f(w.bias_hh, 3 * w.H);
    f(w.gain_hh, w.gain_hh ? 3 * w.H : 0);
}

}  // namespace

Layer::Layer(const gru_weights &given, const gru_kernels *table, bool training, bool keep) : compiled(table) {
    int64_t I = given.I, H = given.H, V = table->width, panels = tiles(H, V), HP = panels * V;
    packed.I = I, packed.H = H, packed.HP = HP, packed.reset_after = given.reset_after;
    bool after = given.reset_after, projected = given.gain_hh;
    auto forward = [&](auto each) {
        if (!projected) each(packed.W, 3 * HP * I);
        each(packed.U, (after ? 3 : 2) * HP * H);
        if (!after) each(packed.U_n, HP * H);
        each(packed.bias, 4 * HP);
        each(zeros, HP);
        if (given.gain_hh) each(packed.gain, 3 * HP);
    };
    auto backward = [&](auto each) {
        if (!projected) each(packed.Wt, tiles(I, V) * V * 3 * HP);
        each(packed.Ut, (after ? 3 : 2) * HP * HP);
        if (!after) each(packed.Ut_n, HP * HP);
    };
    place(forward, (memory = allocate(floats_of(forward))).get());
    if (training) place(backward, (back = allocate(floats_of(backward))).get());
    std::fill_n(zeros, HP, 0.0f);
    if (given.gain_hh) table->pack(packed.gain, given.gain_hh, H, 1, 3, H, 1, 1);
    pack_panels(table, packed, given);
    for (int64_t j = 0; j < panels; j++)
        for (int64_t lane = 0; lane < V; lane++) {
            int64_t unit = j * V + lane;
            float *to = packed.bias + j * 4 * V + lane;
            auto at = [&](const float *bias, int gate) { return bias && unit < H ? bias[gate * H + unit] : 0.0f; };
            to[0] = at(given.bias_ih, 0) + at(given.bias_hh, 0);
            to[V] = at(given.bias_ih, 1) + at(given.bias_hh, 1);
            to[2 * V] = at(given.bias_ih, 2) + (given.reset_after ? 0.0f : at(given.bias_hh, 2));
            to[3 * V] = at(given.bias_hh, 2);
        }
    if (keep) {
        kept = allocate(3 * H * (I + H + 3));
        float *to = kept.get();
        each_array(given, [&](const float *from, int64_t floats) {
            if (from)
                std::memcpy(to, from, sizeof(float) * static_cast<size_t>(floats));
            else
                std::fill(to, to + floats, 0.0f);
            to += floats;
        });
    }
}

bool Layer::holds(const gru_weights &given) const {
    if (!kept || given.I != packed.I || given.H != packed.H || given.reset_after != packed.reset_after) return false;
    if ((given.gain_hh != nullptr) != normalises(packed)) return false;
    const float *mine = kept.get();
    bool same = true;
    each_array(given, [&](const float *theirs, int64_t floats) {
        if (theirs)
            same = same && std::memcmp(mine, theirs, sizeof(float) * static_cast<size_t>(floats)) == 0;
        else
            same = same && std::all_of(mine, mine + floats, [](float value) { return value == 0.0f; });
        mine += floats;
    });
    return same;
}

Gates Layer::gates(int64_t T, int64_t B, int64_t steps) const {
    return {T - steps, steps, B, packed.HP, packed.H, allocate(steps * B * 4 * packed.HP)};
}

}  // namespace grus
