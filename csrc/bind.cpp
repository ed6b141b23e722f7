// The only file that knows Python: checks arguments, releases the GIL.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "layer.h"
#include "team.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <int dimensions>
using In = nb::ndarray<const float, nb::ndim<dimensions>, nb::device::cpu>;
template <int dimensions>
using Out = nb::ndarray<float, nb::ndim<dimensions>, nb::device::cpu>;

std::string shape(std::initializer_list<int64_t> sizes) {
    std::string text = "(";
    for (int64_t size : sizes) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + ")";
}

template <class A>
void check(const char *name, const A &array, std::initializer_list<int64_t> expected) {
    size_t d = 0;
    bool good = true;
    int64_t sizes[3] = {};
    for (int64_t size : expected) {
        sizes[d] = static_cast<int64_t>(array.shape(d));
        good = good && (size < 0 || sizes[d] == size);
        d++;
    }
    if (!good) {
        std::string came = d == 1   ? shape({sizes[0]})
                           : d == 2 ? shape({sizes[0], sizes[1]})
                                    : shape({sizes[0], sizes[1], sizes[2]});
        throw nb::value_error((std::string(name) + " has shape " + came + ", expected " + shape(expected)).c_str());
    }
    if (array.shape(d - 1) > 1 && array.stride(d - 1) != 1)
        throw nb::value_error((std::string(name) + " must be contiguous in its last dimension").c_str());
}

template <class A>
void check_contiguous(const char *name, const A &array, std::initializer_list<int64_t> expected) {
    check(name, array, expected);
    if (array.ndim() == 2 && array.shape(0) > 1 && array.stride(0) != static_cast<int64_t>(array.shape(1)))
        throw nb::value_error((std::string(name) + " must be contiguous").c_str());
}

template <class A>
auto data(const std::optional<A> &array) {
    return array ? array->data() : nullptr;
}

grus::Layer make_layer(In<2> weight_ih, In<2> weight_hh, std::optional<In<1>> bias_ih, std::optional<In<1>> bias_hh,
                       bool reset_after, const std::string &isa, bool training, bool keep) {
    auto H = static_cast<int64_t>(weight_hh.shape(1)), I = static_cast<int64_t>(weight_ih.shape(1));
    if (H < 1 || I < 1) throw nb::value_error("weight_ih and weight_hh need at least one input and one unit");
    check_contiguous("weight_ih", weight_ih, {3 * H, I});
    check_contiguous("weight_hh", weight_hh, {3 * H, H});
    if (bias_ih) check("bias_ih", *bias_ih, {3 * H});
    if (bias_hh) check("bias_hh", *bias_hh, {3 * H});
    gru_weights weights = {I,      H, reset_after, weight_ih.data(), weight_hh.data(), data(bias_ih), data(bias_hh),
                           nullptr};
    const gru_kernels *table = grus::kernels(isa.c_str());
    nb::gil_scoped_release release;
    return grus::Layer(weights, table, training, keep);
}

void check_gates(const grus::Layer &layer, const grus::Gates *gates, int64_t T, int64_t B) {
    if (gates && (gates->from + gates->steps != T || gates->B != B || gates->H != layer.hidden_size() ||
                  gates->HP != layer.padded_size()))
        throw nb::value_error("gates were made for other sizes: make them with this layer's gates(T, B, steps)");
}

void forward(const grus::Layer &layer, In<3> x, std::optional<In<2>> h0, Out<3> y, bool reverse, int threads,
             const grus::Gates *gates) {
    auto T = static_cast<int64_t>(x.shape(0)), B = static_cast<int64_t>(x.shape(1)), H = layer.hidden_size();
    check("x", x, {T, B, layer.input_size()});
    check("y", y, {T, B, H});
    if (h0) check("h0", *h0, {B, H});
    check_gates(layer, gates, T, B);
    if (T == 0 || B == 0) return;
    gru_forward task = {};
    task.T = T, task.B = B, task.reverse = reverse;
    task.x = x.data(), task.x_t = x.stride(0), task.x_b = x.stride(1);
    task.y = y.data(), task.y_t = y.stride(0), task.y_b = y.stride(1);
    if (h0) task.h0 = h0->data(), task.h_b = h0->stride(0);
    nb::gil_scoped_release release;
    layer.forward(task, threads, gates);
}

void step(const grus::Layer &layer, In<2> x, In<2> h, Out<2> y) {
    auto B = static_cast<int64_t>(x.shape(0));
    check("x", x, {B, layer.input_size()});
    check("h", h, {B, layer.hidden_size()});
    check("y", y, {B, layer.hidden_size()});
    if (B == 0) return;
    gru_forward task = {};
    task.T = 1, task.B = B;
    task.x = x.data(), task.x_b = x.stride(0);
    task.h0 = h.data(), task.h_b = h.stride(0);
    task.y = y.data(), task.y_b = y.stride(0);
    nb::gil_scoped_release release;
    layer.forward(task, grus::threads());
}

using Sequence = std::tuple<uintptr_t, int64_t, int64_t>;  // an address, strides in time and batch
using Rows = std::tuple<uintptr_t, int64_t>;
using Extras = std::tuple<uintptr_t, Rows, uintptr_t, float, uintptr_t>;  // marks, restart, zone, zone_all, drop

const float *at(uintptr_t address) { return reinterpret_cast<const float *>(address); }
float *to(uintptr_t address) { return reinterpret_cast<float *>(address); }
std::tuple<const float *, int64_t, int64_t> read(const Sequence &s) {
    return {at(std::get<0>(s)), std::get<1>(s), std::get<2>(s)};
}
std::tuple<float *, int64_t, int64_t> write(const Sequence &s) {
    return {to(std::get<0>(s)), std::get<1>(s), std::get<2>(s)};
}

gru_extras read(const std::optional<Extras> &more) {
    gru_extras extras = {};
    if (more) {
        Rows restart;
        uintptr_t marks, zone, drop;
        std::tie(marks, restart, zone, extras.zone_all, drop) = *more;
        extras.marks = reinterpret_cast<const uint8_t *>(marks), extras.zone = at(zone), extras.drop = at(drop);
        extras.restart = at(std::get<0>(restart)), extras.restart_b = std::get<1>(restart);
    }
    return extras;
}

grus::Gates make_gates(const grus::Layer &layer, int64_t T, int64_t B, int64_t steps) {
    if (B < 1 || steps < 1 || steps > T) throw nb::value_error("gates need a batch and from 1 to T steps");
    return layer.gates(T, B, steps);
}

nb::ndarray<nb::numpy, float> gates_array(grus::Gates &gates) {
    auto size = [](int64_t n) { return static_cast<size_t>(n); };
    return nb::ndarray<nb::numpy, float>(gates.memory.get(), {size(gates.steps), size(gates.B), 4, size(gates.H)},
                                         nb::find(gates), {gates.B * 4 * gates.HP, 4 * gates.HP, gates.HP, 1});
}

// On memory that the caller has checked, by address: quicker to call than with arrays.
grus::Layer make_layer_at(int64_t I, int64_t H, uintptr_t weight_ih, uintptr_t weight_hh, uintptr_t bias_ih,
                          uintptr_t bias_hh, uintptr_t gain_hh, bool reset_after, const std::string &isa, bool training,
                          bool keep) {
    const gru_kernels *table = grus::kernels(isa.c_str());
    nb::gil_scoped_release release;
    gru_weights weights = {I, H, reset_after, at(weight_ih), at(weight_hh), at(bias_ih), at(bias_hh), at(gain_hh)};
    return grus::Layer(weights, table, training, keep);
}

using Forward = std::tuple<int64_t, int64_t, Sequence, Rows, Sequence, uintptr_t, bool, const grus::Gates *,
                           std::optional<Extras>>;  // T, B, x, h0, y, h_n, reverse, gates, more

gru_forward read(const Forward &call) {
    gru_forward task = {};
    auto &[T, B, x, h0, y, h_n, reverse, gates, more] = call;
    task.T = T, task.B = B, task.reverse = reverse, task.more = read(more);
    std::tie(task.x, task.x_t, task.x_b) = read(x);
    task.h0 = at(std::get<0>(h0)), task.h_b = std::get<1>(h0);
    std::tie(task.y, task.y_t, task.y_b) = write(y);
    return task;
}

grus::Half<gru_forward> half(const grus::Layer &layer, const Forward &call) {
    return {&layer, read(call), std::get<7>(call), to(std::get<5>(call))};
}

void forward_at(const grus::Layer &layer, const Forward &call) {
    nb::gil_scoped_release release;
    layer.forward(read(call), grus::threads(), std::get<7>(call), to(std::get<5>(call)));
}

void forward_both_at(const grus::Layer &first, const Forward &call, const grus::Layer &second, const Forward &other) {
    nb::gil_scoped_release release;
    grus::both(half(first, call), half(second, other), grus::threads());
}

using Backward = std::tuple<int64_t, int64_t, Sequence, Rows, Sequence, Sequence, uintptr_t, Sequence, bool, uintptr_t,
                            std::tuple<uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t>, bool,
                            const grus::Gates *, std::optional<Extras>, uintptr_t>;
// T, B, x, h0, y, dy, dh_n, dx, add_dx, dh0, dW dU db_i db_h dgain, reverse, gates, more, drestart

gru_backward read(const Backward &call) {
    gru_backward task = {};
    auto &[T, B, x, h0, y, dy, dh_n, dx, add_dx, dh0, by_weights, reverse, gates, more, drestart] = call;
    task.T = T, task.B = B, task.reverse = reverse, task.add_dx = add_dx;
    task.more = read(more), task.drestart = to(drestart);
    std::tie(task.x, task.x_t, task.x_b) = read(x);
    task.h0 = at(std::get<0>(h0)), task.h_b = std::get<1>(h0);
    std::tie(task.y, task.y_t, task.y_b) = read(y);
    std::tie(task.dy, task.dy_t, task.dy_b) = read(dy);
    std::tie(task.dx, task.dx_t, task.dx_b) = write(dx);
    task.dh_n = at(dh_n), task.dh0 = to(dh0);
    task.dW = to(std::get<0>(by_weights)), task.dU = to(std::get<1>(by_weights));
    task.db_i = to(std::get<2>(by_weights)), task.db_h = to(std::get<3>(by_weights));
    task.dgain = to(std::get<4>(by_weights));
    return task;
}

void backward_at(const grus::Layer &layer, const Backward &call) {
    gru_backward task = read(call);
    nb::gil_scoped_release release;
    layer.backward(task, grus::threads(), std::get<12>(call));
}

void backward_both_at(const grus::Layer &first, const Backward &call, const grus::Layer &second,
                      const Backward &other) {
    nb::gil_scoped_release release;
    grus::both(grus::Half<gru_backward>{&first, read(call), std::get<12>(call), nullptr},
               grus::Half<gru_backward>{&second, read(other), std::get<12>(other), nullptr}, grus::threads());
}

bool holds_at(const grus::Layer &layer, uintptr_t weight_ih, uintptr_t weight_hh, uintptr_t bias_ih, uintptr_t bias_hh,
              uintptr_t gain_hh, bool reset_after) {
    return layer.holds({layer.input_size(), layer.hidden_size(), reset_after, at(weight_ih), at(weight_hh), at(bias_ih),
                        at(bias_hh), at(gain_hh)});
}

void backward(const grus::Layer &layer, In<3> x, std::optional<In<2>> h0, In<3> y, std::optional<In<3>> dy,
              std::optional<In<2>> dh_n, std::optional<Out<3>> dx, Out<2> dh0, std::optional<Out<2>> dW,
              std::optional<Out<2>> dU, std::optional<Out<1>> db_i, std::optional<Out<1>> db_h, bool reverse,
              int threads, const grus::Gates *gates) {
    auto T = static_cast<int64_t>(x.shape(0)), B = static_cast<int64_t>(x.shape(1));
    int64_t H = layer.hidden_size(), I = layer.input_size();
    if (!layer.training()) throw nb::value_error("the layer was packed without training=True");
    check("x", x, {T, B, I});
    check("y", y, {T, B, H});
    if (h0) check("h0", *h0, {B, H});
    if (dy) check("dy", *dy, {T, B, H});
    if (dh_n) check_contiguous("dh_n", *dh_n, {B, H});
    if (dx) check("dx", *dx, {T, B, I});
    check_contiguous("dh0", dh0, {B, H});
    bool weights = dW.has_value();
    if (dU.has_value() != weights || db_i.has_value() != weights || db_h.has_value() != weights)
        throw nb::value_error("dW, dU, db_i and db_h go together: give all of them or none");
    if (weights) {
        check_contiguous("dW", *dW, {3 * H, I});
        check_contiguous("dU", *dU, {3 * H, H});
        check("db_i", *db_i, {3 * H});
        check("db_h", *db_h, {3 * H});
    }
    check_gates(layer, gates, T, B);
    if (T == 0 || B == 0) throw nb::value_error("x is empty: there is nothing to go back through");
    gru_backward task = {};
    task.T = T, task.B = B, task.reverse = reverse;
    task.x = x.data(), task.x_t = x.stride(0), task.x_b = x.stride(1);
    task.y = y.data(), task.y_t = y.stride(0), task.y_b = y.stride(1);
    if (h0) task.h0 = h0->data(), task.h_b = h0->stride(0);
    if (dy) task.dy = dy->data(), task.dy_t = dy->stride(0), task.dy_b = dy->stride(1);
    if (dx) task.dx = dx->data(), task.dx_t = dx->stride(0), task.dx_b = dx->stride(1);
    task.dh_n = data(dh_n), task.dh0 = dh0.data();
    task.dW = data(dW), task.dU = data(dU), task.db_i = data(db_i), task.db_h = data(db_h);
    nb::gil_scoped_release release;
    layer.backward(task, threads, gates);
}

grus::Dense make_dense(In<2> weight, std::optional<In<1>> bias, const std::string &isa) {
    auto O = static_cast<int64_t>(weight.shape(0)), K = static_cast<int64_t>(weight.shape(1));
    check_contiguous("weight", weight, {O, K});
    if (bias) check("bias", *bias, {O});
    return grus::Dense(weight.data(), data(bias), O, K, grus::kernels(isa.c_str()));
}

void dense(const grus::Dense &layer, In<2> x, Out<2> y, int threads) {
    auto rows = static_cast<int64_t>(x.shape(0));
    check("x", x, {rows, layer.input_size()});
    check("y", y, {rows, layer.output_size()});
    nb::gil_scoped_release release;
    if (rows) layer(x.data(), x.stride(0), y.data(), y.stride(0), rows, threads);
}

void normalise(In<2> x, In<1> gain, std::optional<In<1>> bias, Out<2> y, const std::string &isa, int threads) {
    auto rows = static_cast<int64_t>(x.shape(0)), size = static_cast<int64_t>(x.shape(1));
    check_contiguous("x", x, {rows, size});
    check_contiguous("y", y, {rows, size});
    check("gain", gain, {size});
    if (bias) check("bias", *bias, {size});
    if (size % 3) throw nb::value_error("x has rows of a length that is not a multiple of 3");
    gru_normalise task = {};
    task.rows = rows, task.H = size / 3;
    task.x = x.data(), task.gain = gain.data(), task.bias = data(bias), task.y = y.data();
    const gru_kernels *table = grus::kernels(isa.c_str());
    nb::gil_scoped_release release;
    if (rows && size) grus::normalise(task, table, threads);
}

void normalise_back(In<2> x, In<1> gain, In<2> dy, Out<2> dx, Out<2> dgain_dbias, const std::string &isa, int threads) {
    auto rows = static_cast<int64_t>(x.shape(0)), size = static_cast<int64_t>(x.shape(1));
    check_contiguous("x", x, {rows, size});
    check_contiguous("dy", dy, {rows, size});
    check_contiguous("dx", dx, {rows, size});
    check_contiguous("dgain_dbias", dgain_dbias, {2, size});
    check("gain", gain, {size});
    if (size % 3) throw nb::value_error("x has rows of a length that is not a multiple of 3");
    gru_normalise task = {};
    task.rows = rows, task.H = size / 3;
    task.x = x.data(), task.gain = gain.data(), task.dy = dy.data();
    task.dx = dx.data(), task.dgain_dbias = dgain_dbias.data();
    const gru_kernels *table = grus::kernels(isa.c_str());
    nb::gil_scoped_release release;
    grus::normalise(task, table, threads);
}

void activation(In<1> x, Out<1> y, const std::string &function, const std::string &isa) {
    check("x", x, {-1});
    check("y", y, {static_cast<int64_t>(x.shape(0))});
    if (function != "sigmoid" && function != "tanh") throw nb::value_error("function is neither 'sigmoid' nor 'tanh'");
    const gru_kernels *table = grus::kernels(isa.c_str());
    nb::gil_scoped_release release;
    grus::activation(y.data(), x.data(), static_cast<int64_t>(x.shape(0)), function == "tanh", table);
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "The compiled kernels of Grus; grus.runtime.kernels is the way in.";
    nb::set_leak_warnings(false);

    m.def("isas", [] {
        const gru_kernels *tables[8];
        int count = gru_tables(tables, 8);
        std::vector<std::string> names;
        for (int i = 0; i < count; i++) names.emplace_back(tables[i]->name);
        return names;
    });
    m.def("default_isa", [] { return std::string(grus::kernels(nullptr)->name); });
    m.def("threads", &grus::threads);
    m.def("set_threads", &grus::set_threads, "count"_a);

    nb::class_<grus::Gates>(m, "Gates")
        .def_prop_ro("first_step", [](const grus::Gates &gates) { return gates.from; })
        .def("array", &gates_array);

    nb::class_<grus::Layer>(m, "Layer")
        .def_prop_ro("input_size", &grus::Layer::input_size)
        .def_prop_ro("hidden_size", &grus::Layer::hidden_size)
        .def_prop_ro("isa", &grus::Layer::isa)
        .def_prop_ro("training", &grus::Layer::training)
        .def("gates", &make_gates, "T"_a, "B"_a, "steps"_a)
        .def("forward", &forward, "x"_a.noconvert(), "h0"_a.noconvert().none(), "y"_a.noconvert(), "reverse"_a,
             "threads"_a, "gates"_a.none())
        .def("forward_at", &forward_at, "call"_a)
        .def("backward_at", &backward_at, "call"_a)
        .def("holds_at", &holds_at, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a, "bias_hh"_a, "gain_hh"_a,
             "reset_after"_a)
        .def("step", &step, "x"_a.noconvert(), "h"_a.noconvert(), "y"_a.noconvert())
        .def("backward", &backward, "x"_a.noconvert(), "h0"_a.noconvert().none(), "y"_a.noconvert(),
             "dy"_a.noconvert().none(), "dh_n"_a.noconvert().none(), "dx"_a.noconvert().none(), "dh0"_a.noconvert(),
             "dW"_a.noconvert().none(), "dU"_a.noconvert().none(), "db_i"_a.noconvert().none(),
             "db_h"_a.noconvert().none(), "reverse"_a, "threads"_a, "gates"_a.none());
    m.def("forward_both_at", &forward_both_at, "first"_a, "call"_a, "second"_a, "other"_a);
    m.def("backward_both_at", &backward_both_at, "first"_a, "call"_a, "second"_a, "other"_a);
    m.def("make_layer_at", &make_layer_at, "I"_a, "H"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a, "bias_hh"_a,
          "gain_hh"_a, "reset_after"_a, "isa"_a, "training"_a, "keep"_a);
    m.def("make_layer", &make_layer, "weight_ih"_a.noconvert(), "weight_hh"_a.noconvert(),
          "bias_ih"_a.noconvert().none(), "bias_hh"_a.noconvert().none(), "reset_after"_a, "isa"_a, "training"_a,
          "keep"_a);

    nb::class_<grus::Dense>(m, "Dense")
        .def_prop_ro("input_size", &grus::Dense::input_size)
        .def_prop_ro("output_size", &grus::Dense::output_size)
        .def("__call__", &dense, "x"_a.noconvert(), "y"_a.noconvert(), "threads"_a);
    m.def("make_dense", &make_dense, "weight"_a.noconvert(), "bias"_a.noconvert().none(), "isa"_a);
    m.def("normalise", &normalise, "x"_a.noconvert(), "gain"_a.noconvert(), "bias"_a.noconvert().none(),
          "y"_a.noconvert(), "isa"_a, "threads"_a);
    m.def("normalise_back", &normalise_back, "x"_a.noconvert(), "gain"_a.noconvert(), "dy"_a.noconvert(),
          "dx"_a.noconvert(), "dgain_dbias"_a.noconvert(), "isa"_a, "threads"_a);
    m.def("activation", &activation, "x"_a.noconvert(), "y"_a.noconvert(), "function"_a, "isa"_a);
}
