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

// Sizes, and what is packed whatever the format: biases, gain, zeros.
void Layer::place_biases(const gru_weights &given) {
    int64_t I = given.I, H = given.H, V = compiled->width, HP = tiles(H, V) * V;
    bool after = given.reset_after, projected = given.gain_hh;
    packed.I = I, packed.H = H, packed.HP = HP, packed.reset_after = after;
    auto forward = [&](auto each) {
        if (!packed.given && !projected) each(packed.W, 3 * HP * I);
        if (!packed.given) each(packed.U, (after ? 3 : 2) * HP * H);
        if (!packed.given && !after) each(packed.U_n, HP * H);
        each(packed.bias, 4 * HP);
        each(zeros, HP);
        if (projected) each(packed.gain, 3 * HP);
    };
    place(forward, (memory = allocate(floats_of(forward))).get());
    std::fill_n(zeros, HP, 0.0f);
    std::fill_n(packed.bias, 4 * HP, 0.0f);
    if (projected) compiled->pack(packed.gain, given.gain_hh, H, 1, 3, H, 1, 1);
    // of gate `from` to place `to`
    auto add = [&](const float *bias, int from, int to) {
        for (int64_t unit = 0; bias && unit < H; unit += V)
            for (int64_t lane = 0; lane < std::min(V, H - unit); lane++)
                packed.bias[unit * 4 + to * V + lane] += bias[from * H + unit + lane];
    };
    for (int gate = 0; gate < 3; gate++) add(given.bias_ih, gate, gate);
    for (int gate = 0; gate < 3; gate++)
        if (gate < 2 || !after) add(given.bias_hh, gate, gate);
    add(given.bias_hh, 2, 3);
}

Layer::Layer(const gru_weights &given, const gru_kernels *table, bool training, bool keep) : compiled(table) {
    place_biases(given);
    int64_t I = packed.I, H = packed.H, HP = packed.HP, V = table->width;
    auto backward = [&](auto each) {
        if (!given.gain_hh) each(packed.Wt, tiles(I, V) * V * 3 * HP);
        each(packed.Ut, (packed.reset_after ? 3 : 2) * HP * HP);
        if (!packed.reset_after) each(packed.Ut_n, HP * HP);
    };
    if (training) place(backward, (back = allocate(floats_of(backward))).get());
    pack_panels(table, packed, given);
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

Layer Layer::as_given(const gru_weights &given, const gru_kernels *table) {
    Layer layer(table);
    layer.packed.given = true;
    layer.place_biases(given);
    gru_packed &to = layer.packed;  // which only reads them
    to.W = to.Wt = const_cast<float *>(given.weight_ih);
    to.U = to.Ut = const_cast<float *>(given.weight_hh);
    to.U_n = to.Ut_n = to.U + 2 * to.H * to.H;
    return layer;
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
