// The statistics of layer normalisation (Ba, Kiros and Hinton 2016).

namespace {

constexpr float EPSILON = 1e-5f;  // added to the variance, as in torch.nn.functional.layer_norm

constexpr float ONES[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
GRUS_INLINE vec ones(int64_t n) { return load_some(ONES, n); }  // in the first n lanes, zeros behind them

GRUS_INLINE float total(vec a) {
    float lanes[V], sum = 0.0f;
    store(lanes, a);
    for (int i = 0; i < V; i++) sum += lanes[i];
    return sum;
}

struct moments {
    float mean, scale;  // scale is one over the deviation
};

// Of `gates` times H values, each gate HP apart; what is padded is zero.
moments moments_of(const float *raw, int gates, int64_t H, int64_t HP) {
    float count = (float)(gates * H);
    vec sum = splat(0.0f), squares = splat(0.0f);
    for (int g = 0; g < gates; g++)
        for (int64_t unit = 0; unit < H; unit += V) sum = add(sum, load(raw + g * HP + unit));
    float mean = total(sum) / count;
    for (int g = 0; g < gates; g++)
        for (int64_t unit = 0; unit < H; unit += V) {
            vec d = mul(sub(load(raw + g * HP + unit), splat(mean)), ones(H - unit));
            squares = fma(d, d, squares);
        }
    return {mean, 1.0f / __builtin_sqrtf(total(squares) / count + EPSILON)};
}

GRUS_INLINE vec normalised(const float *raw, moments m, int64_t left) {
    return mul(mul(sub(load(raw), splat(m.mean)), splat(m.scale)), ones(left));
}

GRUS_INLINE vec gain_of(const gru_packed *w, int64_t unit, int gate) {
    return load(w->gain + (unit / V * 3 + gate) * V);
}

// γ x̂ + b_h of a gate
GRUS_INLINE vec scaled(const gru_packed *w, int64_t unit, int gate, vec x) {
    return fma(gain_of(w, unit, gate), x, load(w->bias + (unit / V * 4 + (gate == 2 ? 3 : gate)) * V));
}

}  // namespace
