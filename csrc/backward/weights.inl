// What a chunk adds to the gradients by x and by the weights, each as one product over its rows.

namespace {

constexpr int64_t FEW_ROWS = 32;

// dx = [dn, dr, dz] W of some rows, some panels of it. Where x is projected already it is [dr, dz, dn], and panels are
// of units.
template <class Weight>
void input_gradient(const chunk<Weight> &c, const run &q, range panels) {
    packed<Weight> w = c.w;
    const gru_backward *f = c.f;
    auto dx = [&](int64_t row) { return f->dx + c.t(q.step(row)) * f->dx_t + c.batch(q.place(row)) * f->dx_b; };
    if (takes_projected(*w.all)) {
        const int order[3] = {DR, DZ, DN};
        for (int64_t row = 0; row < q.rows; row++)
            for (int64_t unit = panels.begin * V; unit < least(panels.end * V, w->H); unit += V)
                for (int g = 0; g < 3; g++)
                    store_some(dx(row) + g * w->H + unit, load(q.at(row, unit).slot(order[g])), w->H - unit);
        return;
    }
    auto nothing = [](int64_t, int64_t) { return splat(0.0f); };
    w.Wt().times(q.rows, panels.begin, panels.end, q.at(0, 0).slot(0), q.slots_row, nothing,
                 [&](auto R, auto P, int64_t row, int64_t j, auto &sums) {
                     for (int r = 0; r < R.value; r++)
                         for (int p = 0; p < P.value; p++) {
                             float *to = dx(row + r) + (j + p) * V;
                             int64_t left = w->I - (j + p) * V;
                             store_some(to, f->add_dx ? add(load_some(to, left), sums[r][p]) : sums[r][p], left);
                         }
                 });
}

template <class Weight>
GRUS_INLINE range input_panels(const chunk<Weight> &c) {
    return {0, tiles(takes_projected(*c.w.all) ? c.w->H : c.w->I)};
}

// dx of the rows that don't have a step, of the steps [begin, end) of the chunk
template <class Weight>
void no_input_gradient(const chunk<Weight> &c, range steps) {
    const gru_backward *f = c.f;
    for (int64_t s = steps.begin; s < steps.end; s++)
        for (int64_t b = c.end(s, {0, f->B, 0, 0}); b < f->B; b++)
            for (int64_t i = 0; i < c.w->I; i += V)
                store_some(f->dx + c.t(s) * f->dx_t + c.batch(b) * f->dx_b + i, splat(0.0f), c.w->I - i);
}

// The chunk's x, h (and r h) in panels [tile][row][V], in the order of the slots: the right sides of the weight
// gradients.
struct operands {
    float *x, *h, *rh;
    int64_t rows;
};

template <class Weight>
GRUS_INLINE operands operands_of(const chunk<Weight> &c) {
    const gru_backward *f = c.f;
    return {f->operand_x, f->operand_h, c.w->reset_after ? f->operand_h : f->operand_rh, c.rows()};
}

template <class Weight>
void gather(const chunk<Weight> &c, const run &q) {
    const gru_packed *w = c.w.all;
    operands to = operands_of(c);
    for (int64_t i = 0; i < q.rows; i++) {
        int64_t row = c.number(q.step(i), q.place(i));
        for (int64_t j = 0; j < (takes_projected(*w) ? 0 : tiles(w->I)); j++)
            store(to.x + (j * to.rows + row) * V, load_some(q.x + i * q.x_row + j * V, w->I - j * V));
        for (int64_t j = 0; j < tiles(w->H); j++) {
            vec h = q.seen_units(i, j * V);
            store(to.h + (j * to.rows + row) * V, h);
            if (!w->reset_after) store(to.rh + (j * to.rows + row) * V, mul(h, load(q.at(i, j * V).r())));
        }
    }
}

// `outer` of K rows, a unit after another from end to end: of so few it takes as long as writing does, and no longer.
template <int K, class Weight>
void outer_as_written(const chunk<Weight> &c, const float *a, int64_t m0, int64_t m1, const float *right, float *out,
                      int64_t n) {
    for (int64_t m = m0; m < m1; m++) {
        vec left[K];
        for (int k = 0; k < K; k++) left[k] = splat(a[k * c.row_size() + m]);
        float *to = out + m * n;
        const float *from = right;
        auto sum_here = [&]() {
            vec sum = splat(0.0f);
            for (int k = 0; k < K; k++, from += V) sum = fma(left[k], load(from), sum);
            return sum;
        };
        int64_t i = 0;
        if (c.first)
            for (; i + V <= n; i += V) store(to + i, sum_here());
        for (; i < n; i += V) {
            vec sum = sum_here();
            store_some(to + i, c.first ? sum : add(load_some(to + i, n - i), sum), n - i);
        }
    }
}

// out[m, :] (+)= Σ_rows gates[row, slot, m] * panels[row, :] for units m0 to m1 - 1; a chunk's sum is added as a whole
template <class Weight>
void outer(const chunk<Weight> &c, int slot, int64_t m0, int64_t m1, panels<float32, 1> right, float *out, int64_t n) {
    const float *gates = c.f->slots + slot * c.w->HP;
    switch (right.K) {
        case 1:
            return outer_as_written<1>(c, gates, m0, m1, right.data, out, n);
        case 2:
            return outer_as_written<2>(c, gates, m0, m1, right.data, out, n);
        case 3:
            return outer_as_written<3>(c, gates, m0, m1, right.data, out, n);
        case 4:
            return outer_as_written<4>(c, gates, m0, m1, right.data, out, n);
    }
    // few rows: what is written takes longer than what is read, so it is written as it lies, some units from end to end
    int64_t units = right.K <= FEW_ROWS ? ROWS : m1 - m0;
    for (; m0 < m1; m0 += units) {
        const float *a = gates + m0;
        float *to = out + m0 * n;
        right.cover(least(units, m1 - m0), 0, tiles(n), [&](auto R, auto P, int64_t m, int64_t j) {
            vec sums[R.value][P.value];
            clear(sums);
            right.dot(sums, j, a + m, 1, c.row_size());
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    float *at = to + (m + r) * n + (j + p) * V;
                    int64_t left = n - (j + p) * V;
                    store_some(at, c.first ? sums[r][p] : add(load_some(at, left), sums[r][p]), left);
                }
        });
    }
}

// out[m] (+)= Σ_rows of a slot, or of the product of two
template <class Weight, class F>
void column_sums(const chunk<Weight> &c, int64_t m0, int64_t m1, int64_t rows, float *out, F at) {
    for (int64_t m = m0; m < m1; m += V) {
        vec sum = splat(0.0f);
        for (int64_t first = 0; first < rows; first += BLOCK) {  // as in dot
            vec block = splat(0.0f);
            for (int64_t row = first; row < least(first + BLOCK, rows); row++)
                block = add(block, at(c.f->slots + row * c.row_size() + m, m1 - m));
            sum = add(sum, block);
        }
        store_some(out + m, c.first ? sum : add(load_some(out + m, m1 - m), sum), m1 - m);
    }
}

template <class Weight>
void weight_gradients(const chunk<Weight> &c, int64_t m0, int64_t m1) {
    const gru_backward *f = c.f;
    int64_t H = c.w->H, HP = c.w->HP, I = c.w->I;
    operands from = operands_of(c);
    // slots of the gates r, z, n in what comes from W x, from U h, and from U h before it was normalised
    const int by_input[3] = {DR, DZ, DN}, by_state[3] = {DR, DZ, c.w->reset_after ? DU : DN};
    const int raw[3] = {RAW_R, RAW_Z, RAW_N}, unit[3] = {UNIT_R, UNIT_Z, UNIT_N};
    for (int g = 0; g < 3; g++) {
        auto sums = [&](int slot, float *out) {
            column_sums(c, m0, m1, from.rows, out + g * H,
                        [=](const float *row, int64_t left) { return load_some(row + slot * HP, left); });
        };
        const float *h = g == 2 ? from.rh : from.h;
        outer(c, normalises(*c.w.all) ? raw[g] : by_state[g], m0, m1, {h, from.rows}, f->dU + g * H * H, H);
        sums(by_state[g], f->db_h);
        if (normalises(*c.w.all)) {
            column_sums(c, m0, m1, from.rows, f->dgain + g * H, [=](const float *row, int64_t left) {
                return mul(load_some(row + by_state[g] * HP, left), load_some(row + unit[g] * HP, left));
            });
        } else {
            outer(c, by_input[g], m0, m1, {from.x, from.rows}, f->dW + g * H * I, I);
            sums(by_input[g], f->db_i);
        }
    }
}

}  // namespace
