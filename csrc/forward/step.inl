// What the parts of a forward step share: where they are, W x + b of a chunk of steps, and the step's end.

namespace {

template <class Weight>
struct step {  // of a shard
    packed<Weight> w;
    const gru_forward *f;
    part mine;
    states before;
    int64_t s0, s, steps, t;  // step s of the chunk of `steps` from s0 on, which is t in time
    float *chunk;             // W x + b of the chunk, [steps][b][j][3][V] of the shard's rows and tiles
    float *saved;             // [B][4][HP] of the step, or null

    GRUS_INLINE int64_t width() const { return (mine.j1 - mine.j0) * 3 * V; }  // of a row of `chunk`
    GRUS_INLINE const float *projected(int64_t b, int64_t j) const {
        return chunk + (s * mine.rows() + b - mine.b0) * width() + (j - mine.j0) * 3 * V;
    }
    GRUS_INLINE bool idle(int64_t b, int64_t rows) const { return ::idle(*f, t, b, rows); }
    GRUS_INLINE vec seen(int64_t b, int64_t unit) const { return load_some(before.seen.row(b) + unit, w->H - unit); }
};

template <class Weight>
void project(const step<Weight> &now) {
    packed<Weight> w = now.w;
    const gru_forward *f = now.f;
    part mine = now.mine;
    int64_t width = now.width(), batch = mine.rows();
    runs(0, now.steps, mine.b0, mine.b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
        int64_t t = time_of(*f, now.s0 + s);
        const float *x = f->x + t * f->x_t + b * f->x_b;
        int64_t x_row = along_t ? (f->reverse ? -f->x_t : f->x_t) : f->x_b;
        float *out = now.chunk + (s * batch + b - mine.b0) * width;
        int64_t out_row = along_t ? batch * width : width;
        if (takes_projected(*w.all)) {
            for (int64_t row = 0; row < rows; row++)
                for (int64_t j = mine.j0; j < mine.j1; j++)
                    for (int g = 0; g < 3; g++)
                        store(out + row * out_row + ((j - mine.j0) * 3 + g) * V,
                              load_some(x + row * x_row + g * w->H + j * V, w->H - j * V));
            return;
        }
        w.W().cover(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            int64_t t_row = t + (along_t ? (f->reverse ? -row : row) : 0), b_row = along_t ? b : b + row;
            if (along_t ? idle_steps(*f, f->reverse ? t_row - R.value + 1 : t_row, b_row, R.value)
                        : idle(*f, t_row, b_row, R.value))
                return;
            vec sums[R.value][P.value * 3];
            w.project(sums, j, x + row * x_row, x_row);
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 3; g++)
                    store(out + (row + r) * out_row + (j - mine.j0) * 3 * V + g * V, sums[r][g]);
        });
    });
}

// Before the first step of a chunk: the products with x of all its steps.
template <class Weight>
GRUS_INLINE void begin(const step<Weight> &now) {
    if (now.s == 0) project(now);
}

// The state of row b stays as it is over the step, in units of the tiles j0 to j1 - 1.
template <class Weight>
GRUS_INLINE void carry_on(const step<Weight> &now, int64_t b, int64_t j0, int64_t j1) {
    const float *past = now.before.past.row(b);
    int64_t H = now.w->H;
    float *y = now.f->y + now.t * now.f->y_t + b * now.f->y_b;
    for (int64_t unit = j0 * V; unit < least(j1 * V, H); unit += V)
        store_some(y + unit, load_some(past + unit, H - unit), H - unit);
}

// Saves r of some units of row b where the reset comes before: `finish` no longer knows it.
template <class Weight>
GRUS_INLINE void save_reset(const step<Weight> &now, int64_t b, int64_t unit, vec r) {
    if (now.saved) store(now.saved + b * 4 * now.w->HP + unit, r);
}

// The gates of some units of row b to their next state.
template <bool after, class Weight>
GRUS_INLINE void finish(const step<Weight> &now, int64_t b, int64_t unit, gates by) {
    const gru_forward *f = now.f;
    int64_t H = now.w->H, HP = now.w->HP;
    if (now.saved) {
        float *at = now.saved + b * 4 * HP + unit;
        if (after) {
            store(at, by.r);
            store(at + 3 * HP, by.u_n);
        }
        store(at + HP, by.z);
        store(at + 2 * HP, by.n);
    }
    vec past = load_some(now.before.past.row(b) + unit, H - unit);
    if (zones(f->more)) by.z = zoned(by.z, zone_of(*f, H, now.t, b, unit));
    vec next = skipped(*f, now.t, b) ? past : blend(by.z, by.n, past);
    store_some(f->y + now.t * f->y_t + b * f->y_b + unit, next, H - unit);
}

}  // namespace
