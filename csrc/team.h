// The threads: workers that wait between calls and share the phases of one region at a time.
//
// A region is a row of phases, each a number of shards. A shard belongs to whoever claims it, and a phase is over when
// all its shards are done. No worker is waited for unless it holds a shard: one that sleeps, or whose core another
// process has, costs nothing, for the others take what it does not. Where a claimed shard is long in coming, the wait
// ends in sleep, so that the scheduler may run its holder on the core that waits.
#ifndef GRUS_TEAM_H
#define GRUS_TEAM_H

#include <cstring>
#include <type_traits>

#include "gru.h"

namespace grus {

constexpr int MAX_SHARDS = 256;
constexpr int JOB_BYTES = 640;

// How many workers a region may have. Chosen for Grus: what was set, or GRUS_NUM_THREADS. Else the least of affinity,
// the cgroup's quota, OMP_NUM_THREADS and this thread's limit.
int threads();
bool threads_chosen();
void set_threads(int count);

// While it lives, regions of this thread have no more than so many workers, unless their number was chosen.
class Limit {
    int before;

  public:
    explicit Limit(int threads);
    ~Limit();
    Limit(const Limit &) = delete;
    Limit &operator=(const Limit &) = delete;
};

struct Job {
    void (*work)(const void *argument, gru_worker *) = nullptr;
    int workers = 1, shards = 1;
    alignas(16) unsigned char argument[JOB_BYTES] = {};
};

// Holds the workers of a call, or none where another call has them or none is wanted: then count() is 1.
class Region {
    class Team *team;
    int workers;

  public:
    explicit Region(int wanted);
    ~Region();
    Region(const Region &) = delete;
    Region &operator=(const Region &) = delete;

    int count() const { return workers; }

    // work(argument, worker) on every worker, this thread being the first; returns when all phases are over. Workers
    // get copies of the argument and may look at theirs after that, but at nothing that it points to, unless they hold
    // a shard. Denormals count as zero inside; the caller's floating-point mode is kept.
    template <class Argument>
    void run(void (*work)(const Argument &, gru_worker *), const Argument &argument, int shards) {
        static_assert(std::is_trivially_copyable<Argument>::value && sizeof(Argument) + sizeof work <= JOB_BYTES, "");
        struct Call {
            void (*work)(const Argument &, gru_worker *);
            Argument argument;
        };
        if (!team) {
            auto call = [&](gru_worker *me) { work(argument, me); };
            return run_alone([](const void *it, gru_worker *me) { (*static_cast<const decltype(call) *>(it))(me); },
                             &call);
        }
        Job job;
        job.work = [](const void *bytes, gru_worker *me) {
            const Call &call = *static_cast<const Call *>(bytes);
            call.work(call.argument, me);
        };
        job.workers = workers;
        job.shards = shards;
        Call call = {work, argument};
        std::memcpy(job.argument, &call, sizeof call);
        run(job);
    }

  private:
    void run(const Job &job);
    void run_alone(void (*work)(const void *argument, gru_worker *), const void *argument);  // without a copy
};

// f(shard) for every shard of a phase, each by one of the workers; ends when all are done.
template <class F>
inline void each_shard(gru_worker *me, F f) {
    if (me->shards == 1) return f(0);
    for (int shard; (shard = me->claim(me)) >= 0;) {
        f(shard);
        me->done(me);
    }
    me->next(me);
}

}  // namespace grus

#endif
