// What this CPU can run. Each table was compiled for its instruction set; none is touched before the CPU is asked.

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "layer.h"

extern const gru_kernels gru_kernels_generic;
#if defined(__x86_64__)
extern const gru_kernels gru_kernels_avx2, gru_kernels_avx512;
#elif defined(__aarch64__)
extern const gru_kernels gru_kernels_neon;
#endif

int gru_tables(const gru_kernels **tables, int capacity) {
    int count = 0;
    auto offer = [&](bool runs, const gru_kernels &table) {
        if (runs && count < capacity) tables[count++] = &table;
    };
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    offer(avx512, gru_kernels_avx512);
    offer(avx2, gru_kernels_avx2);
#elif defined(__aarch64__)
    offer(true, gru_kernels_neon);
#endif
    offer(true, gru_kernels_generic);
    return count;
}

namespace grus {

const gru_kernels *kernels(const char *name) {
    const gru_kernels *tables[8];
    int count = gru_tables(tables, 8);
    const char *source = "isa";
    if (!name || !*name) {
        name = std::getenv("GRUS_ISA");
        source = "the environment variable GRUS_ISA";
    }
    if (!name || !*name) return tables[0];
    std::string known;
    for (int i = 0; i < count; i++) {
        if (!std::strcmp(tables[i]->name, name)) return tables[i];
        known += (i ? ", " : "") + std::string(tables[i]->name);
    }
    throw std::invalid_argument(std::string(source) + " is '" + name + "', but this CPU and build run " + known);
}

}  // namespace grus
