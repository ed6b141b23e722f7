// What this CPU can run. Each table was compiled for its instruction set; none is touched before the CPU is asked.

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "layer.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const gru_kernels gru_kernels_generic;
#if defined(__x86_64__)
extern const gru_kernels gru_kernels_avx2, gru_kernels_avx512;
#elif defined(__aarch64__)
extern const gru_kernels gru_kernels_neon;
#endif

#if defined(__x86_64__)
namespace {

struct Cpu {
    bool avx2 = false, avx512 = false;
};

// Asked of the CPU itself: the compilers' builtin wants a library that is not on every system. The bits are those of
// Intel's manual, "Detection of AVX Instructions": the CPU has the instructions, and the system keeps the registers.
Cpu this_cpu() {
    constexpr unsigned FMA = 1u << 12, OSXSAVE = 1u << 27, YMM = 0x6;
    constexpr unsigned AVX2 = 1u << 5, AVX512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & FMA) || !(c & OSXSAVE)) return {};
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return {};
    unsigned kept, upper;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(upper) : "c"(0));
#if defined(__APPLE__)
    constexpr unsigned ZMM = YMM;  // the system begins to keep these registers when they are first used
#else
    constexpr unsigned ZMM = 0xe6;
#endif
    bool avx2 = (b & AVX2) && (kept & YMM) == YMM;
    return {avx2, avx2 && (b & AVX512) == AVX512 && (kept & ZMM) == ZMM};
}

}  // namespace
#endif

int gru_tables(const gru_kernels **tables, int capacity) {
    int count = 0;
    auto offer = [&](bool runs, const gru_kernels &table) {
        if (runs && count < capacity) tables[count++] = &table;
    };
#if defined(__x86_64__)
    static const Cpu cpu = this_cpu();  // in a virtual machine each question takes microseconds
    offer(cpu.avx512, gru_kernels_avx512);
    offer(cpu.avx2, gru_kernels_avx2);
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
