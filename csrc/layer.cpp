#include "layer.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "pack.h"
#include "team.h"

namespace grus {
namespace {

constexpr int64_t PROJECTED_FLOATS = 1 << 16;   // a worker's chunk of projected steps: 256 KB, a part of its L2
constexpr int64_t BACKWARD_FLOATS = 1 << 19;    // a chunk of the backward pass: 2 MB, what the cores' L2 hold together
constexpr int64_t BACKWARD_ROWS = 512;          // but no fewer rows: each chunk adds to all the weight gradients
constexpr int64_t NORMALISED_ROWS = 128;        // the same where products are normalised: rows are twice as long
constexpr int64_t SHARED_FLOPS = 1 << 19;       // a call below this is not worth waking a second worker
constexpr int64_t STEP_FLOPS = 1 << 15;         // nor is a step, where workers must meet after each
constexpr int64_t STEP_BACK_FLOPS = 1 << 16;    // the way back meets twice as often
constexpr int64_t STATIONARY_FLOATS = 1 << 18;  // recurrent weights that a core's L2 keeps between steps

// How a call is shared out: rows of the batch while each worker gets enough of them and keeps the weights in its L2,
// else the units where a step has `least` flops.
struct Sharing {
    int workers;
    bool units;
};

Sharing sharing(int64_t T, int64_t B, int64_t I, int64_t H, const gru_kernels *table, int threads, int64_t least) {
    double flops = 6.0 * static_cast<double>(B * H * (I + H));
    if (threads <= 1 || flops * static_cast<double>(T) < SHARED_FLOPS) return {1, false};
    int64_t tile = table->tile, some = threads * std::max<int64_t>(1, tile / 2);
    bool rows = B >= some && (3 * H * H <= STATIONARY_FLOATS || B >= threads * tile * 4);
    if (rows) return {threads, false};
    int workers = static_cast<int>(std::min<int64_t>(threads, tiles(H, table->width)));
    if (flops >= static_cast<double>(least) && workers > 1) return {workers, true};
    return {static_cast<int>(std::min<int64_t>(threads, B)), false};
}

int64_t least_step(const gru_forward &) { return STEP_FLOPS; }
int64_t least_step(const gru_backward &) { return STEP_BACK_FLOPS; }

// Rows go out in twice as many shards as there are workers while the shards stay full tiles and the weights in L2: the
// work of a core that another process has is then taken over.
int row_shards(int64_t B, int64_t H, const gru_kernels *table, int workers) {
    bool split = workers > 1 && B >= 2 * workers * table->tile && 3 * H * H <= STATIONARY_FLOATS;
    return std::min(split ? 2 * workers : workers, MAX_SHARDS);
}

bool copies_states(const gru_extras &more) { return more.marks || more.drop; }

template <class F>
void each_array(const gru_weights &w, F f) {
    f(w.weight_ih, w.gain_hh ? 0 : 3 * w.H * w.I);
    f(w.weight_hh, 3 * w.H * w.H);
    f(w.bias_ih, 3 * w.H);
    f(w.bias_hh, 3 * w.H);
    f(w.gain_hh, w.gain_hh ? 3 * w.H : 0);
}

// The workers of a call, and the shards it is cut into.
struct Crew {
    Region region;
    bool units;
    int shards;

    Crew(const Sharing &how, int64_t B, int64_t H, const gru_kernels *table) : region(how.workers) {
        units = how.units && region.count() > 1;
        shards = units ? region.count() : row_shards(B, H, table, region.count());
    }
};

template <class Task>
struct Call {
    const gru_kernels *table;
    gru_packed packed;
    Task task;
};

template <class Task>
struct BothCall {
    const Call<Task> *calls;
};

void compute(const gru_kernels *table, const gru_packed *packed, const gru_forward *task, gru_worker *me) {
    table->forward(packed, task, me);
}

void compute(const gru_kernels *table, const gru_packed *packed, const gru_backward *task, gru_worker *me) {
    table->backward(packed, task, me);
}

struct DenseCall {
    const gru_kernels *table;
    gru_dense task;
};

struct NormaliseCall {
    const gru_kernels *table;
    gru_normalise task;
};

struct ActivationCall {
    const gru_kernels *table;
    float *dst;
    const float *src;
    int64_t n;
    int function;
};

}  // namespace

Layer::Layer(const gru_weights &given, const gru_kernels *kernels, bool training, bool keep) : table(kernels) {
    int64_t I = given.I, H = given.H, V = table->width, panels = tiles(H, V), HP = panels * V;
    packed.I = I, packed.H = H, packed.HP = HP, packed.reset_after = given.reset_after;
    int64_t by_input = given.gain_hh ? 0 : 3 * HP * I, by_input_back = given.gain_hh ? 0 : tiles(I, V) * V * 3 * HP;
    memory = allocate(by_input + HP * (3 * H + 5 + (given.gain_hh ? 3 : 0)));
    packed.W = given.gain_hh ? nullptr : memory.get();
    packed.U = memory.get() + by_input;
    packed.U_n = packed.U + 2 * HP * H;
    packed.bias = packed.U + 3 * HP * H;
    float *first_state = packed.bias + 4 * HP;
    std::fill(first_state, first_state + HP, 0.0f);
    zeros = first_state;
    if (training) {
        back = allocate(by_input_back + HP * 3 * HP);
        packed.Wt = given.gain_hh ? nullptr : back.get();
        packed.Ut = back.get() + by_input_back;
        packed.Ut_n = packed.Ut + HP * 2 * HP;
    }
    if (given.gain_hh) {
        packed.gain = first_state + HP;
        table->pack(packed.gain, given.gain_hh, H, 1, 3, H, 1, 1);
    }
    pack_panels(table, packed, given);
    for (int64_t j = 0; j < panels; j++)
        for (int64_t lane = 0; lane < V; lane++) {
            int64_t unit = j * V + lane;
            float *to = packed.bias + j * 4 * V + lane;
            auto at = [&](const float *bias, int gate) { return bias && unit < H ? bias[gate * H + unit] : 0.0f; };
            to[0] = at(given.bias_ih, 0) + at(given.bias_hh, 0);
            to[V] = at(given.bias_ih, 1) + at(given.bias_hh, 1);
            to[2 * V] = at(given.bias_ih, 2) + (given.reset_after ? 0.0f : at(given.bias_hh, 2));
            to[3 * V] = at(given.bias_hh, 2);
        }
    if (keep) {
        kept = allocate(3 * H * (I + H + 3));
        float *to = kept.get();
        each_array(given, [&](const float *from, int64_t floats) {
            if (from)
                std::memcpy(to, from, sizeof(float) * static_cast<size_t>(floats));
            else
                std::fill(to, to + floats, 0.0f);
            to += floats;
        });
    }
}

bool Layer::holds(const gru_weights &given) const {
    if (!kept || given.I != packed.I || given.H != packed.H || given.reset_after != packed.reset_after) return false;
    if ((given.gain_hh != nullptr) != (packed.gain != nullptr)) return false;
    const float *mine = kept.get();
    bool same = true;
    each_array(given, [&](const float *theirs, int64_t floats) {
        if (theirs)
            same = same && std::memcmp(mine, theirs, sizeof(float) * static_cast<size_t>(floats)) == 0;
        else
            same = same && std::all_of(mine, mine + floats, [](float value) { return value == 0.0f; });
        mine += floats;
    });
    return same;
}

Gates Layer::gates(int64_t T, int64_t B, int64_t steps) const {
    return {T - steps, steps, B, packed.HP, packed.H, allocate(steps * B * 4 * packed.HP)};
}

int64_t Layer::plan(gru_forward &f, bool units, int shards, const Gates *gates) const {
    int64_t V = table->width, HP = packed.HP;
    if (gates) f.gates = gates->memory.get(), f.gates_from = gates->from;
    if (!f.h0) f.h0 = zeros, f.h_b = 0;
    f.shard_units = units;
    int64_t rows = units ? f.B : tiles(f.B, shards);
    int64_t step = rows * (units ? tiles(HP / V, shards) : HP / V) * 3 * V;
    f.chunk = std::min(f.T, std::max<int64_t>(1, PROJECTED_FLOATS / step));
    f.projected_size = f.chunk * step;
    f.states_size = copies_states(f.more) ? 2 * rows * HP : 0;
    return (f.projected_size + f.states_size) * shards + (packed.reset_after ? 0 : 2 * f.B * HP) +
           (packed.gain ? 3 * f.B * HP : 0);
}

void Layer::place(gru_forward &f, int shards, float *scratch) const {
    f.projected = scratch;
    f.states = f.projected + f.projected_size * shards;
    f.reset = f.states + f.states_size * shards;
    f.raw = f.reset + (packed.reset_after ? 0 : 2 * f.B * packed.HP);
}

int64_t Layer::plan(gru_backward &f, bool units, int, const Gates *gates) const {
    int64_t V = table->width, HP = packed.HP;
    if (gates) f.saved = gates->memory.get(), f.saved_from = gates->from;
    if (!f.h0) f.h0 = zeros, f.h_b = 0;
    f.shard_units = units;
    f.gates_row = packed.gain ? 11 * HP + V : 5 * HP;
    f.operands = (packed.gain ? 0 : tiles(packed.I, V) * V) + (packed.reset_after ? HP : 2 * HP);
    int64_t least = packed.gain ? NORMALISED_ROWS : BACKWARD_ROWS;
    int64_t row = f.gates_row + f.operands, steps = std::max(BACKWARD_FLOATS / (row * f.B), least / f.B);
    f.chunk = std::min(f.T, std::max<int64_t>(1, steps));
    return f.chunk * f.B * row + f.B * HP + (copies_states(f.more) ? 2 * f.chunk * f.B * HP : 0);
}

void Layer::place(gru_backward &f, int, float *scratch) const {
    f.gates = scratch;
    f.rows = f.gates + f.chunk * f.B * f.gates_row;
    f.carry = f.rows + f.chunk * f.B * f.operands;
    f.states = f.carry + f.B * packed.HP;
}

template <class Task>
void Layer::run(Task f, int threads, const Gates *gates) const {
    Crew crew(sharing(f.T, f.B, packed.I, packed.H, table, threads, least_step(f)), f.B, packed.H, table);
    place(f, crew.shards, scratch(plan(f, crew.units, crew.shards, gates)));
    auto work = [](const Call<Task> &call, gru_worker *me) { compute(call.table, &call.packed, &call.task, me); };
    crew.region.run<Call<Task>>(work, {table, packed, f}, crew.shards);
}

void Layer::finish(const gru_forward &f, float *h_n) const {
    int64_t H = packed.H;
    const float *last = f.y + (f.reverse ? 0 : (f.T - 1) * f.y_t);
    for (int64_t b = 0; b < f.B; b++) std::copy_n(last + b * f.y_b, H, h_n + b * H);
    if (!f.more.marks) return;
    for (int64_t t = 0; t < f.T; t++)
        for (int64_t b = 0; b < f.B; b++)
            if (f.more.marks[t * f.B + b] & GRU_SKIP) std::fill_n(f.y + t * f.y_t + b * f.y_b, H, 0.0f);
}

void Layer::forward(gru_forward f, int threads, const Gates *gates, float *h_n) const {
    run(f, threads, gates);
    if (h_n) finish(f, h_n);
}

void Layer::backward(gru_backward f, int threads, const Gates *gates) const { run(f, threads, gates); }

// Where a call alone would have one worker, or two that meet after every step, and each core keeps its weights in L2.
bool Layer::better_alone(int64_t T, int64_t B, int threads) const {
    Sharing how = sharing(T, B, packed.I, packed.H, table, threads, STEP_FLOPS);
    double flops = 6.0 * static_cast<double>(T * B * packed.H * (packed.I + packed.H));
    bool worth = threads >= 2 && 2 * flops >= SHARED_FLOPS && 3 * packed.H * packed.H <= STATIONARY_FLOATS;
    return worth && (how.workers == 1 || (how.units && how.workers == 2));
}

template <class Task>
void Layer::at_once(const Half<Task> &first, const Half<Task> &second) {
    Call<Task> calls[] = {{first.layer->table, first.layer->packed, first.task},
                          {second.layer->table, second.layer->packed, second.task}};
    int64_t floats = tiles(first.layer->plan(calls[0].task, false, 1, first.gates), 16) * 16;
    float *memory = scratch(floats + second.layer->plan(calls[1].task, false, 1, second.gates));
    first.layer->place(calls[0].task, 1, memory);
    second.layer->place(calls[1].task, 1, memory + floats);
    auto work = [](const BothCall<Task> &both, gru_worker *me) {
        auto one = [&](int i) {
            gru_worker alone = {};
            alone.shards = 1;
            compute(both.calls[i].table, &both.calls[i].packed, &both.calls[i].task, &alone);
        };
        if (me->shards == 1)
            for (int i = 0; i < 2; i++) one(i);
        else
            each_shard(me, one);
    };
    Region region(2);
    region.run<BothCall<Task>>(work, {calls}, region.count());
}

void both(const Half<gru_forward> &first, const Half<gru_forward> &second, int threads) {
    if (!first.layer->better_alone(first.task.T, first.task.B, threads)) {
        for (const auto *half : {&first, &second}) half->layer->forward(half->task, threads, half->gates, half->h_n);
        return;
    }
    Layer::at_once(first, second);
    for (const auto *half : {&first, &second}) half->layer->finish(half->task, half->h_n);
}

// Where both add to one dx, the second does so by way of memory of its own.
void both(const Half<gru_backward> &first, const Half<gru_backward> &second, int threads) {
    const gru_backward &f = second.task;
    if (!first.layer->better_alone(f.T, f.B, threads)) {
        for (const auto *half : {&first, &second}) half->layer->backward(half->task, threads, half->gates);
        return;
    }
    int64_t I = second.layer->packed.I, floats = f.dx && f.add_dx ? f.T * f.B * I : 0;
    Buffer dx = allocate(floats);
    Half<gru_backward> own = second;
    if (floats) own.task.dx = dx.get(), own.task.dx_t = f.B * I, own.task.dx_b = I, own.task.add_dx = 0;
    Layer::at_once(first, own);
    for (int64_t t = 0; floats && t < f.T; t++)
        for (int64_t b = 0; b < f.B; b++)
            std::transform(&dx[(t * f.B + b) * I], &dx[(t * f.B + b) * I] + I, f.dx + t * f.dx_t + b * f.dx_b,
                           f.dx + t * f.dx_t + b * f.dx_b, std::plus<float>());
}

Dense::Dense(const float *weight, const float *bias, int64_t outputs, int64_t inputs, const gru_kernels *kernels)
    : table(kernels), K(inputs), O(outputs) {
    int64_t V = table->width, OP = tiles(O, V) * V;
    memory = allocate(OP * K + OP);
    table->pack(memory.get(), weight, O, K, 1, 0, K, 1);
    for (int64_t o = 0; o < OP; o++) memory[OP * K + o] = bias && o < O ? bias[o] : 0.0f;
}

void Dense::operator()(const float *x, int64_t x_r, float *y, int64_t y_r, int64_t rows, int threads) const {
    int64_t V = table->width, OP = tiles(O, V) * V;
    bool alone = 2.0 * static_cast<double>(rows * K * O) < SHARED_FLOPS;
    Region region(alone ? 1 : static_cast<int>(std::min<int64_t>(threads, rows)));
    auto work = [](const DenseCall &call, gru_worker *me) { call.table->dense(&call.task, me); };
    gru_dense task = {rows, K, O, x, x_r, y, y_r, memory.get(), memory.get() + OP * K};
    region.run<DenseCall>(work, {table, task}, region.count());
}

void normalise(gru_normalise f, const gru_kernels *table, int threads) {
    bool alone = f.rows * f.H * 64 < SHARED_FLOPS;
    Region region(alone ? 1 : static_cast<int>(std::min<int64_t>(threads, f.rows)));
    if (!f.y) f.sums = scratch(region.count() * 6 * f.H);
    auto work = [](const NormaliseCall &call, gru_worker *me) {
        (call.task.y ? call.table->normalise : call.table->normalise_back)(&call.task, me);
    };
    region.run<NormaliseCall>(work, {table, f}, region.count());
}

void activation(float *dst, const float *src, int64_t n, int function, const gru_kernels *table) {
    auto work = [](const ActivationCall &call, gru_worker *) {
        call.table->activation(call.dst, call.src, call.n, call.function);
    };
    Region(1).run<ActivationCall>(work, {table, dst, src, n, function}, 1);
}

}  // namespace grus
