// The passes through a layer: how many workers a call has, how they share the work, and the scratch they need.
#ifndef GRUS_PASSES_H
#define GRUS_PASSES_H

#include "layer.h"

namespace grus {

// h0 may be null for zeros. T and B are at least 1.
void forward(const Layer &layer, const gru_forward_call &call, int threads);
void backward(const Layer &layer, const gru_backward_call &call, int threads);

template <class Call>
struct Half {  // one of two calls
    const Layer &layer;
    Call call;
};

// Two directions, at once where a core each is better than one after the other.
void both(const Half<gru_forward_call> &first, const Half<gru_forward_call> &second, int threads);
void both(const Half<gru_backward_call> &first, const Half<gru_backward_call> &second, int threads);

}  // namespace grus

#endif
