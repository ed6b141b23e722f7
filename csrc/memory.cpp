#include "memory.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <mutex>
#include <new>

#include "system.h"

namespace grus {
namespace {

constexpr int64_t SPARE_FLOATS = BETWEEN ? 0 : 1 << 24;  // memory kept for the next layer: 64 MB; sanitizers see none
constexpr size_t SPARE_BUFFERS = 64;                     // in so many pieces
constexpr int64_t LEAST_FLOATS = 1 << 14;                // of 64 KB and more; malloc is good at smaller ones

struct Spare {  // buffers given back, the latest last; never destroyed, for threads may outlive main
    struct Kept {
        int64_t floats;
        float *memory;
    };
    std::mutex mutex;
    std::deque<Kept> buffers;
    int64_t floats = 0;

    static Spare &instance() {
        static Spare *spare = [] {
            at_fork([] { instance().mutex.lock(); }, [] { instance().mutex.unlock(); },
                    [] { instance().mutex.unlock(); });
            return new Spare;
        }();
        return *spare;
    }
};

}  // namespace

void give_back::operator()(float *p) const {
    if (!p) return;
    if (floats < LEAST_FLOATS) return free_aligned(p);
    Spare &spare = Spare::instance();
    std::lock_guard<std::mutex> lock(spare.mutex);
    spare.buffers.push_back({floats, p});
    spare.floats += floats;
    while (spare.floats > SPARE_FLOATS || spare.buffers.size() > SPARE_BUFFERS) {
        spare.floats -= spare.buffers.front().floats;
        free_aligned(spare.buffers.front().memory);
        spare.buffers.pop_front();
    }
}

Buffer allocate(int64_t floats) {
    floats = (std::max<int64_t>(floats, 1) + 15) / 16 * 16;
    if (floats >= LEAST_FLOATS) {
        Spare &spare = Spare::instance();
        std::lock_guard<std::mutex> lock(spare.mutex);
        for (auto it = spare.buffers.rbegin(); it != spare.buffers.rend(); ++it)
            if (it->floats == floats) {
                float *memory = it->memory;
                spare.floats -= floats;
                spare.buffers.erase(std::next(it).base());
                return Buffer(memory, {floats});
            }
    }
    void *p = allocate_aligned(sizeof(float) * static_cast<size_t>(floats));
    if (!p) throw std::bad_alloc();
    return Buffer(static_cast<float *>(p), {floats});
}

float *scratch(int64_t floats) {
    thread_local Buffer buffer;
    thread_local int64_t size = 0;
    if (floats > size) {
        buffer.reset();
        size = 0;
        buffer = allocate(floats);
        size = floats;
    }
    ASAN_UNPOISON_MEMORY_REGION(buffer.get(), sizeof(float) * static_cast<size_t>(size));
    return buffer.get();
}

}  // namespace grus
