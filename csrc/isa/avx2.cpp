#define GRUS_AVX2
#include "../body.inl"

extern const gru_kernels gru_kernels_avx2;
const gru_kernels gru_kernels_avx2 = GRUS_TABLE("avx2");
