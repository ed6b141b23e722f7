// Steps whose recurrent products are normalised: r and z together over 2H values, n alone over H, so the products of
// all units must be there before any gate. x is W x + b_i, normalised by the caller.

namespace {

// to[row][g][unit] = U a, for N gates; to_row floats from row to row
template <class Panels>
void raw_products(Panels U, const part &mine, int64_t HP, int64_t rows, const float *a, int64_t a_row, float *to,
                  int64_t to_row) {
    constexpr int N = Panels::gates;
    U.cover(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        vec sums[R.value][P.value * N];
        clear(sums);
        U.dot(sums, j, a + row * a_row, a_row);
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * N; g++)
                store(to + (row + r) * to_row + g % N * HP + (j + g / N) * V, sums[r][g]);
    });
}

// `raw` [B][3][HP] = U h, of r and z alone where the reset comes before
template <bool after, class Weight>
void products(const step<Weight> &now) {
    int64_t HP = now.w->HP;
    state seen = now.before.seen;
    const part &mine = now.mine;
    float *raw = now.f->raw + mine.b0 * 3 * HP;
    if constexpr (after)
        raw_products(now.w.U(), mine, HP, now.rows(), seen.row(mine.b0), seen.stride, raw, 3 * HP);
    else
        raw_products(now.w.U_rz(), mine, HP, now.rows(), seen.row(mine.b0), seen.stride, raw, 3 * HP);
}

// Reset before: U_n (r h)
template <class Weight>
void reset_products(const step<Weight> &now) {
    int64_t HP = now.w->HP;
    const part &mine = now.mine;
    raw_products(now.w.U_n(), mine, HP, now.rows(), now.f->reset + mine.b0 * HP, HP,
                 now.f->raw + (mine.b0 * 3 + 2) * HP, 3 * HP);
}

// After the products of all units: the next state, or r h for the candidate.
template <bool after, class Weight>
void normalised_gates(step<Weight> now) {
    const gru_packed *w = now.w.all;
    int64_t H = w->H, HP = w->HP;
    for (int64_t b = now.mine.b0; b < now.end; b++) {
        const float *raw = now.f->raw + b * 3 * HP;
        moments rz = moments_of(raw, 2, H, HP), n{};
        if (after) n = moments_of(raw + 2 * HP, 1, H, HP);
        for (int64_t unit = now.mine.j0 * V; unit < now.mine.j1 * V; unit += V) {
            const float *x = now.projected(b, unit / V);
            vec sum_r = add(load(x), scaled(w, unit, 0, normalised(raw + unit, rz, H - unit)));
            vec sum_z = add(load(x + V), scaled(w, unit, 1, normalised(raw + HP + unit, rz, H - unit)));
            if (after) {
                vec u_n = scaled(w, unit, 2, normalised(raw + 2 * HP + unit, n, H - unit));
                finish<true>(now, b, unit, gates_after(sum_r, sum_z, load(x + 2 * V), u_n));
            } else {
                vec reset = reset_gate(sum_r);
                store(now.f->reset + b * HP + unit, mul(reset, now.seen(b, unit)));
                store(now.f->update + b * HP + unit, update_gate(sum_z));
                save_reset(now, b, unit, reset);
            }
        }
    }
}

// Reset before: the candidate, after the products with r h of all units.
template <class Weight>
void normalised_candidates(step<Weight> now) {
    const gru_packed *w = now.w.all;
    int64_t H = w->H, HP = w->HP;
    for (int64_t b = now.mine.b0; b < now.end; b++) {
        const float *raw = now.f->raw + (b * 3 + 2) * HP;
        moments m = moments_of(raw, 1, H, HP);
        for (int64_t unit = now.mine.j0 * V; unit < now.mine.j1 * V; unit += V) {
            vec x_n = load(now.projected(b, unit / V) + 2 * V), none = splat(0.0f);
            vec n = candidate_before(add(x_n, scaled(w, unit, 2, normalised(raw + unit, m, H - unit))));
            finish<false>(now, b, unit, {none, load(now.f->update + b * HP + unit), n, none});
        }
    }
}

template <bool after>
struct normalised_products {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(Each each) {
        each([](const step<Weight> &now) {
            begin(now);
            products<after>(now);
        });
        each([](const step<Weight> &now) { normalised_gates<after>(now); });
        if constexpr (!after) {
            each([](const step<Weight> &now) { reset_products(now); });
            each([](const step<Weight> &now) { normalised_candidates(now); });
        }
    }
};

}  // namespace
