// Layer normalisation of the recurrent products (Ba, Kiros and Hinton 2016): r and z together over 2H values, n alone
// over H. The rest of the body asks `normalises` whether to come here; x then holds W x + b_i, normalised by the
// caller.

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

// to[row][g][unit] = U a, for N gates; to_row floats from row to row
template <int N>
void raw_products(const gru_packed *w, const part &mine, int64_t rows, const float *a, int64_t a_row,
                  const float *panel, float *to, int64_t to_row) {
    int64_t H = w->H, HP = w->HP;
    cover<N>(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        vec sums[R.value][P.value * N];
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * N; g++) sums[r][g] = splat(0.0f);
        dot<R.value, P.value, N>(sums, a + row * a_row, a_row, 1, panel + j * H * N * V, H * N * V, H);
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * N; g++)
                store(to + (row + r) * to_row + g % N * HP + (j + g / N) * V, sums[r][g]);
    });
}

void products(const gru_packed *w, const gru_forward *f, const part &mine, state seen) {
    const float *h = seen.h + mine.b0 * seen.stride;
    float *raw = f->raw + mine.b0 * 3 * w->HP;
    if (w->reset_after)
        raw_products<3>(w, mine, mine.b1 - mine.b0, h, seen.stride, w->U, raw, 3 * w->HP);
    else
        raw_products<2>(w, mine, mine.b1 - mine.b0, h, seen.stride, w->U, raw, 3 * w->HP);
}

// Reset before: U_n (r h)
void reset_products(const gru_packed *w, const gru_forward *f, const part &mine) {
    int64_t HP = w->HP;
    raw_products<1>(w, mine, mine.b1 - mine.b0, f->reset + mine.b0 * HP, HP, w->U_n, f->raw + (mine.b0 * 3 + 2) * HP,
                    3 * HP);
}

// Forward, after the products of all units: r and z, or r h for the candidate; `raw` is [B][3][HP].
void normalised_gates(const gru_packed *w, const gru_forward *f, const part &mine, const states &before, int64_t t,
                      const float *projected, float *gates) {
    int64_t H = w->H, HP = w->HP, width = (mine.j1 - mine.j0) * 3 * V;
    for (int64_t b = mine.b0; b < mine.b1; b++) {
        if (marked(f->more, f->B, t, b, GRU_SKIP)) {
            if (w->reset_after) carry_on(w, f, mine, before, t, b);
            continue;
        }
        const float *raw = f->raw + b * 3 * HP;
        moments rz = moments_of(raw, 2, H, HP), n{};
        if (w->reset_after) n = moments_of(raw + 2 * HP, 1, H, HP);
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            const float *a = projected + (b - mine.b0) * width + (unit / V - mine.j0) * 3 * V;
            vec r = sigmoid(add(load(a), scaled(w, unit, 0, normalised(raw + unit, rz, H - unit))));
            vec z = sigmoid(add(load(a + V), scaled(w, unit, 1, normalised(raw + HP + unit, rz, H - unit))));
            if (w->reset_after) {
                vec u_n = scaled(w, unit, 2, normalised(raw + 2 * HP + unit, n, H - unit));
                finish(w, f, before, t, b, unit, {r, z, tanhyp(fma(r, u_n, load(a + 2 * V))), u_n}, gates);
            } else {
                vec seen = load_some(before.seen.h + b * before.seen.stride + unit, H - unit);
                store(f->reset + b * HP + unit, mul(r, seen));
                store(f->update + b * HP + unit, z);
                keep_reset(w, b, unit, r, gates);
            }
        }
    }
}

// Reset before: the candidate, after the products with r h of all units.
void normalised_candidates(const gru_packed *w, const gru_forward *f, const part &mine, const states &before, int64_t t,
                           const float *projected, float *gates) {
    int64_t H = w->H, HP = w->HP, width = (mine.j1 - mine.j0) * 3 * V;
    for (int64_t b = mine.b0; b < mine.b1; b++) {
        if (marked(f->more, f->B, t, b, GRU_SKIP)) {
            carry_on(w, f, mine, before, t, b);
            continue;
        }
        const float *raw = f->raw + (b * 3 + 2) * HP;
        moments m = moments_of(raw, 1, H, HP);
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            const float *a = projected + (b - mine.b0) * width + (unit / V - mine.j0) * 3 * V;
            vec n = tanhyp(add(load(a + 2 * V), scaled(w, unit, 2, normalised(raw + unit, m, H - unit))));
            vec z = load(f->update + b * HP + unit);
            finish(w, f, before, t, b, unit, {splat(0.0f), z, n, splat(0.0f)}, gates);
        }
    }
}

}  // namespace
