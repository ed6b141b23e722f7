/* Multiply-adds in registers and the widest reads, by several threads at once: for benchmarks/ceilings.py. */
#define _POSIX_C_SOURCE 200809L
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#if defined(__AVX512F__)
enum { WIDTH = 64, SUMS = 24 }; /* bytes of a register; so many multiply-adds under way fill every multiplier */
#define REGISTER "v"
#elif defined(__x86_64__)
#ifdef __AVX__
enum { WIDTH = 32, SUMS = 12 };
#else
enum { WIDTH = 16, SUMS = 12 };
#endif
#define REGISTER "x"
#else
enum { WIDTH = 16, SUMS = 24 };
#define REGISTER "w"
#endif
enum { LANES = WIDTH / sizeof(float), LOADS = 8 };

typedef float floats __attribute__((vector_size(WIDTH)));

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for the others; gives way where there are fewer cores than threads. */
static void meet(int threads)
{
    static atomic_int arrived, turn;
    const int mine = atomic_load(&turn);
    if (atomic_fetch_add(&arrived, 1) == threads - 1) {
        atomic_store(&arrived, 0);
        atomic_store(&turn, mine + 1);
        return;
    }
    for (int spins = 1; atomic_load(&turn) == mine; ++spins) {
        if (spins % 1000 == 0) {
            sched_yield();
        }
    }
}

/* Every thread calls this, with its own begin and end: when each round began and ended, in seconds. */
void multiply_adds(int threads, int rounds, double flops, double *begin, double *end)
{
    floats sums[SUMS] = {{0}}, a = sums[0] + 0.5f, b = a;
    for (int round = 0; round < rounds; ++round) {
        meet(threads);
        begin[round] = now();
        for (long times = (long)(flops / (2 * SUMS * LANES)); times > 0; --times) {
#pragma GCC unroll 24
            for (int s = 0; s < SUMS; ++s) {
                __asm__ volatile("" : "+" REGISTER(a), "+" REGISTER(b)); /* for all the compiler knows a new product */
                sums[s] += a * b;
            }
        }
        for (int s = 0; s < SUMS; ++s) {
            __asm__ volatile("" ::REGISTER(sums[s]));
        }
        end[round] = now();
    }
}

/* Likewise; data [bytes] is the thread's own and lies at a multiple of 64, bytes is a multiple of 512. */
void reads(int threads, int rounds, int times, const char *data, size_t bytes, double *begin, double *end)
{
    for (int round = 0; round < rounds; ++round) {
        meet(threads);
        begin[round] = now();
        for (int time = 0; time < times; ++time) {
            for (const char *d = data; d < data + bytes; d += LOADS * WIDTH) {
#pragma GCC unroll 8
                for (int i = 0; i < LOADS; ++i) {
                    __asm__ volatile("" ::REGISTER(*(const floats *)(d + i * WIDTH)));
                }
            }
        }
        end[round] = now();
    }
}
