#define GRUS_AVX512
#include "../body.inl"

extern const gru_kernels gru_kernels_avx512;
const gru_kernels gru_kernels_avx512 = GRUS_TABLE("avx512");
