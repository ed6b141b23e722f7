// The kernels behind a pipe: requests on standard input, answers on standard output, until it is closed. Built for an
// instruction set that this machine lacks and run by an emulator, it lets tests/emulated.py run the tests there.
//
// A request is a `Request` and the rows of its arrays; the answer an int64 and that many bytes of an error message, or
// 0 and the rows of the results. Inside, rows lie apart with canaries between and around them: what is written there,
// or a floating-point mode that has changed, is an error.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "layer.h"
#include "passes.h"
#include "rows.h"

namespace {

enum Operation : int64_t { ISAS, FORWARD, BACKWARD, DENSE, NORMALISE, ACTIVATION };
// The arrays of a request, and the results wanted, that there may be or not. AS_GIVEN: the weights are not packed.
enum Given : int64_t {
    H0 = 1 << 0,
    DY = 1 << 1,
    DH_N = 1 << 2,
    DX = 1 << 3,
    DU = 1 << 4,
    BIAS_IH = 1 << 5,
    BIAS_HH = 1 << 6,
    GAIN = 1 << 7,
    MARKS = 1 << 8,
    RESTART = 1 << 9,
    ZONE = 1 << 10,
    DROP = 1 << 11,
    H_N = 1 << 12,
    DRESTART = 1 << 13,
    ADD_DX = 1 << 14,
    AS_GIVEN = 1 << 15
};

struct Request {
    int64_t operation, T, B, I, H;  // DENSE: x [B, I], y [B, H]; NORMALISE: x [B, 3H]; ACTIVATION: x [B]
    int64_t reset_after, reverse, threads, given, function;
    int64_t save;  // steps whose gates the forward pass saves
    double zone_all;
    char isa[16];

    bool has(Given what) const { return (given & what) != 0; }
};

void read(void *to, size_t size, size_t count) {
    if (std::fread(to, size, count, stdin) != count) std::exit(1);
}

constexpr float CANARY = 1.25e30f;
constexpr int64_t GAP = 3, AROUND = 32;

// [rows, columns], contiguous or with a gap after each row
class Matrix {
    int64_t rows, columns;
    std::vector<float> memory;

    bool inside(int64_t i) const {
        i -= AROUND;
        return i >= 0 && i < rows * stride && i % stride < columns;
    }

  public:
    const int64_t stride;
    float *const data;

    Matrix(int64_t rows, int64_t columns, bool contiguous = false)
        : rows(rows),
          columns(columns),
          memory(static_cast<size_t>(2 * AROUND + rows * (columns + GAP)), CANARY),
          stride(columns + (contiguous ? 0 : GAP)),
          data(memory.data() + AROUND) {}
    Matrix(const Matrix &) = delete;

    void read(bool there = true) {
        for (int64_t r = 0; there && r < rows; r++)
            ::read(data + r * stride, sizeof(float), static_cast<size_t>(columns));
    }
    void write() const {
        for (int64_t r = 0; r < rows; r++)
            std::fwrite(data + r * stride, sizeof(float), static_cast<size_t>(columns), stdout);
    }
    void check(const char *name) const {
        for (size_t i = 0; i < memory.size(); i++)
            if (!inside(static_cast<int64_t>(i)) && memory[i] != CANARY)
                throw std::runtime_error(std::string("written outside of ") + name);
    }
};

using Results = std::vector<std::pair<const char *, const Matrix *>>;

void answer(const std::string &error, const Results &results) {
    auto length = static_cast<int64_t>(error.size());
    std::fwrite(&length, sizeof length, 1, stdout);
    std::fwrite(error.data(), 1, error.size(), stdout);
    for (const auto &result : results) result.second->write();
    std::fflush(stdout);
}

// Runs the work, looks at what it left behind, and answers.
template <class F>
void work(const Results &results, F f) {
    std::string error;
    try {
        f();
        volatile float denormal = 1e-40f;
        if (denormal * 0.5f == 0.0f) throw std::runtime_error("the floating-point mode was not restored");
        for (const auto &result : results) result.second->check(result.first);
    } catch (const std::exception &e) {
        error = e.what();
    }
    answer(error, error.empty() ? results : Results());
}

// With a gain there is no W, and x is as long as what W would make of it.
struct Weights {
    Matrix W, U, b_i, b_h, gain;
    gru_weights all;

    explicit Weights(const Request &q)
        : W(3 * q.H, q.I, true),
          U(3 * q.H, q.H, true),
          b_i(1, 3 * q.H, true),
          b_h(1, 3 * q.H, true),
          gain(1, 3 * q.H, true) {
        W.read(!q.has(GAIN)), U.read(), b_i.read(q.has(BIAS_IH)), b_h.read(q.has(BIAS_HH)), gain.read(q.has(GAIN));
        all = {q.I,
               q.H,
               q.reset_after != 0,
               q.has(GAIN) ? nullptr : W.data,
               U.data,
               q.has(BIAS_IH) ? b_i.data : nullptr,
               q.has(BIAS_HH) ? b_h.data : nullptr,
               q.has(GAIN) ? gain.data : nullptr};
    }

    grus::Layer layer(const Request &q, bool training) const {
        const gru_kernels *table = grus::kernels(q.isa);
        return q.has(AS_GIVEN) ? grus::Layer::as_given(all, table) : grus::Layer(all, table, training);
    }
};

// What both passes are given.
struct Sequence {
    const Request &q;
    Matrix x, h0, restart, zone, drop, y;
    std::vector<uint8_t> marks;

    explicit Sequence(const Request &q)
        : q(q),
          x(q.T * q.B, q.I),
          h0(q.B, q.H),
          restart(q.B, q.H),
          zone(q.T * q.B, q.H, true),
          drop(q.B, q.H, true),
          y(q.T * q.B, q.H),
          marks(static_cast<size_t>(q.has(MARKS) ? q.T * q.B : 0)) {
        x.read(), h0.read(q.has(H0)), ::read(marks.data(), 1, marks.size());
        restart.read(q.has(RESTART)), zone.read(q.has(ZONE)), drop.read(q.has(DROP));
    }

    // `to` is y, or is as long
    void give(gru_sequence &call, const Matrix &to, const grus::Gates &gates) const {
        call.T = q.T, call.B = q.B, call.reverse = q.reverse != 0;
        call.x = x.data, call.x_t = q.B * x.stride, call.x_b = x.stride;
        call.y = to.data, call.y_t = q.B * to.stride, call.y_b = to.stride;
        if (q.has(H0)) call.h0 = h0.data, call.h_b = h0.stride;
        call.saved = gates.memory.get(), call.saved_from = gates.from;
        if (q.has(MARKS)) call.more.marks = marks.data();
        if (q.has(RESTART)) call.more.restart = restart.data, call.more.restart_b = restart.stride;
        if (q.has(ZONE)) call.more.zone = zone.data;
        if (q.has(DROP)) call.more.drop = drop.data;
        call.more.zone_all = static_cast<float>(q.zone_all);
    }
};

grus::Gates gates(const Request &q, const grus::Layer &layer) {
    return q.save ? layer.gates(q.T, q.B, q.save) : grus::Gates{};
}

void forward(const Request &q) {
    Weights weights(q);
    Sequence given(q);
    Matrix h_n(q.B, q.H, true);
    Results results = {{"y", &given.y}};
    if (q.has(H_N)) results.push_back({"h_n", &h_n});
    work(results, [&] {
        gru_forward_call task = {};
        grus::Layer layer = weights.layer(q, false);
        grus::Gates saved = gates(q, layer);
        given.give(task, given.y, saved);
        task.h_n = q.has(H_N) ? h_n.data : nullptr;
        grus::forward(layer, task, static_cast<int>(q.threads));
    });
}

// Behind a forward pass once more, for the gates that it saves: the others are computed on the way back.
void backward(const Request &q) {
    Weights weights(q);
    Sequence given(q);
    int64_t rows = q.T * q.B, H = q.H;
    Matrix again(rows, H), dy(rows, H), dh_n(q.B, H, true), dx(rows, q.I), dh0(q.B, H, true), drestart(q.B, H, true);
    Matrix dW(3 * H, q.I, true), dU(3 * H, H, true), db_i(1, 3 * H), db_h(1, 3 * H), dgain(1, 3 * H);
    given.y.read(), dy.read(q.has(DY)), dh_n.read(q.has(DH_N)), dx.read(q.has(ADD_DX)), drestart.read(q.has(DRESTART));
    Results results = {{"dh0", &dh0}};
    auto wanted = [&](const char *name, const Matrix &result, bool want) {
        if (want) results.push_back({name, &result});
        return want ? result.data : nullptr;
    };
    gru_backward_call task = {};
    task.dh0 = dh0.data, task.add_dx = q.has(ADD_DX);
    task.dx = wanted("dx", dx, q.has(DX)), task.dx_t = q.B * dx.stride, task.dx_b = dx.stride;
    task.dW = wanted("dW", dW, q.has(DU) && !q.has(GAIN));
    task.dU = wanted("dU", dU, q.has(DU));
    task.db_i = wanted("db_i", db_i, q.has(DU) && !q.has(GAIN));
    task.db_h = wanted("db_h", db_h, q.has(DU));
    task.dgain = wanted("dgain", dgain, q.has(DU) && q.has(GAIN));
    task.drestart = wanted("drestart", drestart, q.has(DRESTART));
    if (q.has(DY)) task.dy = dy.data, task.dy_t = q.B * dy.stride, task.dy_b = dy.stride;
    task.dh_n = q.has(DH_N) ? dh_n.data : nullptr;
    work(results, [&] {
        grus::Layer layer = weights.layer(q, true);
        grus::Gates saved = gates(q, layer);
        gru_forward_call before = {};
        given.give(before, again, saved), given.give(task, given.y, saved);
        if (q.save) grus::forward(layer, before, static_cast<int>(q.threads));
        again.check("y");
        grus::backward(layer, task, static_cast<int>(q.threads));
    });
}

void dense(const Request &q) {
    Matrix weight(q.H, q.I, true), bias(1, q.H, true), x(q.B, q.I), y(q.B, q.H);
    weight.read();
    bias.read(q.has(BIAS_IH));
    x.read();
    work({{"y", &y}}, [&] {
        grus::Dense layer(weight.data, q.has(BIAS_IH) ? bias.data : nullptr, q.H, q.I, grus::kernels(q.isa));
        layer(x.data, x.stride, y.data, y.stride, q.B, static_cast<int>(q.threads));
    });
}

// With DY the way back.
void normalise(const Request &q) {
    int64_t size = 3 * q.H;
    Matrix x(q.B, size, true), gain(1, size, true), bias(1, size, true), dy(q.B, size, true);
    Matrix y(q.B, size, true), dx(q.B, size, true), by_rest(2, size, true);
    x.read(), gain.read(), bias.read(q.has(BIAS_IH)), dy.read(q.has(DY));
    Results back = {{"dx", &dx}, {"dgain_dbias", &by_rest}};
    work(q.has(DY) ? back : Results{{"y", &y}}, [&] {
        gru_normalise task = {};
        task.rows = q.B, task.H = q.H, task.x = x.data, task.gain = gain.data;
        task.bias = q.has(BIAS_IH) ? bias.data : nullptr;
        if (q.has(DY))
            task.dy = dy.data, task.dx = dx.data, task.dgain_dbias = by_rest.data;
        else
            task.y = y.data;
        grus::normalise(task, grus::kernels(q.isa), static_cast<int>(q.threads));
    });
}

void activation(const Request &q) {
    Matrix x(1, q.B), y(1, q.B);
    x.read();
    work({{"y", &y}},
         [&] { grus::activation(y.data, x.data, q.B, static_cast<int>(q.function), grus::kernels(q.isa)); });
}

void isas() {
    const gru_kernels *tables[8];
    std::string names;
    for (int i = 0, count = gru_tables(tables, 8); i < count; i++)
        names += (i ? " " : "") + std::string(tables[i]->name);
    answer(names, {});
}

}  // namespace

int main() {
    Request q;
    while (std::fread(&q, sizeof q, 1, stdin) == 1) switch (q.operation) {
            case ISAS:
                isas();
                break;
            case FORWARD:
                forward(q);
                break;
            case BACKWARD:
                backward(q);
                break;
            case DENSE:
                dense(q);
                break;
            case NORMALISE:
                normalise(q);
                break;
            case ACTIVATION:
                activation(q);
                break;
            default:
                return 1;
        }
}
