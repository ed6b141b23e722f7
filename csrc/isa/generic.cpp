#define GRUS_GENERIC
#include "../body.inl"

extern const gru_kernels gru_kernels_generic;
const gru_kernels gru_kernels_generic = GRUS_TABLE("generic");
