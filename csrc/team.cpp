#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace grus {
namespace {

// A wait spins this often, then lets others run: a neighbour on the same core must not cost a time slice a step.
constexpr int SPINS = 2000;

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template <class F>
void spin_until(F done) {
    for (int i = 0; i < SPINS; i++) {
        if (done()) return;
        pause();
    }
    while (!done()) sched_yield();
}

// Denormals are flushed while a worker computes: they would be up to a hundred times slower.
class flush_denormals {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();

  public:
    flush_denormals() { _mm_setcsr(before | 0x8040); }  // FTZ, DAZ
    ~flush_denormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    uint64_t before;

  public:
    flush_denormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before));
        asm volatile("msr fpcr, %0" ::"r"(before | (1u << 24)));  // FZ
    }
    ~flush_denormals() { asm volatile("msr fpcr, %0" ::"r"(before)); }
#endif
};

class Barrier {
    std::atomic<int> arrived{0}, round{0};

  public:
    int count = 1;
    void wait() {
        int now = round.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
            arrived.store(0, std::memory_order_relaxed);
            round.store(now + 1, std::memory_order_release);
        } else {
            spin_until([&] { return round.load(std::memory_order_acquire) != now; });
        }
    }
};

class Team {
    std::mutex mutex;
    std::condition_variable wake;
    int started = 0;
    std::atomic<uint64_t> call{0};
    std::atomic<int> left{0};
    int count = 1;
    void (*job)(void *, const gru_worker *) = nullptr;
    void *argument = nullptr;

    void work(int index) {
        flush_denormals flush;
        gru_worker me = {index, count, &barrier, [](void *region) { static_cast<Barrier *>(region)->wait(); }};
        job(argument, &me);
    }

    void live(int index, uint64_t seen) {
        for (;;) {
            // the next call often comes at once: look for a while before going to sleep
            for (int i = 0; i < SPINS && call.load(std::memory_order_relaxed) == seen; i++) pause();
            {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return call.load() != seen; });
                seen = call.load();
                if (index >= count) continue;
            }
            work(index);
            left.fetch_sub(1, std::memory_order_acq_rel);
        }
    }

  public:
    std::mutex busy;  // held by the call that has the workers
    Barrier barrier;

    int start(int wanted) {
        std::lock_guard<std::mutex> lock(mutex);
        while (started + 1 < wanted) {
            try {
                std::thread([this, index = started + 1, seen = call.load()] { live(index, seen); }).detach();
            } catch (const std::system_error &) {
                break;
            }
            started++;
        }
        return std::min(wanted, started + 1);
    }

    void run(int workers, void (*what)(void *, const gru_worker *), void *with) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            count = barrier.count = workers;
            job = what;
            argument = with;
            left.store(workers - 1, std::memory_order_relaxed);
            call.fetch_add(1);
        }
        wake.notify_all();
        work(0);
        spin_until([&] { return left.load(std::memory_order_acquire) == 0; });
    }
};

// Never destroyed: its threads may outlive main. A forked child has none of them and starts its own.
std::atomic<Team *> team{nullptr};

Team *current_team() {
    static std::once_flag once;
    std::call_once(once, [] {
        team = new Team;
        pthread_atfork(nullptr, nullptr, [] { team = new Team; });
    });
    return team;
}

int available() {
    int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    double quota = 0, period = 0;
    std::string text;
    if (std::ifstream("/sys/fs/cgroup/cpu.max") >> text >> period && text != "max") quota = atof(text.c_str());
    if (quota > 0 && period > 0) count = std::min(count, std::max(1, static_cast<int>(quota / period)));
#endif
    const char *wanted = getenv("GRUS_NUM_THREADS");
    if (wanted && atoi(wanted) > 0) count = atoi(wanted);
    return std::max(1, count);
}

std::atomic<int> &limit() {
    static std::atomic<int> value{available()};
    return value;
}

}  // namespace

int threads() { return limit(); }
void set_threads(int count) { limit() = count; }

void run(int wanted, void (*prepare)(void *, int), void (*job)(void *, const gru_worker *), void *argument) {
    Team *mine = wanted > 1 ? current_team() : nullptr;
    if (mine && mine->busy.try_lock()) {
        std::lock_guard<std::mutex> lock(mine->busy, std::adopt_lock);
        int count = mine->start(wanted);
        prepare(argument, count);
        mine->run(count, job, argument);
        return;
    }
    prepare(argument, 1);
    flush_denormals flush;
    gru_worker alone = {0, 1, nullptr, nullptr};
    job(argument, &alone);
}

}  // namespace grus
