// The parts of a forward step: project a chunk of steps, then walk through it with the gates finished in registers.

namespace {

struct part {  // what a shard computes: rows b0 to b1 - 1 of the batch, tiles j0 to j1 - 1 of the units
    int64_t b0, b1, j0, j1;
};

GRUS_INLINE part part_of(int64_t B, int64_t panels, int shard_units, int shard, const gru_worker *me) {
    range own = share(shard_units ? panels : B, shard, me);
    return shard_units ? part{0, B, own.begin, own.end} : part{own.begin, own.end, 0, panels};
}

struct state {  // the state before a step
    const float *h;
    int64_t stride;
};

GRUS_INLINE bool zones(const gru_extras &more) { return more.zone || more.zone_all != 0.0f; }

GRUS_INLINE bool marked(const gru_extras &more, int64_t B, int64_t t, int64_t b, int mark) {
    return more.marks && (more.marks[t * B + b] & mark) != 0;
}

// Whether step t is skipped by all of some rows.
GRUS_INLINE bool idle(const gru_extras &more, int64_t B, int64_t t, int64_t b, int64_t rows) {
    for (int64_t i = 0; i < rows; i++)
        if (!marked(more, B, t, b + i, GRU_SKIP)) return false;
    return true;
}

// Whether row b skips some steps from t on.
GRUS_INLINE bool idle_steps(const gru_extras &more, int64_t B, int64_t t, int64_t b, int64_t steps) {
    for (int64_t i = 0; i < steps; i++)
        if (!marked(more, B, t + i, b, GRU_SKIP)) return false;
    return true;
}

// What stays of some units of row b whatever z says
GRUS_INLINE vec zone_of(const gru_extras &more, int64_t B, int64_t H, int64_t t, int64_t b, int64_t unit) {
    return more.zone ? load_some(more.zone + (t * B + b) * H + unit, H - unit) : splat(more.zone_all);
}

// The states of row b that step t begins with: `past`, and `seen` by U.
GRUS_INLINE void begin_with(const gru_extras &more, int64_t B, int64_t H, int64_t t, int64_t b, const float *h,
                            float *past, float *seen) {
    bool restart = marked(more, B, t, b, GRU_RESTART);
    if (restart) h = more.restart ? more.restart + b * more.restart_b : nullptr;
    for (int64_t unit = 0; unit < H; unit += V) {
        vec a = h ? load_some(h + unit, H - unit) : splat(0.0f);
        store(past + unit, a);
        store(seen + unit, more.drop ? mul(a, load_some(more.drop + b * H + unit, H - unit)) : a);
    }
}

struct states {  // before a step: what carries on, and what U sees of it
    state past, seen;
};

// The states before step t of the shard's rows, in its scratch where they are not the last ones as they are.
states states_of(const gru_packed *w, const gru_forward *f, const part &mine, state before, int64_t t, float *scratch) {
    bool restart = false;
    for (int64_t b = mine.b0; b < mine.b1; b++) restart = restart || marked(f->more, f->B, t, b, GRU_RESTART);
    if (!restart && !f->more.drop) return {before, before};
    int64_t HP = w->HP;
    float *past = scratch - mine.b0 * HP, *seen = past + (mine.b1 - mine.b0) * HP;
    for (int64_t b = mine.b0; b < mine.b1; b++)
        begin_with(f->more, f->B, w->H, t, b, before.h + b * before.stride, past + b * HP, seen + b * HP);
    return {{past, HP}, {seen, HP}};
}

// projected [steps][b][j][3][V]: bias + W x of this worker's part, gates r, z, n
void project(const gru_packed *w, const gru_forward *f, const part &mine, int64_t s0, int64_t steps, float *projected) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, batch = mine.b1 - mine.b0;
    runs(0, steps, mine.b0, mine.b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
        int64_t t = f->reverse ? f->T - 1 - s0 - s : s0 + s;
        const float *x = f->x + t * f->x_t + b * f->x_b;
        int64_t x_row = along_t ? (f->reverse ? -f->x_t : f->x_t) : f->x_b;
        float *out = projected + (s * batch + b - mine.b0) * width;
        int64_t out_row = along_t ? batch * width : width;
        if (takes_projected(*w)) {
            for (int64_t row = 0; row < rows; row++)
                for (int64_t j = mine.j0; j < mine.j1; j++)
                    for (int g = 0; g < 3; g++)
                        store(out + row * out_row + ((j - mine.j0) * 3 + g) * V,
                              load_some(x + row * x_row + g * w->H + j * V, w->H - j * V));
            return;
        }
        cover<3>(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            int64_t t_row = t + (along_t ? (f->reverse ? -row : row) : 0), b_row = along_t ? b : b + row;
            if (along_t ? idle_steps(f->more, f->B, f->reverse ? t_row - R.value + 1 : t_row, b_row, R.value)
                        : idle(f->more, f->B, t_row, b_row, R.value))
                return;
            vec sums[R.value][P.value * 3];
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 3; g++) sums[r][g] = load(w->bias + ((j + g / 3) * 4 + g % 3) * V);
            dot<R.value, P.value, 3>(sums, x + row * x_row, x_row, 1, w->W + j * w->I * 3 * V, w->I * 3 * V, w->I);
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 3; g++)
                    store(out + (row + r) * out_row + (j - mine.j0) * 3 * V + g * V, sums[r][g]);
        });
    });
}

GRUS_INLINE vec blend(vec z, vec n, vec h) { return fma(z, sub(h, n), n); }  // (1 - z) n + z h
GRUS_INLINE vec keep(vec z, vec zone) { return blend(zone, z, splat(1.0f)); }

// The state of row b stays as it is over step t.
void carry_on(const gru_packed *w, const gru_forward *f, const part &units, const states &before, int64_t t,
              int64_t b) {
    const float *past = before.past.h + b * before.past.stride;
    float *y = f->y + t * f->y_t + b * f->y_b;
    for (int64_t unit = units.j0 * V; unit < least(units.j1 * V, w->H); unit += V)
        store_some(y + unit, load_some(past + unit, w->H - unit), w->H - unit);
}

struct gates_of {
    vec r, z, n, u_n;
};

GRUS_INLINE void keep_reset(const gru_packed *w, int64_t b, int64_t unit, vec r, float *gates) {
    if (gates) store(gates + b * 4 * w->HP + unit, r);
}

// The gates of some units of row b to their next state.
GRUS_INLINE void finish(const gru_packed *w, const gru_forward *f, const states &before, int64_t t, int64_t b,
                        int64_t unit, gates_of by, float *gates) {
    int64_t H = w->H, HP = w->HP;
    if (gates) {
        float *at = gates + b * 4 * HP + unit;
        if (w->reset_after) {
            store(at, by.r);
            store(at + 3 * HP, by.u_n);
        }
        store(at + HP, by.z);
        store(at + 2 * HP, by.n);
    }
    vec past = load_some(before.past.h + b * before.past.stride + unit, H - unit);
    if (zones(f->more)) by.z = keep(by.z, zone_of(f->more, f->B, H, t, b, unit));
    vec after = marked(f->more, f->B, t, b, GRU_SKIP) ? past : blend(by.z, by.n, past);
    store_some(f->y + t * f->y_t + b * f->y_b + unit, after, H - unit);
}

// Every other step goes through the units from the last to the first (`back`), and finds the weights it starts with in
// L1.
void step_reset_after(const gru_packed *w, const gru_forward *f, const part &mine, const states &before, int64_t t,
                      const float *projected, float *gates, bool back) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, H = w->H;
    cover<3>(
        mine.b1 - mine.b0, mine.j0, mine.j1,
        [&](auto R, auto P, int64_t row, int64_t j) {
            int64_t b = mine.b0 + row;
            const float *x = projected + row * width + (j - mine.j0) * 3 * V;
            if (idle(f->more, f->B, t, b, R.value)) {
                for (int r = 0; r < R.value; r++) carry_on(w, f, {0, 0, j, j + P.value}, before, t, b + r);
                return;
            }
            vec sums[R.value][P.value * 3];
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    sums[r][p * 3] = load(x + r * width + p * 3 * V);
                    sums[r][p * 3 + 1] = load(x + r * width + p * 3 * V + V);
                    sums[r][p * 3 + 2] = load(w->bias + ((j + p) * 4 + 3) * V);
                }
            const float *seen = before.seen.h + b * before.seen.stride;
            dot<R.value, P.value, 3>(sums, seen, before.seen.stride, 1, w->U + j * H * 3 * V, H * 3 * V, H);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    vec reset = sigmoid(sums[r][p * 3]), update = sigmoid(sums[r][p * 3 + 1]), u_n = sums[r][p * 3 + 2];
                    vec n = tanhyp(fma(reset, u_n, load(x + r * width + p * 3 * V + 2 * V)));
                    finish(w, f, before, t, b + r, (j + p) * V, {reset, update, n, u_n}, gates);
                }
        },
        back);
}

// Reset before, first half of a step: r and z of the shard's units, r h for all to read.
void reset_units(const gru_packed *w, const gru_forward *f, const part &mine, const states &before, int64_t t,
                 const float *projected, float *gates) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, H = w->H, HP = w->HP;
    float *past_reset = f->reset, *updates = f->update;
    cover<2>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        int64_t b = mine.b0 + row;
        const float *x = projected + row * width + (j - mine.j0) * 3 * V;
        const float *h = before.seen.h + b * before.seen.stride;
        if (idle(f->more, f->B, t, b, R.value)) return;
        vec sums[R.value][P.value * 2];
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * 2; g++) sums[r][g] = load(x + r * width + g / 2 * 3 * V + g % 2 * V);
        dot<R.value, P.value, 2>(sums, h, before.seen.stride, 1, w->U + j * H * 2 * V, H * 2 * V, H);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V, at = (b + r) * HP + unit;
                vec seen = load_some(h + r * before.seen.stride + unit, H - unit), reset = sigmoid(sums[r][p * 2]);
                store(past_reset + at, mul(reset, seen));
                store(updates + at, sigmoid(sums[r][p * 2 + 1]));
                keep_reset(w, b + r, unit, reset, gates);
            }
    });
}

// Reset before, second half: n from r h of all units, and the new state.
void candidate_units(const gru_packed *w, const gru_forward *f, const part &mine, const states &before, int64_t t,
                     const float *projected, float *gates) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, H = w->H, HP = w->HP;
    const float *past_reset = f->reset, *updates = f->update;
    cover<1>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        int64_t b = mine.b0 + row;
        const float *x = projected + row * width + (j - mine.j0) * 3 * V + 2 * V;
        if (idle(f->more, f->B, t, b, R.value)) {
            for (int r = 0; r < R.value; r++) carry_on(w, f, {0, 0, j, j + P.value}, before, t, b + r);
            return;
        }
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = load(x + r * width + p * 3 * V);
        dot<R.value, P.value, 1>(sums, past_reset + b * HP, HP, 1, w->U_n + j * H * V, H * V, H);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                vec update = load(updates + (b + r) * HP + (j + p) * V), none = splat(0.0f);
                finish(w, f, before, t, b + r, (j + p) * V, {none, update, tanhyp(sums[r][p]), none}, gates);
            }
    });
}

}  // namespace
