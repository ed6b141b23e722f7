// The only intrinsics: one vector of V floats and what the kernels do with it. Each isa/*.cpp defines one GRUS_<ISA>.
// Everything is in an anonymous namespace: two instruction sets never share a symbol.
#ifndef GRUS_SIMD_H
#define GRUS_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(GRUS_AVX512) || defined(GRUS_AVX2)
#include <immintrin.h>
#elif defined(GRUS_NEON)
#include <arm_neon.h>
#endif

#define GRUS_INLINE inline __attribute__((always_inline))

namespace {

#if defined(GRUS_AVX512)

constexpr int V = 16, REGISTERS = 32;
using vec = __m512;
GRUS_INLINE vec load(const float *p) { return _mm512_loadu_ps(p); }
GRUS_INLINE void store(float *p, vec a) { _mm512_storeu_ps(p, a); }
GRUS_INLINE __mmask16 first(int64_t n) { return (__mmask16)((1u << n) - 1); }
GRUS_INLINE vec load_part(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
GRUS_INLINE void store_part(float *p, vec a, int64_t n) { _mm512_mask_storeu_ps(p, first(n), a); }
GRUS_INLINE vec splat(float a) { return _mm512_set1_ps(a); }
GRUS_INLINE vec fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }  // a b + c
GRUS_INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
GRUS_INLINE vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
GRUS_INLINE vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
GRUS_INLINE vec div(vec a, vec b) { return _mm512_div_ps(a, b); }
// a NaN in x stays: the x86 instructions return their second operand
GRUS_INLINE vec clamp(vec x, float low, float high) { return _mm512_min_ps(splat(high), _mm512_max_ps(splat(low), x)); }
// a and b interleaved, the first and the second half: a0 b0 a1 b1 …
GRUS_INLINE vec zip_low(vec a, vec b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}
GRUS_INLINE vec zip_high(vec a, vec b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                                  b);
}
// 2^i where the low bits of k hold the integer i
GRUS_INLINE vec power2(vec k) {
    __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(k), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
}

#elif defined(GRUS_AVX2)

constexpr int V = 8, REGISTERS = 16;
using vec = __m256;
GRUS_INLINE vec load(const float *p) { return _mm256_loadu_ps(p); }
GRUS_INLINE void store(float *p, vec a) { _mm256_storeu_ps(p, a); }
GRUS_INLINE __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
GRUS_INLINE vec load_part(const float *p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
GRUS_INLINE void store_part(float *p, vec a, int64_t n) { _mm256_maskstore_ps(p, first(n), a); }
GRUS_INLINE vec splat(float a) { return _mm256_set1_ps(a); }
GRUS_INLINE vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
GRUS_INLINE vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
GRUS_INLINE vec sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
GRUS_INLINE vec mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
GRUS_INLINE vec div(vec a, vec b) { return _mm256_div_ps(a, b); }
GRUS_INLINE vec clamp(vec x, float low, float high) { return _mm256_min_ps(splat(high), _mm256_max_ps(splat(low), x)); }
GRUS_INLINE vec zip_low(vec a, vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
GRUS_INLINE vec zip_high(vec a, vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}
GRUS_INLINE vec power2(vec k) {
    __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(k), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
}

#else  // four floats: NEON, or whatever the compiler has for any other machine

constexpr int V = 4;
typedef int32_t ivec __attribute__((vector_size(16)));

#if defined(GRUS_NEON)
constexpr int REGISTERS = 32;
using vec = float32x4_t;
GRUS_INLINE vec load(const float *p) { return vld1q_f32(p); }
GRUS_INLINE void store(float *p, vec a) { vst1q_f32(p, a); }
GRUS_INLINE vec splat(float a) { return vdupq_n_f32(a); }
GRUS_INLINE vec fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
GRUS_INLINE vec clamp(vec x, float low, float high) { return vminq_f32(splat(high), vmaxq_f32(splat(low), x)); }
GRUS_INLINE vec zip_low(vec a, vec b) { return vzip1q_f32(a, b); }
GRUS_INLINE vec zip_high(vec a, vec b) { return vzip2q_f32(a, b); }
#else
constexpr int REGISTERS = 16;
typedef float vec __attribute__((vector_size(16)));
GRUS_INLINE vec load(const float *p) {
    vec a;
    memcpy(&a, p, sizeof a);
    return a;
}
GRUS_INLINE void store(float *p, vec a) { memcpy(p, &a, sizeof a); }
GRUS_INLINE vec splat(float a) { return vec{a, a, a, a}; }
GRUS_INLINE vec fma(vec a, vec b, vec c) { return a * b + c; }  // two roundings: not every machine has it fused
GRUS_INLINE vec choose(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }
GRUS_INLINE vec clamp(vec x, float low, float high) {  // a NaN fails both comparisons and stays
    x = choose(x < splat(low), splat(low), x);
    return choose(x > splat(high), splat(high), x);
}
GRUS_INLINE vec zip_low(vec a, vec b) { return vec{a[0], b[0], a[1], b[1]}; }
GRUS_INLINE vec zip_high(vec a, vec b) { return vec{a[2], b[2], a[3], b[3]}; }
#endif
GRUS_INLINE vec add(vec a, vec b) { return a + b; }
GRUS_INLINE vec sub(vec a, vec b) { return a - b; }
GRUS_INLINE vec mul(vec a, vec b) { return a * b; }
GRUS_INLINE vec div(vec a, vec b) { return a / b; }
GRUS_INLINE vec load_part(const float *p, int64_t n) {
    float lanes[V] = {};
    for (int64_t i = 0; i < n; i++) lanes[i] = p[i];
    return load(lanes);
}
GRUS_INLINE void store_part(float *p, vec a, int64_t n) {
    float lanes[V];
    store(lanes, a);
    for (int64_t i = 0; i < n; i++) p[i] = lanes[i];
}
GRUS_INLINE vec power2(vec k) { return (vec)(((ivec)k << 23) + 0x3f800000); }

#endif

GRUS_INLINE vec load_some(const float *p, int64_t n) { return n >= V ? load(p) : load_part(p, n); }
GRUS_INLINE void store_some(float *p, vec a, int64_t n) {
    if (n >= V)
        store(p, a);
    else
        store_part(p, a, n);
}

// rows[i] lane j becomes rows[j] lane i: interleaving row i with row i + V/2 is one perfect shuffle, log V of them all
GRUS_INLINE void transpose(vec (&rows)[V]) {
    for (int stage = 1; stage < V; stage *= 2) {
        vec mixed[V];
        for (int i = 0; i < V / 2; i++) {
            mixed[2 * i] = zip_low(rows[i], rows[i + V / 2]);
            mixed[2 * i + 1] = zip_high(rows[i], rows[i + V / 2]);
        }
        for (int i = 0; i < V; i++) rows[i] = mixed[i];
    }
}

// t[i] lane r = from[r * row + i]: TURN columns of V rows, turned. The first halves of the work are loads: where a
// vector has more lanes than TURN (or than four), other rows are loaded beside the first ones.
#if defined(GRUS_AVX512)
constexpr int TURN = 8;
#else
constexpr int TURN = 4;
#endif
GRUS_INLINE void load_turned(vec (&t)[TURN], const float *from, int64_t row) {
#if defined(GRUS_AVX512)
    vec x[8], fours[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        const float *p = from + i * row;
        x[i] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(p)), _mm256_loadu_ps(p + 8 * row), 1);
    }
#pragma GCC unroll 2
    for (int q = 0; q < 8; q += 4) {
        __m512d low0 = _mm512_castps_pd(_mm512_unpacklo_ps(x[q], x[q + 1])),
                low1 = _mm512_castps_pd(_mm512_unpacklo_ps(x[q + 2], x[q + 3]));
        __m512d high0 = _mm512_castps_pd(_mm512_unpackhi_ps(x[q], x[q + 1])),
                high1 = _mm512_castps_pd(_mm512_unpackhi_ps(x[q + 2], x[q + 3]));
        fours[q] = _mm512_castpd_ps(_mm512_unpacklo_pd(low0, low1));
        fours[q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low0, low1));
        fours[q + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high0, high1));
        fours[q + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high0, high1));
    }
    // a quarter is column i of four rows in the even ones, column i + 4 in the odd ones
    const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    const __m512i odd = _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_permutex2var_ps(fours[i], even, fours[i + 4]);
        t[i + 4] = _mm512_permutex2var_ps(fours[i], odd, fours[i + 4]);
    }
#elif defined(GRUS_AVX2)
    vec x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float *p = from + i * row;
        x[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * row), 1);
    }
    __m256d low0 = _mm256_castps_pd(_mm256_unpacklo_ps(x[0], x[1])),
            low1 = _mm256_castps_pd(_mm256_unpacklo_ps(x[2], x[3]));
    __m256d high0 = _mm256_castps_pd(_mm256_unpackhi_ps(x[0], x[1])),
            high1 = _mm256_castps_pd(_mm256_unpackhi_ps(x[2], x[3]));
    t[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low0, low1));
    t[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low0, low1));
    t[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high0, high1));
    t[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high0, high1));
#else
    for (int i = 0; i < V; i++) t[i] = load(from + i * row);
    transpose(t);
#endif
}

}  // namespace

#endif
