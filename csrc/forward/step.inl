// What the parts of a forward step share: where they are, W x + b of a chunk of steps, and the step's end.

namespace {

template <class Weight>
struct step {  // of a shard
    packed<Weight> w;
    const gru_forward *f;
    part mine;
    int64_t end;  // places of the shard that have the step are those before
    states before;
    int64_t s0, s, steps, t;  // step s of the chunk of `steps` from s0 on, which is t in time
    float *chunk;             // W x + b of the chunk, [rows][j][3][V]: step after step, the places that have it
    int64_t first;            // of these rows
    float *inputs;            // x of the same rows, [rows][I], where some end early

    GRUS_INLINE int64_t rows() const { return end - mine.b0; }
    GRUS_INLINE int64_t row(int64_t b) const { return row_at(f->ends, b); }
    GRUS_INLINE int64_t width() const { return (mine.j1 - mine.j0) * 3 * V; }  // of a row of `chunk`
    GRUS_INLINE const float *projected(int64_t b, int64_t j) const {
        return chunk + (first + b - mine.b0) * width() + (j - mine.j0) * 3 * V;
    }
    GRUS_INLINE vec seen(int64_t b, int64_t unit) const { return load_some(before.seen.row(b) + unit, w->H - unit); }
    GRUS_INLINE float *saved(int64_t b, int64_t unit) const {  // or null
        return f->saved && s0 + s >= f->saved_from ? saved_at(*f, f->ends, s0 + s, b, w->HP) + unit : nullptr;
    }
};

// f(row, x) for the rows of `chunk`
template <class Weight, class F>
GRUS_INLINE void each_input(const step<Weight> &now, F f) {
    const gru_forward *q = now.f;
    int64_t row = 0;
    for (int64_t s = 0; s < now.steps; s++) {
        const float *x = q->x + time_of(*q, now.s0 + s) * q->x_t;
        int64_t end = end_of_step(q->ends, now.s0 + s, now.mine.b0, now.mine.b1);
        for (int64_t b = now.mine.b0; b < end; b++) f(row++, x + now.row(b) * q->x_b);
    }
}

template <class Weight>
void project(const step<Weight> &now) {
    packed<Weight> w = now.w;
    const gru_forward *f = now.f;
    part mine = now.mine;
    int64_t width = now.width(), batch = mine.rows(), I = w->I, H = w->H;
    if (takes_projected(*w.all)) {
        each_input(now, [&](int64_t row, const float *x) {
            float *out = now.chunk + row * width;
            for (int64_t j = mine.j0; j < mine.j1; j++)
                for (int g = 0; g < 3; g++, out += V) store(out, load_some(x + g * H + j * V, H - j * V));
        });
        return;
    }
    auto products = [&](int64_t rows, const float *x, int64_t x_row, float *out, int64_t out_row) {
        w.W().cover(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            vec sums[R.value][P.value * 3];
            w.project(sums, j, x + row * x_row, x_row);
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 3; g++)
                    store(out + (row + r) * out_row + (j - mine.j0) * 3 * V + g * V, sums[r][g]);
        });
    };
    if (f->ends.order) {
        int64_t rows = 0;
        each_input(now, [&](int64_t row, const float *x) {
            copy(now.inputs + row * I, x, I);
            rows = row + 1;
        });
        products(rows, now.inputs, I, now.chunk, width);
        return;
    }
    runs(0, now.steps, mine.b0, mine.b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
        const float *x = f->x + time_of(*f, now.s0 + s) * f->x_t + b * f->x_b;
        int64_t x_row = along_t ? (f->reverse ? -f->x_t : f->x_t) : f->x_b;
        float *out = now.chunk + (s * batch + b - mine.b0) * width;
        products(rows, x, x_row, out, along_t ? batch * width : width);
    });
}

// Before the first step of a chunk: the products with x of all its steps.
template <class Weight>
GRUS_INLINE void begin(const step<Weight> &now) {
    if (now.s == 0) project(now);
}

// Saves r of some units of a row where the reset comes before: `finish` no longer knows it.
template <class Weight>
GRUS_INLINE void save_reset(const step<Weight> &now, int64_t b, int64_t unit, vec r) {
    if (float *at = now.saved(b, unit)) store(at, r);
}

// The gates of some units of a row to their next state.
template <bool after, class Weight>
GRUS_INLINE void finish(const step<Weight> &now, int64_t b, int64_t unit, gates by) {
    const gru_forward *f = now.f;
    int64_t H = now.w->H, HP = now.w->HP;
    if (float *at = now.saved(b, unit)) {
        if (after) {
            store(at, by.r);
            store(at + 3 * HP, by.u_n);
        }
        store(at + HP, by.z);
        store(at + 2 * HP, by.n);
    }
    vec past = load_some(now.before.past.row(b) + unit, H - unit);
    if (zones(f->more)) by.z = zoned(by.z, zone_of(*f, H, now.t, now.row(b), unit));
    store_some(f->y + now.t * f->y_t + now.row(b) * f->y_b + unit, blend(by.z, by.n, past), H - unit);
}

}  // namespace
