#include "passes.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "layout.h"
#include "pack.h"
#include "sharing.h"

namespace grus {
namespace {

constexpr int64_t PROJECTED_FLOATS = 1 << 16;  // a worker's chunk of projected steps: 256 KB, a part of its L2
constexpr int64_t BACKWARD_FLOATS = 1 << 19;   // a chunk of the backward pass: 2 MB, what the cores' L2 hold together
constexpr int64_t BACKWARD_ROWS = 512;         // but no fewer rows: each chunk adds to all the weight gradients
constexpr int64_t NORMALISED_ROWS = 128;       // the same where products are normalised: rows are twice as long

void plan(gru_forward &f, const Layer &layer, bool units, int shards) {
    int64_t V = layer.table()->width, HP = layer.weights().HP;
    int64_t rows = units ? f.B : tiles(f.B, shards);
    int64_t step = rows * (units ? tiles(HP / V, shards) : HP / V) * 3 * V;
    f.chunk = std::min(f.T, std::max<int64_t>(1, PROJECTED_FLOATS / step));
    f.projected_size = f.chunk * step;
    f.inputs_size = f.chunk * rows * layer.weights().I;
    f.states_size = rows * (copied(layer.weights(), f.more) + dropped(layer.weights(), f.more));
    f.turned_size = turned_size(layer.weights(), V, f.T * f.B > layer.table()->tile);
}

void plan(gru_backward &f, const Layer &layer, bool, int) {
    const gru_packed &w = layer.weights();
    int64_t V = layer.table()->width;
    f.slots_row = slots_row(w, V);
    int64_t row = f.slots_row + operand_x_row(w, V) + (w.reset_after ? w.HP : 2 * w.HP);
    int64_t least = normalises(w) ? NORMALISED_ROWS : BACKWARD_ROWS;
    int64_t steps = std::max(BACKWARD_FLOATS / (row * f.B), least / f.B);
    f.chunk = std::min(f.T, std::max<int64_t>(1, steps));
    f.turned_size = std::max(turned_size(w, V, f.T * f.B > layer.table()->tile), waiting_sums(w, V));
}

bool ends_early(const gru_sequence &q) {
    auto skips = [](uint8_t marks) { return (marks & GRU_SKIP) != 0; };
    return q.more.marks && std::any_of(q.more.marks, q.more.marks + q.T * q.B, skips);
}

// The order of the rows: those with the most steps first, or dealt out in turn to shards that are walked at once, each
// by a worker of its own.
void arrange(const gru_sequence &q, gru_ends &ends, int shards) {
    std::vector<int64_t> steps(static_cast<size_t>(q.B));
    ends.before[0] = 0;
    for (int64_t s = 0; s < q.T; s++) {
        const uint8_t *marks = q.more.marks + (q.reverse ? q.T - 1 - s : s) * q.B;
        int64_t rows = 0;
        for (int64_t b = 0; b < q.B; b++)
            if (!(marks[b] & GRU_SKIP)) rows++, steps[static_cast<size_t>(b)]++;
        ends.before[s + 1] = ends.before[s] + rows;
    }
    int64_t rows = q.B, t = 0;
    for (int64_t &few : ends.few) {
        rows /= 2;
        auto have = [&](int64_t s) { return ends.before[s + 1] - ends.before[s]; };
        while (t < q.T && have(q.reverse ? q.T - 1 - t : t) > rows) t++;
        few = t;
    }
    std::vector<int32_t> sorted(static_cast<size_t>(q.B));
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
        return steps[static_cast<size_t>(a)] > steps[static_cast<size_t>(b)];
    });
    int32_t rank = 0;
    for (int64_t turn = 0; rank < q.B; turn++)
        for (int64_t shard = 0; shard < shards; shard++) {
            int64_t place = q.B * shard / shards + turn;
            if (place >= q.B * (shard + 1) / shards) continue;
            ends.order[place] = sorted[static_cast<size_t>(rank)];
            ends.rank[place] = rank++;
        }
}

// The gates of which steps are kept in the memory for them, where only rows that have a step need any.
void keep_close(gru_sequence &q, gru_ends &ends) {
    if (!q.saved || q.saved_from == 0) return;
    int64_t rows = (q.T - q.saved_from) * q.B;
    ends.close = true;
    while (q.saved_from > 0 && ends.before[q.T] - ends.before[q.saved_from - 1] <= rows) q.saved_from--;
}

// Nothing is turned yet.
void unmark(gru_forward &f, const gru_packed &w, int64_t V, int shards) {
    if (turns_for_all(w, f)) std::fill_n(f.turned_marks, turned_marks(w, V) * shards, 0.0f);
}
void unmark(gru_backward &, const gru_packed &, int64_t, int) {}

// A planned call with all that computes it, for the workers to copy; `arrays` lists its scratch.
template <class Task>
struct Work {
    const gru_kernels *table;
    gru_packed weights;
    Task task;
    int shards;
    bool early;

    template <class Call>
    Work(const Layer &layer, const Call &call, bool units, int count)
        : table(layer.table()), weights(layer.weights()), task{}, shards(count), early(ends_early(call)) {
        static_cast<Call &>(task) = call;
        if (!call.h0) task.h0 = layer.first_state(), task.h_b = 0;
        task.shard_units = units;
        plan(task, layer, units, shards);
    }

    template <class Each>
    void arrays(Each each) {
        each_scratch(task, weights, table->width, shards, early, each);
    }

    // once they have their places
    void begin(int dealt) {
        unmark(task, weights, table->width, shards);
        if (!early) {
            task.ends = {};
            return;
        }
        arrange(task, task.ends, dealt);
        keep_close(task, task.ends);
    }
};

int64_t least_step(const gru_forward_call &) { return STEP_FLOPS; }
int64_t least_step(const gru_backward_call &) { return STEP_BACK_FLOPS; }

// Forward, every worker that has rows turns all weights as they are given; one that has units turns its own.
bool by_rows(const Layer &layer, const gru_forward_call &) { return !layer.weights().given; }
bool by_rows(const Layer &, const gru_backward_call &) { return true; }

void compute(const Work<gru_forward> &work, gru_worker *me) {
    (work.weights.given ? work.table->forward_given : work.table->forward)(&work.weights, &work.task, me);
}
void compute(const Work<gru_backward> &work, gru_worker *me) {
    (work.weights.given ? work.table->backward_given : work.table->backward)(&work.weights, &work.task, me);
}

// Whether each of a pass' workers walks through the rows of one shard. Else there are more shards, and who is done
// takes the next; or the way back shares out the rows of every chunk anew.
bool deals(const gru_forward &, const Crew &crew) { return !crew.units && crew.shards == crew.region.count(); }
bool deals(const gru_backward &, const Crew &) { return false; }

template <class Task, class Call>
void run(const Layer &layer, const Call &call, int threads) {
    Crew crew(sharing(layer, call, threads, least_step(call), by_rows(layer, call)), layer, call);
    Work<Task> work(layer, call, crew.units, crew.shards);
    auto arrays = [&](auto each) { work.arrays(each); };
    place(arrays, scratch(floats_of(arrays)));
    work.begin(deals(work.task, crew) ? crew.shards : 1);
    crew.region.run<Work<Task>>(compute, work, crew.shards);
}

template <class Task, class Call>
void at_once(const Half<Call> &first, const Half<Call> &second) {
    struct Pair {
        Work<Task> *halves;
    };
    Work<Task> halves[] = {{first.layer, first.call, false, 1}, {second.layer, second.call, false, 1}};
    auto arrays = [&](auto each) {
        for (auto &half : halves) half.arrays(each);
    };
    place(arrays, scratch(floats_of(arrays)));
    for (auto &half : halves) half.begin(1);
    auto each = [](const Pair &pair, gru_worker *me) {
        auto one = [&](int i) {
            gru_worker alone = {};
            alone.shards = 1;
            compute(pair.halves[i], &alone);
        };
        if (me->shards == 1)
            for (int i = 0; i < 2; i++) one(i);
        else
            each_shard(me, one);
    };
    Region region(2);
    region.run<Pair>(each, {halves}, region.count());
}

// Where a call alone would have one worker, or two that meet after every step, and each core keeps its weights in L2.
template <class Call>
bool better_at_once(const Half<Call> &half, int threads) {
    Sharing how = sharing(half.layer, half.call, threads, STEP_FLOPS);
    double flops = step_flops(half.layer, half.call) * static_cast<double>(half.call.T);
    bool worth = threads >= 2 && 2 * flops >= SHARED_FLOPS && stationary(half.layer);
    return worth && (how.workers == 1 || (how.units && how.workers == 2));
}

// Zeros where a step is skipped, and h_n: the state of a row after its last step, or what it began with.
void finish(const Layer &layer, const gru_forward_call &f) {
    int64_t H = layer.hidden_size();
    for (int64_t b = 0; b < f.B; b++) {
        int64_t steps = f.T;
        for (; f.more.marks && steps > 0 && (f.more.marks[(steps - 1) * f.B + b] & GRU_SKIP); steps--)
            std::fill_n(f.y + (steps - 1) * f.y_t + b * f.y_b, H, 0.0f);
        const float *first = f.h0 ? f.h0 + b * f.h_b : layer.first_state();
        const float *last = f.y + (f.reverse ? 0 : steps - 1) * f.y_t + b * f.y_b;
        if (f.h_n) std::copy_n(steps ? last : first, H, f.h_n + b * H);
    }
}

}  // namespace

void forward(const Layer &layer, const gru_forward_call &call, int threads) {
    run<gru_forward>(layer, call, threads);
    finish(layer, call);
}

void backward(const Layer &layer, const gru_backward_call &call, int threads) {
    run<gru_backward>(layer, call, threads);
}

void both(const Half<gru_forward_call> &first, const Half<gru_forward_call> &second, int threads) {
    if (!better_at_once(first, threads)) {
        for (const auto *half : {&first, &second}) forward(half->layer, half->call, threads);
        return;
    }
    at_once<gru_forward>(first, second);
    for (const auto *half : {&first, &second}) finish(half->layer, half->call);
}

// Where both add to one dx, the second does so by way of memory of its own.
void both(const Half<gru_backward_call> &first, const Half<gru_backward_call> &second, int threads) {
    if (!better_at_once(first, threads)) {
        for (const auto *half : {&first, &second}) backward(half->layer, half->call, threads);
        return;
    }
    const gru_backward_call &f = second.call;
    int64_t I = second.layer.input_size(), floats = f.dx && f.add_dx ? f.T * f.B * I : 0;
    Buffer dx = allocate(floats);
    Half<gru_backward_call> own = second;
    if (floats) own.call.dx = dx.get(), own.call.dx_t = f.B * I, own.call.dx_b = I, own.call.add_dx = 0;
    at_once<gru_backward>(first, own);
    for (int64_t t = 0; floats && t < f.T; t++)
        for (int64_t b = 0; b < f.B; b++)
            std::transform(&dx[(t * f.B + b) * I], &dx[(t * f.B + b) * I] + I, f.dx + t * f.dx_t + b * f.dx_b,
                           f.dx + t * f.dx_t + b * f.dx_b, std::plus<float>());
}

}  // namespace grus
