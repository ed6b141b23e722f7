// Aligned memory, and what of it is kept from call to call.
#ifndef GRUS_MEMORY_H
#define GRUS_MEMORY_H

#include <stdint.h>

#include <memory>

namespace grus {

// Memory aligned to 64 bytes. What is given back is kept for the next of its size, some of it: a training step packs
// the same weights again, and fresh pages cost more than the packing.
struct give_back {
    int64_t floats;
    void operator()(float *p) const;
};
using Buffer = std::unique_ptr<float[], give_back>;
Buffer allocate(int64_t floats);

// Scratch that a thread keeps from call to call, so that a step allocates nothing.
float *scratch(int64_t floats);

}  // namespace grus

#endif
