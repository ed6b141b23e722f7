// The backward pass goes a chunk of steps at a time from the last: recompute the gates that were not saved as one
// product over the chunk's rows, walk back through its steps, then add the chunk's share of every weight gradient as
// one product. Here: where a chunk's rows are, and what they hold.

namespace {

// Some units of a row of the chunk's slots (layout.h), which live three times. So [dn, dr, dz] is at last the gradient
// by W x + b_i and [dr, dz, du_n] that by U h + b_h, each contiguous.
//
//   slot   gates on their way   factors                    gradients
//   DN     W_n x + b_in         of dn                      dn     by the argument of tanh
//   DR     r h (reset before)   of dr; before: still r h   dr     by the argument of σ
//   DZ                          of dz                      dz     by the argument of σ
//   DU     r (reset before)     of du_n: r                 du_n   by u_n = U_n h + b_hn; before: r stays
//   KEEP   z (reset before)     of what carries on         -
//
// Normalised products have six more: UNIT, x̂ of each gate, of mean 0 and deviation 1, and RAW, the products as they are
// and at last the gradients by them. Behind those SCALES, one over the deviation, of r and z together and of n.
struct slots {
    float *at;
    int64_t HP;

    GRUS_INLINE float *slot(int which) const { return at + which * HP; }

    GRUS_INLINE float *x_n() const { return slot(DN); }
    GRUS_INLINE float *rh() const { return slot(DR); }
    GRUS_INLINE float *r() const { return slot(DU); }
    GRUS_INLINE float *z() const { return slot(KEEP); }

    GRUS_INLINE float *by_reset() const { return slot(DR); }
    GRUS_INLINE void put(const factors &by) const {
        store(slot(DN), by.n), store(slot(DZ), by.z), store(slot(KEEP), by.keep);
    }
    GRUS_INLINE factors get() const { return {load(slot(DN)), load(slot(DZ)), load(slot(KEEP))}; }

    GRUS_INLINE float *dn() const { return slot(DN); }
    GRUS_INLINE float *dr() const { return slot(DR); }
    GRUS_INLINE float *dz() const { return slot(DZ); }
    GRUS_INLINE float *du_n() const { return slot(DU); }

    GRUS_INLINE float *unit(int gate) const { return slot(UNIT_R + gate); }
    GRUS_INLINE float *raw(int gate) const { return slot(RAW_R + gate); }
};

template <class Weight>
struct chunk {  // steps s0 to s0 + steps - 1
    packed<Weight> w;
    const gru_backward *f;
    int64_t s0, steps;
    bool first;  // that is walked, the last in the steps' order

    GRUS_INLINE int64_t t(int64_t s) const { return time_of(*f, s0 + s); }
    GRUS_INLINE state last(int64_t s) const {
        if (s0 + s == 0) return {f->h0, f->h_b};
        return {f->y + (f->reverse ? t(s) + 1 : t(s) - 1) * f->y_t, f->y_b};
    }
    GRUS_INLINE bool copied() const { return copies_states(f->more); }
    GRUS_INLINE state past(int64_t s) const { return copied() ? state{f->past + s * f->B * w->HP, w->HP} : last(s); }
    GRUS_INLINE state seen(int64_t s) const { return copied() ? state{f->seen + s * f->B * w->HP, w->HP} : last(s); }
    GRUS_INLINE bool skipped(int64_t s, int64_t b) const { return ::skipped(*f, t(s), b); }
    GRUS_INLINE vec zone(int64_t s, int64_t b, int64_t unit) const {
        return zones(f->more) ? zone_of(*f, w->H, t(s), b, unit) : splat(0.0f);
    }
    GRUS_INLINE int64_t row_size() const { return f->slots_row; }
    GRUS_INLINE float *row(int64_t s, int64_t b) const { return f->slots + (s * f->B + b) * row_size(); }
    GRUS_INLINE slots at(int64_t s, int64_t b, int64_t unit) const { return {row(s, b) + unit, w->HP}; }
    GRUS_INLINE int64_t unsaved() const {  // steps of this chunk whose gates are recomputed: the first ones
        return !f->saved || normalises(*w.all) || s0 + steps <= f->saved_from ? steps
               : s0 >= f->saved_from                                          ? 0
                                                                              : f->saved_from - s0;
    }
};

// A run of rows of a chunk, from step s and row b on, with one stride each for x, for the states before them (`h`, and
// `seen` by U) and for their slots.
struct run {
    int64_t rows, s, b, along_t;
    const float *x, *h, *seen;
    float *row0;
    int64_t x_row, h_row, slots_row, H, HP;

    GRUS_INLINE int64_t step(int64_t row) const { return along_t ? s + row : s; }
    GRUS_INLINE int64_t batch(int64_t row) const { return along_t ? b : b + row; }
    GRUS_INLINE slots at(int64_t row, int64_t unit) const { return {row0 + row * slots_row + unit, HP}; }
    GRUS_INLINE vec past_units(int64_t row, int64_t unit) const { return load_some(h + row * h_row + unit, H - unit); }
    GRUS_INLINE vec seen_units(int64_t row, int64_t unit) const {
        return load_some(seen + row * h_row + unit, H - unit);
    }
};

// Whether some rows of a run have no step.
template <class Weight>
GRUS_INLINE bool idle(const chunk<Weight> &c, const run &q, int64_t row, int64_t rows) {
    for (int64_t i = row; i < row + rows; i++)
        if (!c.skipped(q.step(i), q.batch(i))) return false;
    return true;
}

template <class Weight, class F>
GRUS_INLINE void chunk_runs(const chunk<Weight> &c, int64_t s_begin, int64_t s_end, int64_t b0, int64_t b1, F f) {
    auto block = [&](int64_t s0, int64_t s1) {
        runs(s0, s1, b0, b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
            state past = c.past(s), seen = c.seen(s);
            int64_t sign = c.f->reverse ? -1 : 1, next = c.copied() ? c.f->B * c.w->HP : sign * c.f->y_t;
            f(run{rows, s, b, along_t, c.f->x + c.t(s) * c.f->x_t + b * c.f->x_b, past.row(b), seen.row(b), c.row(s, b),
                  along_t ? sign * c.f->x_t : c.f->x_b, along_t ? next : past.stride,
                  along_t ? c.f->B * c.row_size() : c.row_size(), c.w->H, c.w->HP});
        });
    };
    bool apart = !c.copied() && c.s0 == 0 && s_begin == 0 && s_end > 0;  // h0 lies elsewhere than y
    if (apart) block(0, 1);
    if (s_end > s_begin + apart) block(s_begin + apart, s_end);
}

// What rows begin their steps with, where restarts or `drop` make it another than the last state. Where the units are
// shared out, so are here the rows.
template <class Weight>
void prepare(const chunk<Weight> &c, const part &mine) {
    const gru_backward *f = c.f;
    int64_t rows = mine.rows(), tiles = c.w->HP / V;
    int64_t b0 = mine.b0 + rows * mine.j0 / tiles, b1 = mine.b0 + rows * mine.j1 / tiles;
    for (int64_t s = 0; s < c.steps; s++)
        for (int64_t b = b0; b < b1; b++) {
            state last = c.last(s);
            int64_t t_last = c.t(s) + (f->reverse ? 1 : -1);
            bool first = c.s0 + s > 0 && skipped(*f, t_last, b);  // y holds no state there
            const float *h = first ? f->h0 + b * f->h_b : last.row(b);
            int64_t at = (s * f->B + b) * c.w->HP;
            begin_with(*f, c.w->H, c.t(s), b, h, f->past + at, f->seen + at);
        }
}

}  // namespace
