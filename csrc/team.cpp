#include "team.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "system.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace grus {
namespace {

// A wait spins this long, then sleeps: longer than a step, shorter than it takes to be woken twice.
constexpr std::chrono::microseconds SPIN(20);

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

constexpr int PATIENCE = 32;        // looks at what others do before a worker takes a shard of theirs
constexpr int64_t CORE_PHASES = 8;  // phases between two questions which core one is on

template <class F>
bool spin_until(F done) {
    for (int i = 0; i < 64; i++) {  // the clock is not asked where the wait is short
        if (done()) return true;
        pause();
    }
    auto end = std::chrono::steady_clock::now() + SPIN;
    do {
        for (int i = 0; i < 16; i++) {
            if (done()) return true;
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
    return done();
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

// A condition that others may sleep for. `tell` costs a load where nobody sleeps.
class Bell {
    std::mutex mutex;
    std::condition_variable condition;
    std::atomic<int> sleeping{0};

  public:
    template <class F>
    void wait(F done) {
        if (spin_until(done)) return;
        std::unique_lock<std::mutex> lock(mutex);
        sleeping.fetch_add(1);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // with the one in tell: one of the two sees the other
        condition.wait(lock, done);
        sleeping.fetch_sub(1);
    }
    void tell() {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (sleeping.load() == 0) return;
        {
            std::lock_guard<std::mutex> lock(mutex);
        }
        condition.notify_all();
    }
};

// Counters of the present call carry its number in their upper half, so that a worker that comes late from an earlier
// one can claim nothing and waits for nothing.
constexpr uint64_t tagged(uint64_t call, uint64_t value) { return call << 32 | value; }

struct alignas(64) Counter {
    std::atomic<uint64_t> value{0};
};

}  // namespace

class Team {
    static constexpr int WORDS = sizeof(Job) / sizeof(uint64_t);
    static_assert(sizeof(Job) % sizeof(uint64_t) == 0, "");

    std::atomic<uint64_t> slot[WORDS] = {};  // the job, valid while `version` is even and stays
    Counter version;                         // twice the number of the call
    Counter claims[MAX_SHARDS];              // the next phase of this shard that nobody has taken
    Counter dones[MAX_SHARDS];               // the phases of this shard that are done; each on a cache line of its own,
                                             // written by one worker while the others look
    std::atomic<int> callers_core{-1};
    Bell calls, progress;
    int started = 0;

    struct Seat : gru_worker {  // a worker in a region
        Team *team;
        uint64_t call;
        int workers, held;
    };

    // A worker's own shards first. Those of others it looks at only when they are long in coming: a look takes the line
    // away from whose it is.
    static int claim(gru_worker *worker) {
        Seat *me = static_cast<Seat *>(worker);
        if (me->index > 0 && me->phase % CORE_PHASES == 0 && !me->team->apart_from_caller()) return -1;
        int first = me->index * me->shards / me->workers, own = (me->index + 1) * me->shards / me->workers - first;
        for (int k = 0; k < me->shards; k++) {
            if (k == own && me->team->soon_over(me)) return -1;
            int shard = (first + k) % me->shards;
            if (me->team->take(me, shard)) return me->held = shard;
        }
        return -1;
    }

    bool take(const Seat *me, int shard) {
        uint64_t open = tagged(me->call, static_cast<uint64_t>(me->phase)), expected = open;
        std::atomic<uint64_t> &next = claims[shard].value;
        return next.load(std::memory_order_relaxed) == open &&
               next.compare_exchange_strong(expected, open + 1, std::memory_order_acquire, std::memory_order_relaxed);
    }

    // Whether all shards have done so many phases.
    bool have_done(const Seat *me, int64_t phases) {
        uint64_t wanted = tagged(me->call, static_cast<uint64_t>(phases));
        for (int shard = 0; shard < me->shards; shard++) {
            uint64_t now = dones[shard].value.load(std::memory_order_acquire);
            if (now >> 32 == me->call && now < wanted) return false;  // of another call: this one is over
        }
        return true;
    }

    bool soon_over(const Seat *me) {
        for (int i = 0; i < PATIENCE; i++) {
            if (have_done(me, me->phase + 1)) return true;
            pause();
        }
        return false;
    }

    static void done(gru_worker *worker) {
        Seat *me = static_cast<Seat *>(worker);
        uint64_t phases = tagged(me->call, static_cast<uint64_t>(me->phase + 1));
        me->team->dones[me->held].value.store(phases, std::memory_order_release);
        me->team->progress.tell();
    }

    static void next(gru_worker *worker) {
        Seat *me = static_cast<Seat *>(worker);
        me->phase++;
        if (me->index == 0 && me->phase % CORE_PHASES == 0) me->team->note_core();
        me->team->progress.wait([&] { return me->team->have_done(me, me->phase); });
    }

    void note_core() {
        int now = core();
        if (now != callers_core.load(std::memory_order_relaxed)) callers_core.store(now, std::memory_order_relaxed);
    }

    // A worker on the caller's own core would only take turns with it, two switches a step: it moves, or claims
    // nothing.
    bool apart_from_caller() {
        int taken = callers_core.load(std::memory_order_relaxed);
        if (taken < 0 || core() != taken) return true;
        leave_core(taken);
        return core() != callers_core.load(std::memory_order_relaxed);
    }

    void work(const Job &job, uint64_t call, int index) {
        flush_denormals flush;
        Seat me = {};
        me.index = index;
        me.shards = job.shards;
        me.claim = claim;
        me.done = done;
        me.next = next;
        me.team = this;
        me.call = call;
        me.workers = job.workers;
        job.work(job.argument, &me);
    }

    // The present job and the number of its call; 0 while one is being written.
    uint64_t read(Job *job) {
        uint64_t before = version.value.load(std::memory_order_acquire);
        if (before % 2) return 0;
        uint64_t words[WORDS];
        for (int i = 0; i < WORDS; i++) words[i] = slot[i].load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (version.value.load(std::memory_order_relaxed) != before) return 0;
        std::memcpy(static_cast<void *>(job), words, sizeof words);
        return before / 2;
    }

    void live(int index, uint64_t seen) {
        Job job;
        for (;;) {
            calls.wait([&] { return version.value.load(std::memory_order_acquire) / 2 != seen; });
            uint64_t call = read(&job);
            if (call == 0 || call == seen) continue;
            seen = call;
            if (index < job.workers) work(job, call, index);
        }
    }

  public:
    std::mutex busy;  // held by the call that has the workers

    int start(int wanted) {
        while (started + 1 < wanted) {
            try {
                std::thread(&Team::live, this, started + 1, version.value.load() / 2).detach();
            } catch (const std::system_error &) {
                break;
            }
            started++;
        }
        return std::min(wanted, started + 1);
    }

    void run(const Job &job) {
        uint64_t call = (version.value.load(std::memory_order_relaxed) / 2 + 1) & 0x7fffffff;
        if (call == 0) call = 1;
        version.value.store(2 * call - 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        uint64_t words[WORDS];
        std::memcpy(words, static_cast<const void *>(&job), sizeof words);
        for (int i = 0; i < WORDS; i++) slot[i].store(words[i], std::memory_order_relaxed);
        for (int i = 0; i < job.shards; i++) {
            claims[i].value.store(tagged(call, 0), std::memory_order_relaxed);
            dones[i].value.store(tagged(call, 0), std::memory_order_relaxed);
        }
        note_core();
        version.value.store(2 * call, std::memory_order_release);
        calls.tell();
        work(job, call, 0);
    }
};

namespace {

// Never destroyed: its threads may outlive main. A forked child has none of them and starts its own.
std::atomic<Team *> current{nullptr};

Team *team() {
    static std::once_flag once;
    std::call_once(once, [] {
        current = new Team;
        at_fork(nullptr, nullptr, [] { current = new Team; });
    });
    return current;
}

// A count of threads, or 0 where there is none. OpenMP's may be a list, a count a level: the first is ours.
int from_environment(const char *name) {
    const char *text = getenv(name);
    if (!text || !*text) return 0;
    char *end;
    long count = strtol(text, &end, 10);
    while (*end == ' ') end++;
    if (end != text && count >= 1 && count <= 1024 && (!*end || *end == ',')) return static_cast<int>(count);
    fprintf(stderr, "grus: %s is '%s', expected a number of threads from 1 to 1024: left out\n", name, text);
    return 0;
}

struct Count {
    std::atomic<int> value{0};
    std::atomic<bool> chosen{false};  // for Grus, and not for every library at once

    Count() {
        value = from_environment("GRUS_NUM_THREADS");
        if ((chosen = value > 0)) return;
        int wanted = from_environment("OMP_NUM_THREADS");
        value = wanted ? std::min(wanted, cores()) : cores();
    }
};

Count &count() {
    static Count count;
    return count;
}

thread_local int most = INT_MAX;

}  // namespace

int threads() { return threads_chosen() ? count().value.load() : std::min(count().value.load(), most); }
bool threads_chosen() { return count().chosen; }
void set_threads(int wanted) { count().value = wanted, count().chosen = true; }

Limit::Limit(int threads) : before(most) { most = std::max(1, threads); }
Limit::~Limit() { most = before; }

Region::Region(int wanted) : team(nullptr), workers(1) {
    if (wanted <= 1) return;
    Team *shared = grus::team();
    if (!shared->busy.try_lock()) return;
    workers = shared->start(std::min(wanted, MAX_SHARDS));
    if (workers > 1)
        team = shared;
    else
        shared->busy.unlock();
}

Region::~Region() {
    if (team) team->busy.unlock();
}

void Region::run(const Job &job) { team->run(job); }

void Region::run_alone(void (*work)(const void *, gru_worker *), const void *argument) {
    flush_denormals flush;
    gru_worker alone = {};
    alone.shards = 1;
    work(argument, &alone);
}

}  // namespace grus
