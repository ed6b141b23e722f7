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

enum Operation : int64_t { ISAS, FORWARD, BACKWARD, DENSE, ACTIVATION };
enum Given : int64_t { H0 = 1, DY = 2, DH_N = 4, DX = 8, DW = 16, BIAS_IH = 32, BIAS_HH = 64 };

struct Request {
    int64_t operation, T, B, I, H;  // DENSE: x [B, I], y [B, H]; ACTIVATION: x [B]
    int64_t reset_after, reverse, threads, given, function;
    char isa[16];
};

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

    Matrix &read() {
        for (int64_t r = 0; r < rows; r++)
            if (std::fread(data + r * stride, sizeof(float), static_cast<size_t>(columns), stdin) !=
                static_cast<size_t>(columns))
                std::exit(1);
        return *this;
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

struct Weights {
    Matrix W, U, b_i, b_h;
    gru_weights all;

    explicit Weights(const Request &q)
        : W(3 * q.H, q.I, true), U(3 * q.H, q.H, true), b_i(1, 3 * q.H, true), b_h(1, 3 * q.H, true) {
        W.read(), U.read();
        if (q.given & BIAS_IH) b_i.read();
        if (q.given & BIAS_HH) b_h.read();
        all = {q.I,
               q.H,
               q.reset_after != 0,
               W.data,
               U.data,
               q.given & BIAS_IH ? b_i.data : nullptr,
               q.given & BIAS_HH ? b_h.data : nullptr,
               nullptr};
    }
};

void forward(const Request &q) {
    Weights weights(q);
    Matrix x(q.T * q.B, q.I), h0(q.B, q.H), y(q.T * q.B, q.H);
    x.read();
    if (q.given & H0) h0.read();
    work({{"y", &y}}, [&] {
        gru_forward_call task = {};
        task.T = q.T, task.B = q.B, task.reverse = q.reverse != 0;
        task.x = x.data, task.x_t = q.B * x.stride, task.x_b = x.stride;
        task.y = y.data, task.y_t = q.B * y.stride, task.y_b = y.stride;
        if (q.given & H0) task.h0 = h0.data, task.h_b = h0.stride;
        grus::Layer layer(weights.all, grus::kernels(q.isa), false);
        grus::forward(layer, task, static_cast<int>(q.threads));
    });
}

void backward(const Request &q) {
    Weights weights(q);
    int64_t rows = q.T * q.B, H = q.H;
    Matrix x(rows, q.I), h0(q.B, H), y(rows, H), dy(rows, H), dh_n(q.B, H, true);
    Matrix dx(rows, q.I), dh0(q.B, H, true), dW(3 * H, q.I, true), dU(3 * H, H, true), db_i(1, 3 * H), db_h(1, 3 * H);
    x.read();
    if (q.given & H0) h0.read();
    y.read();
    if (q.given & DY) dy.read();
    if (q.given & DH_N) dh_n.read();
    Results results = {{"dh0", &dh0}};
    if (q.given & DX) results.push_back({"dx", &dx});
    if (q.given & DW) results.insert(results.end(), {{"dW", &dW}, {"dU", &dU}, {"db_i", &db_i}, {"db_h", &db_h}});
    work(results, [&] {
        gru_backward_call task = {};
        task.T = q.T, task.B = q.B, task.reverse = q.reverse != 0;
        task.x = x.data, task.x_t = q.B * x.stride, task.x_b = x.stride;
        task.y = y.data, task.y_t = q.B * y.stride, task.y_b = y.stride;
        if (q.given & H0) task.h0 = h0.data, task.h_b = h0.stride;
        if (q.given & DY) task.dy = dy.data, task.dy_t = q.B * dy.stride, task.dy_b = dy.stride;
        if (q.given & DX) task.dx = dx.data, task.dx_t = q.B * dx.stride, task.dx_b = dx.stride;
        if (q.given & DW) task.dW = dW.data, task.dU = dU.data, task.db_i = db_i.data, task.db_h = db_h.data;
        task.dh_n = q.given & DH_N ? dh_n.data : nullptr, task.dh0 = dh0.data;
        grus::Layer layer(weights.all, grus::kernels(q.isa), true, false);
        // the later half of the steps with the gates that a forward pass saves, the others without
        grus::Gates gates = layer.gates(q.T, q.B, (q.T + 1) / 2);
        std::vector<float> again(static_cast<size_t>(rows * H));
        gru_forward_call before = {};
        before.T = q.T, before.B = q.B, before.reverse = task.reverse;
        before.x = task.x, before.x_t = task.x_t, before.x_b = task.x_b, before.h0 = task.h0, before.h_b = task.h_b;
        before.y = again.data(), before.y_t = q.B * H, before.y_b = H;
        before.saved = task.saved = gates.memory.get(), before.saved_from = task.saved_from = gates.from;
        grus::forward(layer, before, static_cast<int>(q.threads));
        grus::backward(layer, task, static_cast<int>(q.threads));
    });
}

void dense(const Request &q) {
    Matrix weight(q.H, q.I, true), bias(1, q.H, true), x(q.B, q.I), y(q.B, q.H);
    weight.read();
    if (q.given & BIAS_IH) bias.read();
    x.read();
    work({{"y", &y}}, [&] {
        grus::Dense layer(weight.data, q.given & BIAS_IH ? bias.data : nullptr, q.H, q.I, grus::kernels(q.isa));
        layer(x.data, x.stride, y.data, y.stride, q.B, static_cast<int>(q.threads));
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
            case ACTIVATION:
                activation(q);
                break;
            default:
                return 1;
        }
}
