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
    int64_t by_input = given.gain_hh ? 0 : 3 * HP * I, by_input_back = given.gain_hh ? 0 : tiles(I, V) * V * 3 * HP;
    memory = allocate(by_input + HP * (3 * H + 5 + (given.gain_hh ? 3 : 0)));
    packed.W = given.gain_hh ? nullptr : memory.get();
    packed.U = memory.get() + by_input;
    packed.U_n = packed.U + 2 * HP * H;
    packed.bias = packed.U + 3 * HP * H;
    float *first_state = packed.bias + 4 * HP;
    std::fill(first_state, first_state + HP, 0.0f);
    zeros = first_state;
    if (training) {
        back = allocate(by_input_back + HP * 3 * HP);
        packed.Wt = given.gain_hh ? nullptr : back.get();
        packed.Ut = back.get() + by_input_back;
        packed.Ut_n = packed.Ut + HP * 2 * HP;
    }
    if (given.gain_hh) {
        packed.gain = first_state + HP;
        table->pack(packed.gain, given.gain_hh, H, 1, 3, H, 1, 1);
    }
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
    if ((given.gain_hh != nullptr) != (packed.gain != nullptr)) return false;
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
