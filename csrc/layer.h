// A layer's weights, packed; passes.h has the calls on it.
#ifndef GRUS_LAYER_H
#define GRUS_LAYER_H

#include "gru.h"
#include "memory.h"

namespace grus {

// The table by name, or the best where name is null or empty. Throws std::invalid_argument where this CPU can't run it.
const gru_kernels *kernels(const char *name);

// What a forward pass leaves for the backward pass: r, z, n and u_n of the steps from `from` on (gru_sequence::saved).
struct Gates {
    int64_t from, steps, B, HP, H;
    Buffer memory;
};

class Layer {
    const gru_kernels *compiled;
    gru_packed packed{};
    Buffer memory, back, kept;
    float *zeros;

    explicit Layer(const gru_kernels *table) : compiled(table) {}
    void place_biases(const gru_weights &weights);

  public:
    // Copies the weights into panels for the forward pass, and for the backward pass too where `training`. With `keep`
    // they are kept as given too, for `holds`.
    Layer(const gru_weights &weights, const gru_kernels *table, bool training, bool keep = false);

    // Of W and U where they are, [3H, I] and [3H, H] contiguous: they must stay as long as the layer. For both passes.
    static Layer as_given(const gru_weights &weights, const gru_kernels *table);

    // Whether these are, bit for bit, the weights that were kept.
    bool holds(const gru_weights &weights) const;

    int64_t input_size() const { return packed.I; }
    int64_t hidden_size() const { return packed.H; }
    int64_t padded_size() const { return packed.HP; }
    bool training() const { return packed.given || back != nullptr; }
    const char *isa() const { return compiled->name; }
    const gru_kernels *table() const { return compiled; }
    const gru_packed &weights() const { return packed; }
    const float *first_state() const { return zeros; }  // [HP], where none is given

    // Room for the gates of the last `steps` of T steps.
    Gates gates(int64_t T, int64_t B, int64_t steps) const;
};

}  // namespace grus

#endif
