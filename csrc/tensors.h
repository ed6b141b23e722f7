// Short calls on PyTorch's tensors, without PyTorch's headers: what is asked of a tensor is asked of the Python object.
#ifndef GRUS_TENSORS_H
#define GRUS_TENSORS_H

#include <nanobind/nanobind.h>

// Adds `know_tensors`, `forward_given` and `backward_given` to the module. `allowed` is asked in each call for the
// threads it may have.
void bind_tensors(nanobind::module_ &m, int (*allowed)());

#endif
