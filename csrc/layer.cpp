#include "layer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "team.h"

namespace grus {
namespace {

constexpr int64_t PROJECTED_FLOATS = 1 << 16;   // a worker's chunk of projected steps: 256 KB, a part of its L2
constexpr int64_t BACKWARD_FLOATS = 1 << 19;    // a chunk of the backward pass: 2 MB, what the cores' L2 hold together
constexpr int64_t BACKWARD_ROWS = 64;           // but no fewer rows: the weight gradients want long sums
constexpr int64_t SHARED_FLOPS = 1 << 19;       // a call below this is not worth waking a second worker
constexpr int64_t STEP_FLOPS = 1 << 17;         // nor is a step, where workers must meet after each
constexpr int64_t STATIONARY_FLOATS = 1 << 18;  // recurrent weights that a core's L2 keeps between steps

int64_t tiles(int64_t n, int64_t V) { return (n + V - 1) / V; }

// Scratch that a thread keeps from call to call, so that a step allocates nothing.
float *scratch(int64_t floats) {
    thread_local Buffer buffer;
    thread_local int64_t size = 0;
    if (floats > size) {
        buffer.reset();
        size = 0;
        buffer = allocate(floats);
        size = floats;
    }
    return buffer.get();
}

struct Sharing {
    int workers;
    bool units;
};

// Rows of the batch are shared while each worker gets enough of them and keeps the weights in its L2, else the units.
Sharing sharing(int64_t T, int64_t B, int64_t I, int64_t H, int V, int tile, int threads) {
    double flops = 6.0 * B * H * (I + H);
    if (threads <= 1 || flops * T < SHARED_FLOPS) return {1, false};
    bool rows = B >= threads * std::max(1, tile / 2) && (3 * H * H <= STATIONARY_FLOATS || B >= threads * tile * 4);
    if (rows) return {threads, false};
    int workers = static_cast<int>(std::min<int64_t>(threads, tiles(H, V)));
    if (flops >= STEP_FLOPS && workers > 1) return {workers, true};
    return {static_cast<int>(std::min<int64_t>(threads, B)), false};
}

struct ForwardCall {
    const gru_kernels *table;
    const gru_packed *packed;
    gru_forward task;
};

struct BackwardCall {
    const gru_kernels *table;
    const gru_packed *packed;
    gru_backward task;
};

struct DenseCall {
    const gru_kernels *table;
    gru_dense task;
};

}  // namespace

void free_aligned::operator()(float *p) const { std::free(p); }

Buffer allocate(int64_t floats) {
    size_t bytes = (static_cast<size_t>(std::max<int64_t>(floats, 1)) * sizeof(float) + 63) / 64 * 64;
    void *p = std::aligned_alloc(64, bytes);
    if (!p) throw std::bad_alloc();
    return Buffer(static_cast<float *>(p));
}

Layer::Layer(const gru_weights &given, const gru_kernels *kernels, bool training) : table(kernels) {
    int64_t I = given.I, H = given.H, V = table->width, panels = tiles(H, V), HP = panels * V;
    packed = {I, H, HP, given.reset_after, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    memory = allocate(HP * (3 * I + 3 * H + 5));
    packed.W = memory.get();
    packed.U = packed.W + 3 * HP * I;
    packed.U_n = packed.U + 2 * HP * H;
    packed.bias = packed.U + 3 * HP * H;
    float *first_state = packed.bias + 4 * HP;
    std::fill(first_state, first_state + HP, 0.0f);
    zeros = first_state;
    table->pack(packed.W, given.weight_ih, H, I, 3, H * I, I, 1);
    if (given.reset_after) {
        table->pack(packed.U, given.weight_hh, H, H, 3, H * H, H, 1);
    } else {
        table->pack(packed.U, given.weight_hh, H, H, 2, H * H, H, 1);
        table->pack(packed.U_n, given.weight_hh + 2 * H * H, H, H, 1, 0, H, 1);
    }
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
    if (training) pack_backward(given);
}

void Layer::pack_backward(const gru_weights &weights) {
    int64_t I = packed.I, H = packed.H, V = table->width, HP = packed.HP, inputs = tiles(I, V) * V;
    const float *W = weights.weight_ih, *U = weights.weight_hh;
    int64_t recurrent = HP * 3 * HP;
    back = allocate(inputs * 3 * HP + recurrent);
    std::memset(back.get(), 0, sizeof(float) * static_cast<size_t>(inputs * 3 * HP + recurrent));
    // panels [tile][gate][HP][V] of the transpose: the k of a gate are its units, padded ones stay zero
    auto pack = [&](float *to, const float *from, int64_t columns, int gates, const int *order) {
        for (int64_t j = 0; j < tiles(columns, V); j++)
            for (int g = 0; g < gates; g++)
                table->pack(to + (j * gates + g) * HP * V, from + order[g] * H * columns + j * V,
                            std::min<int64_t>(V, columns - j * V), H, 1, 0, 1, columns);
    };
    const int by_input[] = {2, 0, 1}, by_state[] = {0, 1, 2}, candidate[] = {2};
    packed.Wt = back.get();
    packed.Ut = packed.Wt + inputs * 3 * HP;
    packed.Ut_n = packed.Ut + HP * 2 * HP;
    pack(packed.Wt, W, I, 3, by_input);
    pack(packed.Ut, U, H, packed.reset_after ? 3 : 2, by_state);
    if (!packed.reset_after) pack(packed.Ut_n, U, H, 1, candidate);
}

void Layer::forward(gru_forward task, int threads) const {
    if (!task.h0) task.h0 = zeros, task.h_b = 0;
    Sharing how = sharing(task.T, task.B, packed.I, packed.H, table->width, table->tile, threads);
    task.shard_units = how.units;
    ForwardCall call = {table, &packed, task};
    auto prepare = [](void *argument, int count) {
        ForwardCall &call = *static_cast<ForwardCall *>(argument);
        gru_forward &f = call.task;
        int64_t V = call.table->width, HP = call.packed->HP;
        if (count == 1) f.shard_units = 0;
        int64_t rows = f.shard_units ? f.B : tiles(f.B, count);
        int64_t step = rows * (f.shard_units ? tiles(HP / V, count) : HP / V) * 3 * V;
        f.chunk = std::min(f.T, std::max<int64_t>(1, PROJECTED_FLOATS / step));
        f.projected_size = f.chunk * step;
        int64_t reset = call.packed->reset_after ? 0 : 2 * f.B * HP;
        f.projected = scratch(f.projected_size * count + reset);
        f.reset = reset ? f.projected + f.projected_size * count : nullptr;
    };
    auto job = [](void *argument, const gru_worker *me) {
        ForwardCall &call = *static_cast<ForwardCall *>(argument);
        call.table->forward(call.packed, &call.task, me);
    };
    run(how.workers, prepare, job, &call);
}

void Layer::backward(gru_backward task, int threads) const {
    if (!task.h0) task.h0 = zeros, task.h_b = 0;
    Sharing how = sharing(task.T, task.B, packed.I, packed.H, table->width, table->tile, threads);
    task.shard_units = how.units;
    BackwardCall call = {table, &packed, task};
    auto prepare = [](void *argument, int count) {
        BackwardCall &call = *static_cast<BackwardCall *>(argument);
        gru_backward &f = call.task;
        int64_t V = call.table->width, HP = call.packed->HP;
        if (count == 1) f.shard_units = 0;
        int64_t operands = tiles(call.packed->I, V) * V + (call.packed->reset_after ? HP : 2 * HP);
        int64_t row = 5 * HP + operands, steps = std::max(BACKWARD_FLOATS / (row * f.B), BACKWARD_ROWS / f.B);
        f.chunk = std::min(f.T, std::max<int64_t>(1, steps));
        f.gates = scratch(f.chunk * f.B * row + 2 * f.B * HP);
        f.rows = f.gates + f.chunk * f.B * 5 * HP;
        f.carry = f.rows + f.chunk * f.B * operands;
    };
    auto job = [](void *argument, const gru_worker *me) {
        BackwardCall &call = *static_cast<BackwardCall *>(argument);
        call.table->backward(call.packed, &call.task, me);
    };
    run(how.workers, prepare, job, &call);
}

Dense::Dense(const float *weight, const float *bias, int64_t outputs, int64_t inputs, const gru_kernels *kernels)
    : table(kernels), K(inputs), O(outputs) {
    int64_t V = table->width, OP = tiles(O, V) * V;
    memory = allocate(OP * K + OP);
    table->pack(memory.get(), weight, O, K, 1, 0, K, 1);
    for (int64_t o = 0; o < OP; o++) memory[OP * K + o] = bias && o < O ? bias[o] : 0.0f;
}

void Dense::operator()(const float *x, int64_t x_r, float *y, int64_t y_r, int64_t rows, int threads) const {
    int64_t V = table->width, OP = tiles(O, V) * V;
    DenseCall call = {table, {rows, K, O, x, x_r, y, y_r, memory.get(), memory.get() + OP * K}};
    bool alone = 2.0 * rows * K * O < SHARED_FLOPS;
    auto job = [](void *argument, const gru_worker *me) {
        DenseCall &call = *static_cast<DenseCall *>(argument);
        call.table->dense(&call.task, me);
    };
    run(alone ? 1 : static_cast<int>(std::min<int64_t>(threads, rows)), [](void *, int) {}, job, &call);
}

void activation(float *dst, const float *src, int64_t n, int function, const gru_kernels *table) {
    struct Call {
        const gru_kernels *table;
        float *dst;
        const float *src;
        int64_t n;
        int function;
    } call = {table, dst, src, n, function};
    auto job = [](void *argument, const gru_worker *) {
        Call &c = *static_cast<Call *>(argument);
        c.table->activation(c.dst, c.src, c.n, c.function);
    };
    run(1, [](void *, int) {}, job, &call);
}

}  // namespace grus
