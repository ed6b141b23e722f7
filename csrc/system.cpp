#include "system.h"

#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace grus {

#if defined(_WIN32)
void *allocate_aligned(size_t bytes) { return _aligned_malloc(bytes, 64); }
void free_aligned(void *memory) { _aligned_free(memory); }
void at_fork(void (*)(), void (*)(), void (*)()) {}
#else
void *allocate_aligned(size_t bytes) {  // aligned_alloc is not in every C++17 library
    void *memory = nullptr;
    return posix_memalign(&memory, 64, bytes) == 0 ? memory : nullptr;
}
void free_aligned(void *memory) { free(memory); }
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) { pthread_atfork(before, in_parent, in_child); }
#endif

#if defined(__linux__)
int cores() {
    int count = static_cast<int>(std::thread::hardware_concurrency());
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    double quota = 0, period = 0;
    std::string text;
    if (std::ifstream("/sys/fs/cgroup/cpu.max") >> text >> period && text != "max") quota = atof(text.c_str());
    if (quota > 0 && period > 0) count = std::min(count, static_cast<int>(quota / period));
    return std::max(1, count);
}

int core() { return sched_getcpu(); }

void leave_core(int taken) {
    cpu_set_t all, others;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    others = all;
    CPU_CLR(taken, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof all, &all);
}
#else
int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
int core() { return -1; }
void leave_core(int) {}
#endif

}  // namespace grus
