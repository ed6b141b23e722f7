// A step back, whatever the variant: from dh to the gradients of the gates, and from those to what carries on.

namespace {

// From dh = carry + dy of step s to the gradients of its gates and what carries on.
template <bool after, class Weight>
void gate_gradients(const chunk<Weight> &c, const part &mine, int64_t s) {
    const gru_backward *f = c.f;
    int64_t H = c.w->H, HP = c.w->HP;
    const float *dy = f->dy ? f->dy + c.t(s) * f->dy_t : nullptr;
    bool kept_gates = s >= c.unsaved();
    state past = c.past(s), seen = c.seen(s);
    for (int64_t b = mine.b0, end = c.end(s, mine); b < end; b++) {
        const float *saved = kept_gates ? saved_at(*f, f->ends, c.s0 + s, b, HP) : nullptr;
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            slots at = c.at(s, b, unit);
            float *carry = f->carry + b * HP + unit;
            vec dh = load(carry);
            if (dy) dh = add(dh, load_some(dy + c.batch(b) * f->dy_b + unit, H - unit));
            factors by;
            vec r, by_reset;
            if (saved) {
                const float *kept = saved + unit;
                r = load(kept);
                by_reset =
                    after ? reset_factor(r, load(kept + 3 * HP)) : mul(r, load_some(seen.row(b) + unit, H - unit));
                vec h = load_some(past.row(b) + unit, H - unit);
                by = factors_of(load(kept + HP), load(kept + 2 * HP), h, c.zone(s, b, unit));
            } else {
                by = at.get(), r = load(at.r()), by_reset = load(at.by_reset());
            }
            vec dn = mul(dh, by.n);
            store(at.dn(), dn);
            store(at.dz(), mul(dh, by.z));
            store(at.dr(), after ? mul(dn, by_reset) : by_reset);
            store(at.du_n(), after ? mul(dn, r) : r);
            store(carry, mul(dh, by.keep));
        }
    }
}

// carry += the gradients of step s from slot `first` on, times the panels
template <class Weight, class Panels>
void carry_back(const chunk<Weight> &c, const part &mine, int64_t s, int first, Panels Ut) {
    const gru_backward *f = c.f;
    if (c.s0 + s == 0 && !f->dh0 && !f->drestart) return;  // nobody reads it
    int64_t H = c.w->H, HP = c.w->HP, size = c.row_size();
    const float *a = c.at(s, mine.b0, 0).slot(first), *drop = f->more.drop;
    auto carried = [&](int64_t row, int64_t j) { return f->carry + (mine.b0 + row) * HP + j * V; };
    auto first_sum = [&](int64_t row, int64_t j) { return drop ? splat(0.0f) : load(carried(row, j)); };
    Ut.times(c.rows(s, mine), mine.j0, mine.j1, a, size, first_sum,
             [&](auto R, auto P, int64_t row, int64_t j, auto &sums) {
                 float *carry = carried(row, j);
                 for (int r = 0; r < R.value; r++) {
                     int64_t b = c.batch(mine.b0 + row + r);
                     bool restart = restarts(*f, c.t(s), b);
                     for (int p = 0; p < P.value; p++) {
                         int64_t unit = (j + p) * V;
                         vec sum = sums[r][p];
                         if (drop) sum = fma(sum, drop_of(*f, H, b, unit), load(carry + r * HP + p * V));
                         if (restart && f->drestart) {
                             float *to = f->drestart + b * H + unit;
                             store_some(to, add(load_some(to, H - unit), sum), H - unit);
                         }
                         store(carry + r * HP + p * V, restart ? splat(0.0f) : sum);
                     }
                 }
             });
}

template <class Weight>
void first_carry(const chunk<Weight> &c, const part &mine) {
    const gru_backward *f = c.f;
    int64_t H = c.w->H, HP = c.w->HP;
    for (int64_t b = mine.b0; b < mine.b1; b++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
            store(f->carry + b * HP + unit,
                  f->dh_n ? load_some(f->dh_n + c.batch(b) * H + unit, H - unit) : splat(0.0f));
}

template <class Weight>
void last_carry(const chunk<Weight> &c, const part &mine) {
    const gru_backward *f = c.f;
    int64_t H = c.w->H, HP = c.w->HP;
    for (int64_t b = mine.b0; b < mine.b1; b++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
            store_some(f->dh0 + c.batch(b) * H + unit, load(f->carry + b * HP + unit), H - unit);
}

// After step s: the gradients of the gates of the step before it, or what has come to the first state.
template <bool after, class Weight>
GRUS_INLINE void go_on(const chunk<Weight> &c, const part &mine, int64_t s) {
    if (s > 0) gate_gradients<after>(c, mine, s - 1);
    if (s == 0 && c.s0 == 0 && c.f->dh0) last_carry(c, mine);
}

}  // namespace
