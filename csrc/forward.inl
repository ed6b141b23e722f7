// The forward pass: project a chunk of steps, then walk through it with the gates finished in registers.

namespace {

struct part {  // what one worker computes: rows b0 to b1 - 1 of the batch, tiles j0 to j1 - 1 of the units
    int64_t b0, b1, j0, j1;
};

GRUS_INLINE part share(int64_t B, int64_t panels, int shard_units, const gru_worker *me) {
    int64_t n = shard_units ? panels : B;
    int64_t begin = n * me->index / me->count, end = n * (me->index + 1) / me->count;
    return shard_units ? part{0, B, begin, end} : part{begin, end, 0, panels};
}

GRUS_INLINE void meet(const gru_worker *me) {
    if (me->count > 1) me->wait(me->region);
}

struct state {  // the state before a step
    const float *h;
    int64_t stride;
};

// projected [steps][b][j][3][V]: bias + W x of this worker's part, gates r, z, n
void project(const gru_packed *w, const gru_forward *f, const part &mine, int64_t s0, int64_t steps) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, batch = mine.b1 - mine.b0;
    runs(0, steps, mine.b0, mine.b1, [&](int64_t rows, int64_t s, int64_t b, bool along_t) {
        int64_t t = f->reverse ? f->T - 1 - s0 - s : s0 + s;
        const float *x = f->x + t * f->x_t + b * f->x_b;
        int64_t x_row = along_t ? (f->reverse ? -f->x_t : f->x_t) : f->x_b;
        float *out = f->projected + (s * batch + b - mine.b0) * width;
        int64_t out_row = along_t ? batch * width : width;
        cover<3>(rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
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

void step_reset_after(const gru_packed *w, const gru_forward *f, const part &mine, state before, const float *projected,
                      float *y) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, H = w->H;
    cover<3>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        const float *x = projected + row * width + (j - mine.j0) * 3 * V;
        const float *h = before.h + (mine.b0 + row) * before.stride;
        float *out = y + (mine.b0 + row) * f->y_b;
        vec sums[R.value][P.value * 3];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                sums[r][p * 3] = load(x + r * width + p * 3 * V);
                sums[r][p * 3 + 1] = load(x + r * width + p * 3 * V + V);
                sums[r][p * 3 + 2] = load(w->bias + ((j + p) * 4 + 3) * V);
            }
        dot<R.value, P.value, 3>(sums, h, before.stride, 1, w->U + j * H * 3 * V, H * 3 * V, H);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V;
                vec reset = sigmoid(sums[r][p * 3]), update = sigmoid(sums[r][p * 3 + 1]);
                vec n = tanhyp(fma(reset, sums[r][p * 3 + 2], load(x + r * width + p * 3 * V + 2 * V)));
                vec past = load_some(h + r * before.stride + unit, H - unit);
                store_some(out + r * f->y_b + unit, blend(update, n, past), H - unit);
            }
    });
}

void step_reset_before(const gru_packed *w, const gru_forward *f, const part &mine, state before,
                       const float *projected, float *y, const gru_worker *me) {
    int64_t width = (mine.j1 - mine.j0) * 3 * V, H = w->H, HP = w->HP;
    float *past_reset = f->reset, *updates = f->reset + f->B * HP;
    cover<2>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        const float *x = projected + row * width + (j - mine.j0) * 3 * V;
        const float *h = before.h + (mine.b0 + row) * before.stride;
        vec sums[R.value][P.value * 2];
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * 2; g++) sums[r][g] = load(x + r * width + g / 2 * 3 * V + g % 2 * V);
        dot<R.value, P.value, 2>(sums, h, before.stride, 1, w->U + j * H * 2 * V, H * 2 * V, H);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V, at = (mine.b0 + row + r) * HP + unit;
                vec past = load_some(h + r * before.stride + unit, H - unit);
                store(past_reset + at, mul(sigmoid(sums[r][p * 2]), past));
                store(updates + at, sigmoid(sums[r][p * 2 + 1]));
            }
    });
    if (f->shard_units) meet(me);
    cover<1>(mine.b1 - mine.b0, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        const float *x = projected + row * width + (j - mine.j0) * 3 * V + 2 * V;
        const float *h = before.h + (mine.b0 + row) * before.stride;
        float *out = y + (mine.b0 + row) * f->y_b;
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = load(x + r * width + p * 3 * V);
        dot<R.value, P.value, 1>(sums, past_reset + (mine.b0 + row) * HP, HP, 1, w->U_n + j * H * V, H * V, H);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V;
                vec update = load(updates + (mine.b0 + row + r) * HP + unit);
                vec past = load_some(h + r * before.stride + unit, H - unit);
                store_some(out + r * f->y_b + unit, blend(update, tanhyp(sums[r][p]), past), H - unit);
            }
    });
}

void forward(const gru_packed *w, const gru_forward *given, const gru_worker *me) {
    gru_forward f = *given;
    f.projected += me->index * f.projected_size;
    part mine = share(f.B, w->HP / V, f.shard_units, me);
    int64_t step_size = (mine.b1 - mine.b0) * (mine.j1 - mine.j0) * 3 * V;
    state before = {f.h0, f.h_b};
    for (int64_t s0 = 0; s0 < f.T; s0 += f.chunk) {
        int64_t steps = least(f.chunk, f.T - s0);
        project(w, &f, mine, s0, steps);
        for (int64_t s = 0; s < steps; s++) {
            int64_t t = f.reverse ? f.T - 1 - s0 - s : s0 + s;
            float *y = f.y + t * f.y_t;
            if (w->reset_after)
                step_reset_after(w, &f, mine, before, f.projected + s * step_size, y);
            else
                step_reset_before(w, &f, mine, before, f.projected + s * step_size, y, me);
            before = {y, f.y_b};
            if (f.shard_units) meet(me);
        }
    }
}

}  // namespace
