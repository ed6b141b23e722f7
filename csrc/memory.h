// Aligned memory, and what of it is kept from call to call.
#ifndef GRUS_MEMORY_H
#define GRUS_MEMORY_H

#include <stdint.h>

#include <memory>
#include <type_traits>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

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

// Arrays that share a piece of memory, each from a cache line of its own: `list(each)` calls each(array, floats) for
// all of them, in their order. Their floats together, and their places from `memory` on. Under a sanitizer none touches
// the next, and what lies between is poisoned.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t BETWEEN = 64;
#else
constexpr int64_t BETWEEN = 0;
#define ASAN_POISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#endif

constexpr int64_t line(int64_t floats) { return (floats + 15) / 16 * 16 + BETWEEN; }

template <class List>
int64_t floats_of(List list) {
    int64_t sum = 0;
    list([&](auto *, int64_t floats) { sum += line(floats); });
    return sum;
}

template <class List>
void place(List list, float *memory) {
    list([&](auto *&array, int64_t floats) {
        array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(memory);
        float *end = memory + floats;
        memory += line(floats);
        ASAN_POISON_MEMORY_REGION(end, sizeof(float) * static_cast<size_t>(memory - end));
    });
}

}  // namespace grus

#endif
