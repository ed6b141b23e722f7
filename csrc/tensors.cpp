#include "tensors.h"

#include <cstdint>

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

template <int dims>
bool has_sizes(PyObject *tensor, const int64_t (&expected)[dims]) {
    int64_t sizes[dims];
    if (!sizes_of(tensor, sizes)) return false;
    for (int d = 0; d < dims; d++)
        if (sizes[d] != expected[d]) return false;
    return true;
}

nb::object empty(const int64_t *sizes, int dims) {
    PyObject *arguments[5];
    nb::object kept[3];
    for (int d = 0; d < dims; d++) arguments[d] = (kept[d] = nb::steal(PyLong_FromLongLong(sizes[d]))).ptr();
    arguments[dims] = known.float32, arguments[dims + 1] = known.device;
    nb::object made = nb::steal(PyObject_Vectorcall(known.empty, arguments, static_cast<size_t>(dims), known.keywords));
    if (!made.is_valid()) nb::raise_python_error();
    return made;
}

bool wants_gradient(nb::handle tensor) { return !tensor.is_none() && is(tensor.ptr(), known.requires_grad, Py_True); }

// A call without a graph, of weights as they are given: y, or (y, h_n) of a layer. None where anything is out of the
// ordinary, or there are more than `most` steps; where `graph` and a tensor wants a gradient, the addresses of W, U and
// the biases.
nb::object infer(nb::handle x, nb::handle h0, nb::list weights, int64_t I, int64_t H, bool bias, bool reset_after,
                 bool batch_first, bool cell, int64_t most, bool graph) {
    int64_t T = 1, B, features, rows[2], block[3];
    if (!ordinary(x.ptr())) return nb::none();
    if (cell) {
        if (!sizes_of(x.ptr(), rows)) return nb::none();
        B = rows[0], features = rows[1];
    } else {
        if (!sizes_of(x.ptr(), block)) return nb::none();
        T = block[batch_first ? 1 : 0], B = block[batch_first ? 0 : 1], features = block[2];
    }
    if (T < 1 || T > most || B < 1 || features != I) return nb::none();
    if (!h0.is_none()) {
        if (!ordinary(h0.ptr())) return nb::none();
        const int64_t of_cell[2] = {B, H}, of_layer[3] = {1, B, H};
        if (!(cell ? has_sizes(h0.ptr(), of_cell) : has_sizes(h0.ptr(), of_layer))) return nb::none();
    }
    const float *at[WEIGHTS] = {};
    size_t count = weights.size();
    if (count < 2 || count > WEIGHTS) return nb::none();
    bool gradient = graph && (wants_gradient(x) || wants_gradient(h0));
    for (size_t i = 0; i < count; i++) {
        nb::handle weight = weights[i];
        if (weight.is_none()) {
            if (i < 2 || bias) return nb::none();  // computed, by a parametrization
            continue;
        }
        const int64_t matrix[2] = {3 * H, i ? H : I}, row[1] = {3 * H};
        if (!ordinary(weight.ptr()) || !(i < 2 ? has_sizes(weight.ptr(), matrix) : has_sizes(weight.ptr(), row)))
            return nb::none();
        at[i] = address(weight.ptr());
        gradient = gradient || (graph && wants_gradient(weight));
    }
    if (gradient) {
        auto number = [&](int i) { return reinterpret_cast<uintptr_t>(at[i]); };
        return nb::make_tuple(number(0), number(1), number(2), number(3), 0);
    }
    gru_forward_call call = {};
    call.T = T, call.B = B;
    call.x = address(x.ptr());
    if (!h0.is_none()) call.h0 = address(h0.ptr()), call.h_b = H;
    const int64_t next[3] = {1, B, H};
    rows[1] = H, block[2] = H;
    nb::object y = cell ? empty(rows, 2) : empty(block, 3), h_n = cell ? nb::none() : empty(next, 3);
    call.y = const_cast<float *>(address(y.ptr()));
    if (!cell) call.h_n = const_cast<float *>(address(h_n.ptr()));
    int64_t in_time = batch_first ? 1 : B, in_batch = batch_first ? T : 1;
    call.x_t = in_time * I, call.x_b = in_batch * I, call.y_t = in_time * H, call.y_b = in_batch * H;
    gru_weights all = {I, H, reset_after, at[0], at[1], at[2], at[3], nullptr};
    {
        const gru_kernels *table = grus::kernels(nullptr);
        grus::Limit limit(threads_allowed());
        nb::gil_scoped_release release;
        grus::forward(grus::Layer::as_given(all, table), call, grus::threads());
    }
    return cell ? y : nb::make_tuple(y, h_n);
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
    m.def("infer", &infer, "x"_a, "h0"_a.none(), "weights"_a, "I"_a, "H"_a, "bias"_a, "reset_after"_a, "batch_first"_a,
          "cell"_a, "most"_a, "graph"_a);
}
