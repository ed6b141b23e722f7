// The backward pass, a chunk of steps at a time from the last: recompute the gates that were not saved as one product
// over the chunk's rows, walk back through its steps, then add the chunk's share of every weight gradient as one
// product.
//
// A row of `slots` is one (t, b): five slots of HP. Where gates are recomputed, they first hold what multiplies a
// gradient, then the gradients:
//
//   slot   recomputed (reset after)      reset before       after the walk back
//   DN     (1 - z)(1 - n²)               same               dn   by the argument of tanh
//   DR     u_n r (1 - r)                 r h                dr   by the argument of σ
//   DZ     (h - n) z (1 - z)             same               dz   by the argument of σ
//   DU     r                             r (stays)          du_n = dn r, by u_n = U_n h + b_hn
//   KEEP   z                             z                  z
//
// So [DN, DR, DZ] is the gradient by W x + b_i and [DR, DZ, DU] that by U h + b_h, each contiguous.

namespace {

struct walk {  // a chunk: steps s0 to s0 + steps - 1
    const gru_packed *w;
    const gru_backward *f;
    int64_t s0, steps;

    GRUS_INLINE int64_t t(int64_t s) const { return f->reverse ? f->T - 1 - s0 - s : s0 + s; }
    GRUS_INLINE state last(int64_t s) const {
        if (s0 + s == 0) return {f->h0, f->h_b};
        return {f->y + (f->reverse ? t(s) + 1 : t(s) - 1) * f->y_t, f->y_b};
    }
    GRUS_INLINE bool copied() const { return copies_states(f->more); }
    GRUS_INLINE state past(int64_t s) const { return copied() ? state{f->past + s * f->B * w->HP, w->HP} : last(s); }
    GRUS_INLINE state seen(int64_t s) const { return copied() ? state{f->seen + s * f->B * w->HP, w->HP} : last(s); }
    GRUS_INLINE bool skipped(int64_t s, int64_t b) const { return marked(f->more, f->B, t(s), b, GRU_SKIP); }
    GRUS_INLINE vec zone(int64_t s, int64_t b, int64_t unit) const {
        return zones(f->more) ? zone_of(f->more, f->B, w->H, t(s), b, unit) : splat(0.0f);
    }
    GRUS_INLINE int64_t row_size() const { return f->slots_row; }
    GRUS_INLINE float *row(int64_t s, int64_t b) const { return f->slots + (s * f->B + b) * row_size(); }
    GRUS_INLINE int64_t unsaved() const {  // steps of this chunk whose gates are recomputed: the first ones
        return !f->saved || normalises(*w) || s0 + steps <= f->saved_from ? steps
               : s0 >= f->saved_from                                      ? 0
                                                                          : f->saved_from - s0;
    }
};

// A run of rows of a chunk, from step s and row b on, with one stride each for x, for the states before them (`h`, and
// `seen` by U) and for their gates.
struct run {
    int64_t rows, s, b, along_t;
    const float *x, *h, *seen;
    float *gates;
    int64_t x_row, h_row, gates_row;

    GRUS_INLINE int64_t step(int64_t row) const { return along_t ? s + row : s; }
    GRUS_INLINE int64_t batch(int64_t row) const { return along_t ? b : b + row; }
};

// Whether some rows of a run have no step.
GRUS_INLINE bool idle(const walk &c, const run &q, int64_t row, int64_t rows) {
    for (int64_t i = row; i < row + rows; i++)
        if (!c.skipped(q.step(i), q.batch(i))) return false;
    return true;
}

template <class F>
GRUS_INLINE void chunk_runs(const walk &c, int64_t s_begin, int64_t s_end, int64_t b0, int64_t b1, F f) {
    auto block = [&](int64_t s0, int64_t s1) {
        runs(s0, s1, b0, b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
            state past = c.past(s), seen = c.seen(s);
            int64_t sign = c.f->reverse ? -1 : 1, next = c.copied() ? c.f->B * c.w->HP : sign * c.f->y_t;
            f(run{rows, s, b, along_t, c.f->x + c.t(s) * c.f->x_t + b * c.f->x_b, past.h + b * past.stride,
                  seen.h + b * seen.stride, c.row(s, b), along_t ? sign * c.f->x_t : c.f->x_b,
                  along_t ? next : past.stride, along_t ? c.f->B * c.row_size() : c.row_size()});
        });
    };
    bool apart = !c.copied() && c.s0 == 0 && s_begin == 0 && s_end > 0;  // h0 lies elsewhere than y
    if (apart) block(0, 1);
    if (s_end > s_begin + apart) block(s_begin + apart, s_end);
}

GRUS_INLINE vec one_minus(vec a) { return sub(splat(1.0f), a); }

struct factors {  // what multiplies a gradient, as the slots hold it before the walk back
    vec n, r, z, u, keep;
};

// What rows begin their steps with, where restarts or `drop` make it another than the last state. Where the units are
// shared out, so are here the rows.
void prepare(const walk &c, const part &mine) {
    const gru_backward *f = c.f;
    int64_t rows = mine.b1 - mine.b0, panels = c.w->HP / V;
    int64_t b0 = mine.b0 + rows * mine.j0 / panels, b1 = mine.b0 + rows * mine.j1 / panels;
    for (int64_t s = 0; s < c.steps; s++)
        for (int64_t b = b0; b < b1; b++) {
            state last = c.last(s);
            int64_t t_last = c.t(s) + (f->reverse ? 1 : -1);
            bool first = c.s0 + s > 0 && marked(f->more, f->B, t_last, b, GRU_SKIP);  // y holds no state there
            const float *h = first ? f->h0 + b * f->h_b : last.h + b * last.stride;
            int64_t at = (s * f->B + b) * c.w->HP;
            begin_with(f->more, f->B, c.w->H, c.t(s), b, h, f->past + at, f->seen + at);
        }
}

GRUS_INLINE factors factors_of(const gru_packed *w, vec r, vec z, vec n, vec u_n, vec h, vec seen, vec zone) {
    vec stays = keep(z, zone), slope = mul(one_minus(zone), mul(z, one_minus(z)));
    return {mul(one_minus(stays), one_minus(mul(n, n))), w->reset_after ? mul(u_n, mul(r, one_minus(r))) : mul(r, seen),
            mul(sub(h, n), slope), r, stays};
}

void recompute(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    int64_t H = w->H, HP = w->HP, I = w->I;
    chunk_runs(c, 0, c.unsaved(), mine.b0, mine.b1, [&](const run &q) {
        cover<3>(q.rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            if (idle(c, q, row, R.value)) return;
            const float *h = q.h + row * q.h_row, *seen = q.seen + row * q.h_row;
            vec sums[R.value][P.value * 3];
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 3; g++) sums[r][g] = load(w->bias + ((j + g / 3) * 4 + g % 3) * V);
            dot<R.value, P.value, 3>(sums, q.x + row * q.x_row, q.x_row, 1, w->W + j * I * 3 * V, I * 3 * V, I);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    store(q.gates + (row + r) * q.gates_row + DN * HP + (j + p) * V, sums[r][p * 3 + 2]);
                    if (w->reset_after) sums[r][p * 3 + 2] = load(w->bias + ((j + p) * 4 + 3) * V);
                }
            if (!w->reset_after) {
                vec rz[R.value][P.value * 2];
                for (int r = 0; r < R.value; r++)
                    for (int g = 0; g < P.value * 2; g++) rz[r][g] = sums[r][g / 2 * 3 + g % 2];
                dot<R.value, P.value, 2>(rz, seen, q.h_row, 1, w->U + j * H * 2 * V, H * 2 * V, H);
                for (int r = 0; r < R.value; r++)
                    for (int p = 0; p < P.value; p++) {
                        int64_t unit = (j + p) * V;
                        float *at = q.gates + (row + r) * q.gates_row + unit;
                        vec reset = sigmoid(rz[r][p * 2]);
                        store(at + DU * HP, reset);
                        store(at + DR * HP, mul(reset, load_some(seen + r * q.h_row + unit, H - unit)));
                        store(at + KEEP * HP, sigmoid(rz[r][p * 2 + 1]));
                    }
                return;
            }
            dot<R.value, P.value, 3>(sums, seen, q.h_row, 1, w->U + j * H * 3 * V, H * 3 * V, H);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    int64_t unit = (j + p) * V;
                    float *at = q.gates + (row + r) * q.gates_row + unit;
                    vec reset = sigmoid(sums[r][p * 3]), z = sigmoid(sums[r][p * 3 + 1]), u_n = sums[r][p * 3 + 2];
                    vec n = tanhyp(fma(reset, u_n, load(at + DN * HP)));
                    vec past = load_some(h + r * q.h_row + unit, H - unit);
                    vec zone = c.zone(q.step(row + r), q.batch(row + r), unit);
                    factors by = factors_of(w, reset, z, n, u_n, past, past, zone);
                    store(at + DN * HP, by.n);
                    store(at + DR * HP, by.r);
                    store(at + DZ * HP, by.z);
                    store(at + DU * HP, by.u);
                    store(at + KEEP * HP, by.keep);
                }
        });
    });
}

// Reset before: the candidates of the chunk, once r h of all units is there.
void recompute_candidates(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    int64_t H = w->H, HP = w->HP;
    chunk_runs(c, 0, c.unsaved(), mine.b0, mine.b1, [&](const run &q) {
        cover<1>(q.rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            if (idle(c, q, row, R.value)) return;
            float *gates = q.gates + row * q.gates_row;
            vec sums[R.value][P.value];
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) sums[r][p] = load(gates + r * q.gates_row + DN * HP + (j + p) * V);
            dot<R.value, P.value, 1>(sums, gates + DR * HP, q.gates_row, 1, w->U_n + j * H * V, H * V, H);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    int64_t unit = (j + p) * V;
                    float *at = gates + r * q.gates_row + unit;
                    vec n = tanhyp(sums[r][p]), z = load(at + KEEP * HP);
                    vec past = load_some(q.h + (row + r) * q.h_row + unit, H - unit);
                    vec zone = c.zone(q.step(row + r), q.batch(row + r), unit);
                    vec none = splat(0.0f);
                    factors by = factors_of(w, none, z, n, none, past, none, zone);
                    store(at + DN * HP, by.n);
                    store(at + DZ * HP, by.z);
                    store(at + KEEP * HP, by.keep);
                }
        });
    });
}

// carry += gradient slots [first, first + K / HP) of the rows of step s, times the panels
void carry_back(const walk &c, const part &mine, int64_t s, int first_slot, const float *panel, int64_t K) {
    const gru_extras &more = c.f->more;
    int64_t H = c.w->H, HP = c.w->HP, size = c.row_size();
    const float *a = c.row(s, mine.b0) + first_slot * HP;
    cover<1>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        if (idle(more, c.f->B, c.t(s), mine.b0 + row, R.value)) return;  // it carries on
        float *carry = c.f->carry + (mine.b0 + row) * HP + j * V;
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = more.drop ? splat(0.0f) : load(carry + r * HP + p * V);
        dot<R.value, P.value, 1>(sums, a + row * size, size, 1, panel + j * K * V, K * V, K);
        for (int r = 0; r < R.value; r++) {
            int64_t b = mine.b0 + row + r;
            bool restart = marked(more, c.f->B, c.t(s), b, GRU_RESTART);
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V;
                vec sum = sums[r][p];
                if (more.drop)
                    sum = fma(sum, load_some(more.drop + b * H + unit, H - unit), load(carry + r * HP + p * V));
                if (restart && c.f->drestart) {
                    float *to = c.f->drestart + b * H + unit;
                    store_some(to, add(load_some(to, H - unit), sum), H - unit);
                }
                store(carry + r * HP + p * V, restart ? splat(0.0f) : sum);
            }
        }
    });
}

// Reset before: dr needs U_nᵀ dn, the gradient by r h, of its own units.
void reset_back(const walk &c, const part &mine, int64_t s, int candidate_slot) {
    int64_t H = c.w->H, HP = c.w->HP, size = c.row_size();
    const float *drop = c.f->more.drop;
    float *gates = c.row(s, mine.b0);
    cover<1>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = splat(0.0f);
        dot<R.value, P.value, 1>(sums, gates + row * size + candidate_slot * HP, size, 1, c.w->Ut_n + j * HP * V,
                                 HP * V, HP);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                float *at = gates + (row + r) * size + (j + p) * V;
                float *carry = c.f->carry + (mine.b0 + row + r) * HP + (j + p) * V;
                vec reset = load(at + DU * HP);
                store(at + DR * HP, mul(sums[r][p], mul(load(at + DR * HP), one_minus(reset))));
                vec by_h = mul(sums[r][p], reset);
                int64_t unit = (j + p) * V;
                if (drop) by_h = mul(by_h, load_some(drop + (mine.b0 + row + r) * H + unit, H - unit));
                store(carry, add(by_h, load(carry)));
            }
    });
}

// From dh = carry + dy of step s to the gradients of its gates and what carries on.
void gate_gradients(const walk &c, const part &mine, int64_t s) {
    const gru_packed *w = c.w;
    const gru_backward *f = c.f;
    int64_t H = w->H, HP = w->HP;
    const float *dy = f->dy ? f->dy + c.t(s) * f->dy_t : nullptr;
    const float *saved = nullptr;
    if (s >= c.unsaved()) saved = f->saved + (f->reverse ? c.t(s) : c.t(s) - f->saved_from) * f->B * 4 * HP;
    state past = c.past(s), seen = c.seen(s);
    for (int64_t b = mine.b0; b < mine.b1; b++) {
        bool skipped = c.skipped(s, b);
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            float *at = c.row(s, b) + unit, *carry = f->carry + b * HP + unit;
            if (skipped) {
                for (int slot = DN; slot <= DU; slot++) store(at + slot * HP, splat(0.0f));
                continue;
            }
            vec dh = load(carry);
            if (dy) dh = add(dh, load_some(dy + b * f->dy_b + unit, H - unit));
            factors by;
            if (saved) {
                const float *gates = saved + b * 4 * HP + unit;
                vec u_n = w->reset_after ? load(gates + 3 * HP) : splat(0.0f);
                vec h = load_some(past.h + b * past.stride + unit, H - unit);
                vec by_u = load_some(seen.h + b * seen.stride + unit, H - unit);
                by = factors_of(w, load(gates), load(gates + HP), load(gates + 2 * HP), u_n, h, by_u,
                                c.zone(s, b, unit));
            } else {
                by = {load(at + DN * HP), load(at + DR * HP), load(at + DZ * HP), load(at + DU * HP),
                      load(at + KEEP * HP)};
            }
            vec dn = mul(dh, by.n);
            store(at + DN * HP, dn);
            store(at + DZ * HP, mul(dh, by.z));
            store(at + DR * HP, w->reset_after ? mul(dn, by.r) : by.r);
            store(at + DU * HP, w->reset_after ? mul(dn, by.u) : by.u);
            store(carry, mul(dh, by.keep));
        }
    }
}

void first_carry(const gru_packed *w, const gru_backward *f, const part &mine) {
    for (int64_t b = mine.b0; b < mine.b1; b++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
            store(f->carry + b * w->HP + unit,
                  f->dh_n ? load_some(f->dh_n + b * w->H + unit, w->H - unit) : splat(0.0f));
}

void last_carry(const gru_packed *w, const gru_backward *f, const part &mine) {
    for (int64_t b = mine.b0; b < mine.b1; b++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
            store_some(f->dh0 + b * w->H + unit, load(f->carry + b * w->HP + unit), w->H - unit);
}

}  // namespace
