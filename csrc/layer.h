// A layer's packed weights and the calls on it: how many workers, how they share the work, and the scratch they need.
#ifndef GRUS_LAYER_H
#define GRUS_LAYER_H

#include "gru.h"
#include "memory.h"

namespace grus {

// The table by name, or the best where name is null or empty. Throws std::invalid_argument where this CPU can't run it.
const gru_kernels *kernels(const char *name);

// What a forward pass leaves for the backward pass: r, z, n and u_n of the steps from `from` on (gru.h).
struct Gates {
    int64_t from, steps, B, HP, H;
    Buffer memory;
};

class Layer;

template <class Task>
struct Half {  // one of two calls
    const Layer *layer;
    Task task;
    const Gates *gates;
    float *h_n;  // as Layer::forward has it
};

// Two directions, at once where a core each is better than one after the other.
void both(const Half<gru_forward> &first, const Half<gru_forward> &second, int threads);
void both(const Half<gru_backward> &first, const Half<gru_backward> &second, int threads);

class Layer {
    const gru_kernels *table;
    gru_packed packed{};
    Buffer memory, back, kept;
    const float *zeros;  // [HP]: the first state where none is given

    // What a call shared out like that needs; the floats of its scratch, and where they are.
    int64_t plan(gru_forward &task, bool units, int shards, const Gates *gates) const;
    int64_t plan(gru_backward &task, bool units, int shards, const Gates *gates) const;
    void place(gru_forward &task, int shards, float *scratch) const;
    void place(gru_backward &task, int shards, float *scratch) const;
    template <class Task>
    void run(Task task, int threads, const Gates *gates) const;
    template <class Task>
    static void at_once(const Half<Task> &first, const Half<Task> &second);
    bool better_alone(int64_t T, int64_t B, int threads) const;
    void finish(const gru_forward &task, float *h_n) const;

    friend void both(const Half<gru_forward> &, const Half<gru_forward> &, int);
    friend void both(const Half<gru_backward> &, const Half<gru_backward> &, int);

  public:
    // Copies the weights into panels for the forward pass, and for the backward pass too where `training`. With `keep`
    // they are kept as given too, for `holds`.
    Layer(const gru_weights &weights, const gru_kernels *table, bool training, bool keep = false);

    // Whether these are, bit for bit, the weights that were kept.
    bool holds(const gru_weights &weights) const;

    int64_t input_size() const { return packed.I; }
    int64_t hidden_size() const { return packed.H; }
    int64_t padded_size() const { return packed.HP; }
    bool training() const { return back != nullptr; }
    const char *isa() const { return table->name; }

    // Room for the gates of the last `steps` of T steps.
    Gates gates(int64_t T, int64_t B, int64_t steps) const;

    // The caller fills what comes before shard_units; h0 may be null for zeros. T and B are at least 1. `gates` is room
    // for them in the forward pass, or null; and what it then held in the backward pass, or null.
    // With h_n [B, H] it takes the last states, and y zeros where steps are skipped.
    void forward(gru_forward task, int threads, const Gates *gates = nullptr, float *h_n = nullptr) const;
    void backward(gru_backward task, int threads, const Gates *gates = nullptr) const;
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

// The caller fills all but `sums`; y is null for the way back.
void normalise(gru_normalise task, const gru_kernels *table, int threads);

void activation(float *dst, const float *src, int64_t n, int function, const gru_kernels *table);

}  // namespace grus

#endif
