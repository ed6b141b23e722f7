#include "system.h"

#include <limits.h>
#include <stdint.h>
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
namespace {

// The quota of the control group in a folder, either version's, in CPUs; 0: none.
int quota_in(const std::string &folder) {
    std::ifstream both(folder + "/cpu.max"), first(folder + "/cpu.cfs_quota_us"), second(folder + "/cpu.cfs_period_us");
    int64_t time = 0, of = 0;
    bool found = (both >> time >> of) || (first >> time && second >> of);
    return found && time > 0 && of > 0 ? static_cast<int>(std::min<int64_t>((time + of - 1) / of, INT_MAX)) : 0;
}

}  // namespace

// A container may show its group at the root of the tree, a group of systemd's stands in those around it: a folder that
// is not there has no quota.
int quota(const std::string &root) {
    std::ifstream groups(root + "/proc/self/cgroup");
    int least = 0;
    std::string line = "0::/";
    do {  // a number, controllers, and the group's path: 4:cpu,cpuacct:/a/b
        size_t begin = line.find(':') + 1, end = line.find(':', begin);
        if (begin == 0 || end == std::string::npos) continue;
        std::string controllers = line.substr(begin, end - begin), path = line.substr(end + 1);
        if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
        for (const std::string &tree : {controllers, std::string(controllers.empty() ? "unified" : "cpu")})
            for (std::string group = path;; group.erase(group.rfind('/'))) {
                int found = quota_in(root + "/sys/fs/cgroup/" + tree + group);
                if (found) least = least ? std::min(least, found) : found;
                if (group.rfind('/') == std::string::npos) break;
            }
    } while (std::getline(groups, line));
    return least;
}

int cores() {
    int count = static_cast<int>(std::thread::hardware_concurrency()), allowed = quota("");
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    return std::max(1, allowed ? std::min(count, allowed) : count);
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
int quota(const std::string &) { return 0; }
int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
int core() { return -1; }
void leave_core(int) {}
#endif

}  // namespace grus
