// What takes row by row, without a step: a dense layer, normalisation, activations.
#ifndef GRUS_ROWS_H
#define GRUS_ROWS_H

#include "gru.h"
#include "memory.h"

namespace grus {

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
