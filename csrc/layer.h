// A layer's packed weights and the calls on it: how many workers, how they share the work, and the scratch they need.
#ifndef GRUS_LAYER_H
#define GRUS_LAYER_H

#include <memory>

#include "gru.h"

namespace grus {

// The table by name, or the best where name is null or empty. Throws std::invalid_argument where this CPU can't run it.
const gru_kernels *kernels(const char *name);

// Memory aligned to 64 bytes. What is given back is kept for the next of its size, some of it: a training step packs
// the same weights again, and fresh pages cost more than the packing.
struct give_back {
    int64_t floats;
    void operator()(float *p) const;
};
using Buffer = std::unique_ptr<float[], give_back>;
Buffer allocate(int64_t floats);

class Layer {
    const gru_kernels *table;
    gru_packed packed{};
    Buffer memory, back, kept;
    const float *zeros;  // [HP]: the first state where none is given

    void pack_backward(const gru_weights &weights);

  public:
    // Copies the weights into panels for the forward pass, and for the backward pass too where `training`. With `keep`
    // they are kept as given too, for `holds`.
    Layer(const gru_weights &weights, const gru_kernels *table, bool training, bool keep = false);

    // Whether these are, bit for bit, the weights that were kept.
    bool holds(const gru_weights &weights) const;

    int64_t input_size() const { return packed.I; }
    int64_t hidden_size() const { return packed.H; }
    bool training() const { return back != nullptr; }
    const char *isa() const { return table->name; }

    // The caller fills all but shard_units and what follows it; h0 may be null for zeros. T and B are at least 1.
    void forward(gru_forward task, int threads) const;
    void backward(gru_backward task, int threads) const;
};

class Dense {
    const gru_kernels *table;
    Buffer memory;
    int64_t K, O;

  public:
    Dense(const float *weight, const float *bias, int64_t O, int64_t K, const gru_kernels *table);
    int64_t input_size() const { return K; }
    int64_t output_size() const { return O; }
    void operator()(const float *x, int64_t x_r, float *y, int64_t y_r, int64_t rows, int threads) const;
};

void activation(float *dst, const float *src, int64_t n, int function, const gru_kernels *table);

}  // namespace grus

#endif
