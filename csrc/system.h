// What differs from system to system: aligned memory, fork, and which core a thread runs on.
#ifndef GRUS_SYSTEM_H
#define GRUS_SYSTEM_H

#include <stddef.h>

#include <string>

namespace grus {

// Memory aligned to 64 bytes; null where there is none. Only free_aligned takes it back.
void *allocate_aligned(size_t bytes);
void free_aligned(void *memory);

// Functions that run around every fork, none of them where it is null; where no process forks, nothing is kept.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// How many cores this process may use, by affinity and quota, at least 1.
int cores();

// The CPUs that Linux' control groups, of version 1 or 2, let this process have, rounded up; 0: all. The least of its
// own and those around it; `root` stands in front of the system's paths.
int quota(const std::string &root);

// The core the calling thread runs on; -1 where the system does not tell.
int core();

// Moves the calling thread to another core, where it has one, without binding it there.
void leave_core(int taken);

}  // namespace grus

#endif
