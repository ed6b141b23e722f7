#define GRUS_NEON
#include "../body.inl"

extern const gru_kernels gru_kernels_neon;
const gru_kernels gru_kernels_neon = GRUS_TABLE("neon");
