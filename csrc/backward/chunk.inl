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
    GRUS_INLINE state past(int64_t s) const {
        return copied() ? state{f->past + number(s, 0) * w->HP, w->HP} : last(s);
    }
    GRUS_INLINE state seen(int64_t s) const {
        return f->more.drop ? state{f->seen + number(s, 0) * w->HP, w->HP} : past(s);
    }
    GRUS_INLINE vec zone(int64_t s, int64_t b, int64_t unit) const {
        return zones(f->more) ? zone_of(*f, w->H, t(s), batch(b), unit) : splat(0.0f);
    }
    GRUS_INLINE int64_t batch(int64_t b) const { return row_at(f->ends, b); }

    // The chunk's rows are numbered step after step, the places that have it in their order.
    GRUS_INLINE int64_t number(int64_t s, int64_t b) const {
        const int64_t *before = f->ends.before;
        return (before ? before[s0 + s] - before[s0] : s * f->B) + b;
    }
    GRUS_INLINE int64_t rows() const { return number(steps, 0); }
    GRUS_INLINE int64_t end(int64_t s, const part &mine) const {
        return end_of_step(f->ends, s0 + s, mine.b0, mine.b1);
    }
    GRUS_INLINE int64_t rows(int64_t s, const part &mine) const { return end(s, mine) - mine.b0; }
    GRUS_INLINE int64_t row_size() const { return f->slots_row; }
    GRUS_INLINE float *row(int64_t s, int64_t b) const { return f->slots + number(s, b) * row_size(); }
    GRUS_INLINE slots at(int64_t s, int64_t b, int64_t unit) const { return {row(s, b) + unit, w->HP}; }
    GRUS_INLINE int64_t unsaved() const {  // steps of this chunk whose gates are recomputed: the first ones
        return !f->saved || normalises(*w.all) || s0 + steps <= f->saved_from ? steps
               : s0 >= f->saved_from                                          ? 0
                                                                              : f->saved_from - s0;
    }
};

// A run of rows of a chunk, from step s and place b on, with one stride each for x, for the states before them (`h`,
// and `seen` by U) and for their slots.
struct run {
    int64_t rows, s, b, along_t;
    const int32_t *places;  // [rows][2], their steps and places, where they are neither of one step nor of one row
    const float *x, *h, *seen;
    float *row0;
    int64_t x_row, h_row, slots_row, H, HP;

    GRUS_INLINE int64_t step(int64_t row) const { return places ? places[2 * row] : along_t ? s + row : s; }
    GRUS_INLINE int64_t place(int64_t row) const { return places ? places[2 * row + 1] : along_t ? b : b + row; }
    GRUS_INLINE slots at(int64_t row, int64_t unit) const { return {row0 + row * slots_row + unit, HP}; }
    GRUS_INLINE vec past_units(int64_t row, int64_t unit) const { return load_some(h + row * h_row + unit, H - unit); }
    GRUS_INLINE vec seen_units(int64_t row, int64_t unit) const {
        return load_some(seen + row * h_row + unit, H - unit);
    }
};

// Where rows end early all of a chunk lies one behind the other: its rows from number `begin` to `end` - 1.
template <class Weight>
GRUS_INLINE run run_of(const chunk<Weight> &c, int64_t begin, int64_t end) {
    const gru_backward *f = c.f;
    int64_t I = c.w->I, HP = c.w->HP, size = c.row_size(), states = begin * HP;
    const float *past = f->past + states;
    return {end - begin,
            0,
            0,
            false,
            f->places + 2 * begin,
            f->inputs + begin * I,
            past,
            f->more.drop ? f->seen + states : past,
            f->slots + begin * size,
            I,
            HP,
            size,
            c.w->H,
            HP};
}

// Runs of all rows of some steps and places, where no row ends early.
template <class Weight, class F>
GRUS_INLINE void step_runs(const chunk<Weight> &c, range steps, const part &mine, F f) {
    auto block = [&](int64_t s0, int64_t s1) {
        runs(s0, s1, mine.b0, mine.b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
            state past = c.past(s), seen = c.seen(s);
            int64_t sign = c.f->reverse ? -1 : 1, next = c.copied() ? c.f->B * c.w->HP : sign * c.f->y_t;
            f(run{rows, s, b, along_t, nullptr, c.f->x + c.t(s) * c.f->x_t + b * c.f->x_b, past.row(b), seen.row(b),
                  c.row(s, b), along_t ? sign * c.f->x_t : c.f->x_b, along_t ? next : past.stride,
                  along_t ? c.f->B * c.row_size() : c.row_size(), c.w->H, c.w->HP});
        });
    };
    bool apart = !c.copied() && c.s0 + steps.begin == 0 && steps.end > 0;  // h0 lies elsewhere than y
    if (apart) block(0, 1);
    if (steps.end > steps.begin + apart) block(steps.begin + apart, steps.end);
}

// Runs of a shard's rows that have one of the first steps of the chunk, up to `end`.
template <class Weight, class F>
GRUS_INLINE void chunk_runs(const chunk<Weight> &c, int64_t end, const part &mine, F f) {
    if (!c.f->ends.order) return step_runs(c, {0, end}, mine, f);
    if (mine.rows() == c.f->B) return f(run_of(c, 0, c.number(end, 0)));
    for (int64_t s = 0; s < end; s++) f(run_of(c, c.number(s, mine.b0), c.number(s, c.end(s, mine))));
}

// What rows begin their steps with, where restarts or `drop` make it another than the last state; and where rows end
// early, their x, one behind the other. Where the units are shared out, so are here the rows.
template <class Weight>
void prepare(const chunk<Weight> &c, const part &mine) {
    const gru_backward *f = c.f;
    int64_t rows = mine.rows(), tiles = c.w->HP / V, I = c.w->I, HP = c.w->HP;
    part own = {mine.b0 + rows * mine.j0 / tiles, mine.b0 + rows * mine.j1 / tiles, 0, 0};
    for (int64_t s = 0; s < c.steps; s++)
        for (int64_t b = own.b0; b < c.end(s, own); b++) {
            int64_t row = c.number(s, b), at = c.batch(b);
            begin_with(*f, c.w->H, c.s0 + s, at, f->past + row * HP, f->seen + row * HP);
            if (!f->ends.order) continue;
            copy(f->inputs + row * I, f->x + c.t(s) * f->x_t + at * f->x_b, I);
            f->places[2 * row] = (int32_t)s;
            f->places[2 * row + 1] = (int32_t)b;
        }
}

}  // namespace
