// The threads: workers that wait between calls, one parallel region for a whole sequence, one barrier.
#ifndef GRUS_TEAM_H
#define GRUS_TEAM_H

#include "gru.h"

namespace grus {

// How many workers a region may have: GRUS_NUM_THREADS, or what affinity and the cgroup allow, or what was set.
int threads();
void set_threads(int count);

// Runs job(argument, worker) on up to `wanted` threads, the caller's being worker 0, and returns when all are done.
// Where another call holds the workers, or none can be started, the caller runs alone. `prepare` is told the number of
// workers before any of them starts. Denormals count as zero inside; the caller's floating-point mode is kept.
void run(int wanted, void (*prepare)(void *argument, int count), void (*job)(void *argument, const gru_worker *),
         void *argument);

}  // namespace grus

#endif
