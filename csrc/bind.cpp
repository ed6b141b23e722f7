// With tensors.cpp the only file that knows Python: checks arguments, reads calls, releases the GIL.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <limits.h>

#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "layer.h"
#include "passes.h"
#include "rows.h"
#include "system.h"
#include "team.h"
#include "tensors.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// Calls on memory that the caller has checked, by address: quicker than arrays. Each function names every field of a
// named tuple of grus.runtime.calls, in its order, and where its value goes: a number or an address, or several of
// them.
template <class F>
void fields(gru_extras &more, F f) {
    f("marks", more.marks);
    f("restart", more.restart, more.restart_b);
    f("zone", more.zone);
    f("zone_all", more.zone_all);
    f("drop", more.drop);
}

template <class F>
void first_fields(gru_sequence &call, F f) {
    f("steps", call.T);
    f("batch", call.B);
    f("x", call.x, call.x_t, call.x_b);
    f("h0", call.h0, call.h_b);
    f("y", call.y, call.y_t, call.y_b);
}

template <class F>
void last_fields(gru_sequence &call, F f) {
    f("reverse", call.reverse);
    f("gates", call);
    f("more", call.more);
}

template <class F>
void fields(gru_forward_call &call, F f) {
    first_fields(call, f);
    f("h_n", call.h_n);
    last_fields(call, f);
}

template <class F>
void fields(gru_backward_call &call, F f) {
    first_fields(call, f);
    f("dy", call.dy, call.dy_t, call.dy_b);
    f("dh_n", call.dh_n);
    f("dx", call.dx, call.dx_t, call.dx_b);
    f("add_dx", call.add_dx);
    f("dh0", call.dh0);
    f("by_weights", call.dW, call.dU, call.db_i, call.db_h, call.dgain);
    last_fields(call, f);
    f("drestart", call.drestart);
}

template <class Call>
std::vector<std::string> field_names() {
    std::vector<std::string> names;
    Call call = {};
    fields(call, [&](const char *name, auto &...) { names.emplace_back(name); });
    return names;
}

template <class T>
bool take(nb::handle from, T &to, uint8_t flags) {
    nb::detail::make_caster<std::conditional_t<std::is_pointer_v<T>, uintptr_t, T>> caster;
    if (!caster.from_python(from, flags, nullptr)) return false;
    if constexpr (std::is_pointer_v<T>)
        to = reinterpret_cast<T>(caster.value);
    else
        to = caster.value;
    return true;
}

template <class Call>
bool read(nb::handle from, Call &to, uint8_t flags);

bool take(nb::handle from, gru_extras &to, uint8_t flags) { return from.is_none() || read(from, to, flags); }

void save(gru_sequence &call, const grus::Gates *gates) {
    if (gates) call.saved = gates->memory.get(), call.saved_from = gates->from;
}

bool take(nb::handle from, gru_sequence &to, uint8_t flags) {  // its `gates`
    nb::detail::make_caster<grus::Gates> caster;
    if (!caster.from_python(from, flags, nullptr)) return false;
    save(to, caster.operator grus::Gates *());
    return true;
}

template <class... T>
bool take_each(nb::handle from, uint8_t flags, T &...to) {
    if (!PyTuple_Check(from.ptr()) || NB_TUPLE_GET_SIZE(from.ptr()) != sizeof...(to)) return false;
    Py_ssize_t next = 0;
    return (take(NB_TUPLE_GET_ITEM(from.ptr(), next++), to, flags) && ...);
}

template <class Call>
bool read(nb::handle from, Call &to, uint8_t flags) {
    if (!PyTuple_Check(from.ptr())) return false;
    Py_ssize_t next = 0, count = NB_TUPLE_GET_SIZE(from.ptr());
    bool good = true;
    fields(to, [&](const char *, auto &...values) {
        if (!(good = good && next < count)) return;
        nb::handle item = NB_TUPLE_GET_ITEM(from.ptr(), next++);
        if constexpr (sizeof...(values) == 1)
            good = take(item, values..., flags);
        else
            good = take_each(item, flags, values...);
    });
    return good && next == count;
}

}  // namespace

namespace nanobind::detail {

template <>
struct type_caster<gru_forward_call> {
    NB_TYPE_CASTER(gru_forward_call, const_name("ForwardCall"))
    bool from_python(handle from, uint8_t flags, cleanup_list *) noexcept { return read(from, value = {}, flags); }
};

template <>
struct type_caster<gru_backward_call> {
    NB_TYPE_CASTER(gru_backward_call, const_name("BackwardCall"))
    bool from_python(handle from, uint8_t flags, cleanup_list *) noexcept { return read(from, value = {}, flags); }
};

}  // namespace nanobind::detail

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

void give(gru_sequence &call, const In<3> &x, const std::optional<In<2>> &h0, bool reverse, const grus::Gates *gates) {
    call.T = static_cast<int64_t>(x.shape(0)), call.B = static_cast<int64_t>(x.shape(1)), call.reverse = reverse;
    call.x = x.data(), call.x_t = x.stride(0), call.x_b = x.stride(1);
    if (h0) call.h0 = h0->data(), call.h_b = h0->stride(0);
    save(call, gates);
}

void forward(const grus::Layer &layer, In<3> x, std::optional<In<2>> h0, Out<3> y, bool reverse, int threads,
             const grus::Gates *gates) {
    auto T = static_cast<int64_t>(x.shape(0)), B = static_cast<int64_t>(x.shape(1)), H = layer.hidden_size();
    check("x", x, {T, B, layer.input_size()});
    check("y", y, {T, B, H});
    if (h0) check("h0", *h0, {B, H});
    check_gates(layer, gates, T, B);
    if (T == 0 || B == 0) return;
    gru_forward_call call = {};
    call.y = y.data(), call.y_t = y.stride(0), call.y_b = y.stride(1);
    give(call, x, h0, reverse, gates);
    nb::gil_scoped_release release;
    grus::forward(layer, call, threads);
}

void step(const grus::Layer &layer, In<2> x, In<2> h, Out<2> y) {
    auto B = static_cast<int64_t>(x.shape(0));
    check("x", x, {B, layer.input_size()});
    check("h", h, {B, layer.hidden_size()});
    check("y", y, {B, layer.hidden_size()});
    if (B == 0) return;
    gru_forward_call call = {};
    call.T = 1, call.B = B;
    call.x = x.data(), call.x_b = x.stride(0);
    call.h0 = h.data(), call.h_b = h.stride(0);
    call.y = y.data(), call.y_b = y.stride(0);
    nb::gil_scoped_release release;
    grus::forward(layer, call, grus::threads());
}

const float *at(uintptr_t address) { return reinterpret_cast<const float *>(address); }

grus::Gates make_gates(const grus::Layer &layer, int64_t T, int64_t B, int64_t steps) {
    if (B < 1 || steps < 1 || steps > T) throw nb::value_error("gates need a batch and from 1 to T steps");
    return layer.gates(T, B, steps);
}

nb::ndarray<nb::numpy, float> gates_array(grus::Gates &gates) {
    auto size = [](int64_t n) { return static_cast<size_t>(n); };
    return nb::ndarray<nb::numpy, float>(gates.memory.get(), {size(gates.steps), size(gates.B), 4, size(gates.H)},
                                         nb::find(gates), {gates.B * 4 * gates.HP, 4 * gates.HP, gates.HP, 1});
}

PyObject *allowed = nullptr;  // a function: how many threads the caller's library may have at the moment

int threads_allowed() {
    if (!allowed || grus::threads_chosen()) return INT_MAX;
    nb::object found = nb::steal(PyObject_CallNoArgs(allowed));
    if (!found.is_valid()) nb::raise_python_error();
    return nb::cast<int>(found);
}

// Around calls by address, and in Python around others: the limit of the library whose memory they are on.
struct Allowed {
    std::optional<grus::Limit> limit;
    Allowed *enter() {
        limit.emplace(threads_allowed());
        return this;
    }
};

// On memory that the caller has checked, by address: quicker to call than with arrays.
grus::Layer make_layer_at(int64_t I, int64_t H, uintptr_t weight_ih, uintptr_t weight_hh, uintptr_t bias_ih,
                          uintptr_t bias_hh, uintptr_t gain_hh, bool reset_after, const std::string &isa, bool training,
                          bool keep) {
    const gru_kernels *table = grus::kernels(isa.c_str());
    grus::Limit limit(threads_allowed());
    nb::gil_scoped_release release;
    gru_weights weights = {I, H, reset_after, at(weight_ih), at(weight_hh), at(bias_ih), at(bias_hh), at(gain_hh)};
    return grus::Layer(weights, table, training, keep);
}

// As they are given: the weights must stay as long as the layer.
grus::Layer make_layer_as_given(int64_t I, int64_t H, uintptr_t weight_ih, uintptr_t weight_hh, uintptr_t bias_ih,
                                uintptr_t bias_hh, uintptr_t gain_hh, bool reset_after) {
    gru_weights weights = {I, H, reset_after, at(weight_ih), at(weight_hh), at(bias_ih), at(bias_hh), at(gain_hh)};
    return grus::Layer::as_given(weights, grus::kernels(nullptr));
}

void forward_at(const grus::Layer &layer, const gru_forward_call &call, bool limited) {
    grus::Limit limit(limited ? threads_allowed() : INT_MAX);
    nb::gil_scoped_release release;
    grus::forward(layer, call, grus::threads());
}

void backward_at(const grus::Layer &layer, const gru_backward_call &call) {
    grus::Limit limit(threads_allowed());
    nb::gil_scoped_release release;
    grus::backward(layer, call, grus::threads());
}

template <class Call>
void both_at(const grus::Layer &first, const Call &call, const grus::Layer &second, const Call &other) {
    grus::Limit limit(threads_allowed());
    nb::gil_scoped_release release;
    grus::both(grus::Half<Call>{first, call}, grus::Half<Call>{second, other}, grus::threads());
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
    gru_backward_call call = {};
    give(call, x, h0, reverse, gates);
    call.y = const_cast<float *>(y.data()), call.y_t = y.stride(0), call.y_b = y.stride(1);  // which it only reads
    if (dy) call.dy = dy->data(), call.dy_t = dy->stride(0), call.dy_b = dy->stride(1);
    if (dx) call.dx = dx->data(), call.dx_t = dx->stride(0), call.dx_b = dx->stride(1);
    call.dh_n = data(dh_n), call.dh0 = dh0.data();
    call.dW = data(dW), call.dU = data(dU), call.db_i = data(db_i), call.db_h = data(db_h);
    nb::gil_scoped_release release;
    grus::backward(layer, call, threads);
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
    m.def("quota", &grus::quota, "root"_a);
    m.def(
        "allow", [](nb::callable threads) { allowed = threads.release().ptr(); }, "threads"_a,
        nb::sig("def allow(threads: Callable[[], int]) -> None"));
    nb::class_<Allowed>(m, "Allowed")
        .def(nb::init<>())
        .def("__enter__", &Allowed::enter, nb::rv_policy::reference)
        .def(
            "__exit__", [](Allowed &it, nb::args) { it.limit.reset(); },
            nb::sig("def __exit__(self, *_: object) -> None"));

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
        .def("forward_at", &forward_at, "call"_a, "limited"_a)
        .def("backward_at", &backward_at, "call"_a)
        .def("holds_at", &holds_at, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a, "bias_hh"_a, "gain_hh"_a,
             "reset_after"_a)
        .def("step", &step, "x"_a.noconvert(), "h"_a.noconvert(), "y"_a.noconvert())
        .def("backward", &backward, "x"_a.noconvert(), "h0"_a.noconvert().none(), "y"_a.noconvert(),
             "dy"_a.noconvert().none(), "dh_n"_a.noconvert().none(), "dx"_a.noconvert().none(), "dh0"_a.noconvert(),
             "dW"_a.noconvert().none(), "dU"_a.noconvert().none(), "db_i"_a.noconvert().none(),
             "db_h"_a.noconvert().none(), "reverse"_a, "threads"_a, "gates"_a.none());
    m.def("forward_both_at", &both_at<gru_forward_call>, "first"_a, "call"_a, "second"_a, "other"_a);
    m.def("backward_both_at", &both_at<gru_backward_call>, "first"_a, "call"_a, "second"_a, "other"_a);
    bind_tensors(m, &threads_allowed);
    m.def("fields", [] {
        return std::map<std::string, std::vector<std::string>>{{"Extras", field_names<gru_extras>()},
                                                               {"ForwardCall", field_names<gru_forward_call>()},
                                                               {"BackwardCall", field_names<gru_backward_call>()}};
    });
    m.def("make_layer_at", &make_layer_at, "I"_a, "H"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a, "bias_hh"_a,
          "gain_hh"_a, "reset_after"_a, "isa"_a, "training"_a, "keep"_a);
    m.def("make_layer_as_given", &make_layer_as_given, "I"_a, "H"_a, "weight_ih"_a, "weight_hh"_a, "bias_ih"_a,
          "bias_hh"_a, "gain_hh"_a, "reset_after"_a);
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
