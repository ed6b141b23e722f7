#include "tensors.h"

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "layer.h"
#include "passes.h"
#include "team.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

constexpr int WEIGHTS = 4;  // W, U and the biases

// The names and the objects that tensors are asked for and compared with; never given back.
struct Known {
    PyObject *tensor, *parameter, *float32, *strided, *empty, *device;
    PyObject *dtype, *is_cpu, *layout, *is_contiguous, *is_neg, *data_ptr, *shape, *requires_grad, *keywords;
} known{};

int (*threads_allowed)() = nullptr;

PyObject *name(const char *text) { return PyUnicode_InternFromString(text); }

bool is(PyObject *tensor, PyObject *attribute, PyObject *value) {
    nb::object found = nb::steal(PyObject_GetAttr(tensor, attribute));
    if (!found.is_valid()) nb::raise_python_error();
    return found.ptr() == value;
}

nb::object ask(PyObject *tensor, PyObject *method) {
    nb::object found = nb::steal(PyObject_VectorcallMethod(method, &tensor, 1, nullptr));
    if (!found.is_valid()) nb::raise_python_error();
    return found;
}

// Whether the address of its memory says all. Subclasses may do anything.
bool ordinary(PyObject *tensor) {
    auto *type = reinterpret_cast<PyObject *>(Py_TYPE(tensor));
    return (type == known.tensor || type == known.parameter) && is(tensor, known.dtype, known.float32) &&
           is(tensor, known.is_cpu, Py_True) && is(tensor, known.layout, known.strided) &&
           ask(tensor, known.is_contiguous).ptr() == Py_True && ask(tensor, known.is_neg).ptr() == Py_False;
}

const float *address(PyObject *tensor) {
    return static_cast<const float *>(PyLong_AsVoidPtr(ask(tensor, known.data_ptr).ptr()));
}

// The sizes of a tensor of `dims` dimensions; false where it has others.
template <int dims>
bool sizes_of(PyObject *tensor, int64_t (&to)[dims]) {
    nb::object shape = nb::steal(PyObject_GetAttr(tensor, known.shape));
    if (!shape.is_valid()) nb::raise_python_error();
    if (!PyTuple_Check(shape.ptr()) || PyTuple_Size(shape.ptr()) != dims) return false;
    for (int d = 0; d < dims; d++) to[d] = PyLong_AsLongLong(PyTuple_GetItem(shape.ptr(), d));
    return true;
}

bool has_sizes(PyObject *tensor, std::initializer_list<int64_t> expected) {
    nb::object shape = nb::steal(PyObject_GetAttr(tensor, known.shape));
    if (!shape.is_valid()) nb::raise_python_error();
    if (!PyTuple_Check(shape.ptr()) || PyTuple_Size(shape.ptr()) != static_cast<Py_ssize_t>(expected.size()))
        return false;
    Py_ssize_t d = 0;
    for (int64_t size : expected)
        if (PyLong_AsLongLong(PyTuple_GetItem(shape.ptr(), d++)) != size) return false;
    return true;
}

nb::object empty(std::initializer_list<int64_t> sizes) {
    PyObject *arguments[5];
    nb::object kept[3];
    size_t dims = 0;
    for (int64_t size : sizes) {
        kept[dims] = nb::steal(PyLong_FromLongLong(size));
        arguments[dims] = kept[dims].ptr();
        dims++;
    }
    arguments[dims] = known.float32, arguments[dims + 1] = known.device;
    nb::object made = nb::steal(PyObject_Vectorcall(known.empty, arguments, dims, known.keywords));
    if (!made.is_valid()) nb::raise_python_error();
    return made;
}

// A call: x is [T, B, I], or [B, T, I] where `batch_first`, or [B, I] of a cell; states lie like it.
struct Plan {
    int64_t T, B, I, H;
    bool reset_after, batch_first, cell;

    void place(int64_t size, int64_t &in_time, int64_t &in_batch) const {
        in_time = (batch_first ? 1 : B) * size, in_batch = (batch_first ? T : 1) * size;
    }
    nb::object states() const {
        if (cell) return empty({B, H});
        return batch_first ? empty({B, T, H}) : empty({T, B, H});
    }
};

// Takes the sizes of x; false where it does not fit.
bool measure(Plan &plan, PyObject *x) {
    int64_t rows[2], block[3], features;
    if (plan.cell) {
        if (!sizes_of(x, rows)) return false;
        plan.T = 1, plan.B = rows[0], features = rows[1];
    } else {
        if (!sizes_of(x, block)) return false;
        plan.T = block[plan.batch_first ? 1 : 0], plan.B = block[plan.batch_first ? 0 : 1], features = block[2];
    }
    return plan.T > 0 && plan.B > 0 && features == plan.I;
}

bool is_state(const Plan &plan, PyObject *h) {
    return plan.cell ? has_sizes(h, {plan.B, plan.H}) : has_sizes(h, {1, plan.B, plan.H});
}

// The addresses of W, U and the biases, 0 for a bias that is not there; false where one is not as it should be.
bool find_weights(const Plan &plan, const nb::sequence &weights, bool bias, gru_weights &to) {
    const float **at[] = {&to.weight_ih, &to.weight_hh, &to.bias_ih, &to.bias_hh};
    int which = 0;
    for (nb::handle weight : weights) {
        if (which == WEIGHTS) return false;
        int64_t K = which ? plan.H : plan.I;
        const float *&place = *at[which++];
        if (weight.is_none()) {
            if (which < 3 || bias) return false;  // computed, by a parametrization
            continue;
        }
        PyObject *tensor = weight.ptr();
        if (!ordinary(tensor)) return false;
        if (!(which < 3 ? has_sizes(tensor, {3 * plan.H, K}) : has_sizes(tensor, {3 * plan.H}))) return false;
        place = address(tensor);
    }
    return which > 1;
}

template <class Call>
void give(Call &call, const Plan &plan, nb::handle x, nb::handle h0, nb::handle y) {
    call.T = plan.T, call.B = plan.B;
    call.x = address(x.ptr()), plan.place(plan.I, call.x_t, call.x_b);
    if (!h0.is_none()) call.h0 = address(h0.ptr()), call.h_b = plan.H;
    if (!y.is_none()) call.y = const_cast<float *>(address(y.ptr()));
    plan.place(plan.H, call.y_t, call.y_b);
}

float *memory(nb::handle tensor) { return tensor.is_none() ? nullptr : const_cast<float *>(address(tensor.ptr())); }

bool wanted(nb::handle tensor) { return !tensor.is_none() && is(tensor.ptr(), known.requires_grad, Py_True); }

// A call of few steps on weights as they are given: y, h_n (None of a cell), and where there are gradients to come the
// gates. None where anything is out of the ordinary.
nb::object forward(nb::handle x, nb::handle h0, nb::sequence weights, int64_t I, int64_t H, bool bias, bool reset_after,
                   bool batch_first, bool cell, int64_t most, bool graph) {
    Plan plan = {0, 0, I, H, reset_after, batch_first, cell};
    gru_weights all = {I, H, reset_after, nullptr, nullptr, nullptr, nullptr, nullptr};
    if (!ordinary(x.ptr()) || !measure(plan, x.ptr()) || plan.T > most) return nb::none();
    if (!h0.is_none() && !(ordinary(h0.ptr()) && is_state(plan, h0.ptr()))) return nb::none();
    if (!find_weights(plan, weights, bias, all)) return nb::none();
    bool recorded = graph && (wanted(x) || wanted(h0));
    if (graph)
        for (nb::handle weight : weights) recorded = recorded || wanted(weight);
    const gru_kernels *table = grus::kernels(nullptr);
    gru_forward_call call = {};
    nb::object y = plan.states(), h_n = cell ? nb::none() : empty({1, plan.B, H}), gates = nb::none();
    give(call, plan, x, h0, y);
    call.h_n = memory(h_n);
    grus::Layer layer = grus::Layer::as_given(all, table);
    if (recorded) {
        grus::Gates room = layer.gates(plan.T, plan.B, plan.T);
        call.saved = room.memory.get(), call.saved_from = 0;
        gates = nb::cast(std::move(room));
    }
    {
        grus::Limit limit(threads_allowed());
        nb::gil_scoped_release release;
        grus::forward(layer, call, grus::threads());
    }
    return nb::make_tuple(y, h_n, gates);
}

// The gradients by x, h0, W, U and the biases, None where none is `asked`; y is None of one step. None where anything
// is out of the ordinary.
nb::object backward(const grus::Gates &gates, nb::handle x, nb::handle h0, nb::handle y, nb::sequence weights,
                    nb::handle dy, nb::handle dh_n, int64_t I, int64_t H, bool reset_after, bool batch_first, bool cell,
                    nb::sequence asked) {
    Plan plan = {0, 0, I, H, reset_after, batch_first, cell};
    gru_weights all = {I, H, reset_after, nullptr, nullptr, nullptr, nullptr, nullptr};
    for (nb::handle tensor : {x, h0, y, dy, dh_n})
        if (!tensor.is_none() && !ordinary(tensor.ptr())) return nb::none();
    if (!measure(plan, x.ptr()) || !find_weights(plan, weights, false, all)) return nb::none();
    bool ask[2 + WEIGHTS], any = false;
    for (int i = 0; i < 2 + WEIGHTS; i++) ask[i] = nb::cast<bool>(asked[i]), any = any || (i > 1 && ask[i]);
    const int64_t rows = 3 * H;
    nb::object made[2 + WEIGHTS];
    for (auto &one : made) one = nb::none();
    if (ask[0])
        made[0] = cell ? empty({plan.B, I}) : batch_first ? empty({plan.B, plan.T, I}) : empty({plan.T, plan.B, I});
    if (ask[1]) made[1] = cell ? empty({plan.B, H}) : empty({1, plan.B, H});
    if (any) made[2] = empty({rows, I}), made[3] = empty({rows, H}), made[4] = empty({rows}), made[5] = empty({rows});
    gru_backward_call call = {};
    give(call, plan, x, h0, y);
    call.saved = gates.memory.get(), call.saved_from = gates.from;
    call.dy = memory(dy), plan.place(H, call.dy_t, call.dy_b);
    call.dh_n = memory(dh_n);
    call.dx = memory(made[0]), plan.place(I, call.dx_t, call.dx_b);
    call.dh0 = memory(made[1]);
    call.dW = memory(made[2]), call.dU = memory(made[3]), call.db_i = memory(made[4]), call.db_h = memory(made[5]);
    {
        const gru_kernels *table = grus::kernels(nullptr);
        grus::Layer layer = grus::Layer::as_given(all, table);
        grus::Limit limit(threads_allowed());
        nb::gil_scoped_release release;
        grus::backward(layer, call, grus::threads());
    }
    for (int i = 0; i < 2 + WEIGHTS; i++)
        if (!ask[i]) made[i] = nb::none();
    return nb::make_tuple(made[0], made[1], made[2], made[3], made[4], made[5]);
}

}  // namespace

void bind_tensors(nb::module_ &m, int (*allowed)()) {
    threads_allowed = allowed;
    m.def(
        "know_tensors",
        [](nb::object tensor, nb::object parameter, nb::object float32, nb::object strided, nb::object empty,
           nb::object device) {
            known = {tensor.release().ptr(),
                     parameter.release().ptr(),
                     float32.release().ptr(),
                     strided.release().ptr(),
                     empty.release().ptr(),
                     device.release().ptr(),
                     name("dtype"),
                     name("is_cpu"),
                     name("layout"),
                     name("is_contiguous"),
                     name("is_neg"),
                     name("data_ptr"),
                     name("shape"),
                     name("requires_grad"),
                     nb::make_tuple("dtype", "device").release().ptr()};
        },
        "tensor"_a, "parameter"_a, "float32"_a, "strided"_a, "empty"_a, "device"_a);
    m.def("forward_given", &forward, "x"_a, "h0"_a.none(), "weights"_a, "I"_a, "H"_a, "bias"_a, "reset_after"_a,
          "batch_first"_a, "cell"_a, "most"_a, "graph"_a,
          nb::sig(
              "def forward_given(x: object, h0: object | None, weights: Sequence[object], I: int, H: int, bias: bool, "
              "reset_after: bool, batch_first: bool, cell: bool, most: int, graph: bool) -> tuple[Any, Any, Gates | "
              "None] | None"));
    m.def(
        "backward_given", &backward, "gates"_a, "x"_a, "h0"_a.none(), "y"_a.none(), "weights"_a, "dy"_a.none(),
        "dh_n"_a.none(), "I"_a, "H"_a, "reset_after"_a, "batch_first"_a, "cell"_a, "asked"_a,
        nb::sig(
            "def backward_given(gates: Gates, x: object, h0: object | None, y: object | None, weights: "
            "Sequence[object], "
            "dy: object | None, dh_n: object | None, I: int, H: int, reset_after: bool, batch_first: bool, cell: bool, "
            "asked: Sequence[bool]) -> tuple[Any, ...] | None"));
}
