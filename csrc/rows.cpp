#include "rows.h"

#include <algorithm>

#include "pack.h"
#include "sharing.h"

namespace grus {
namespace {

struct DenseCall {
    const gru_kernels *table;
    gru_dense task;
};

struct NormaliseCall {
    const gru_kernels *table;
    gru_normalise task;
};

struct ActivationCall {
    const gru_kernels *table;
    float *dst;
    const float *src;
    int64_t n;
    int function;
};

}  // namespace

Dense::Dense(const float *weight, const float *bias, int64_t outputs, int64_t inputs, const gru_kernels *kernels)
    : table(kernels), K(inputs), O(outputs) {
    int64_t V = table->width, OP = tiles(O, V) * V;
    memory = allocate(OP * K + OP);
    table->pack(memory.get(), weight, O, K, 1, 0, K, 1);
    for (int64_t o = 0; o < OP; o++) memory[OP * K + o] = bias && o < O ? bias[o] : 0.0f;
}

void Dense::operator()(const float *x, int64_t x_r, float *y, int64_t y_r, int64_t rows, int threads) const {
    int64_t V = table->width, OP = tiles(O, V) * V;
    bool alone = 2.0 * static_cast<double>(rows * K * O) < SHARED_FLOPS;
    Region region(alone ? 1 : static_cast<int>(std::min<int64_t>(threads, rows)));
    auto work = [](const DenseCall &call, gru_worker *me) { call.table->dense(&call.task, me); };
    gru_dense task = {rows, K, O, x, x_r, y, y_r, memory.get(), memory.get() + OP * K};
    region.run<DenseCall>(work, {table, task}, region.count());
}

void normalise(gru_normalise f, const gru_kernels *table, int threads) {
    bool alone = f.rows * f.H * 64 < SHARED_FLOPS;
    Region region(alone ? 1 : static_cast<int>(std::min<int64_t>(threads, f.rows)));
    if (!f.y) f.sums = scratch(region.count() * 6 * f.H);
    auto work = [](const NormaliseCall &call, gru_worker *me) {
        (call.task.y ? call.table->normalise : call.table->normalise_back)(&call.task, me);
    };
    region.run<NormaliseCall>(work, {table, f}, region.count());
}

void activation(float *dst, const float *src, int64_t n, int function, const gru_kernels *table) {
    auto work = [](const ActivationCall &call, gru_worker *) {
        call.table->activation(call.dst, call.src, call.n, call.function);
    };
    Region(1).run<ActivationCall>(work, {table, dst, src, n, function}, 1);
}

}  // namespace grus
