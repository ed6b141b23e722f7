// A step with the reset before the product: r h of all units must be there before any candidate.

namespace {

// r and z of the shard's units, r h for all to read.
template <class Weight>
void reset_units(step<Weight> now) {
    packed<Weight> w = now.w;
    int64_t width = now.width(), HP = w->HP, stride = now.before.seen.stride;
    float *rh = now.f->reset, *updates = now.f->update;
    w.U_rz().cover(now.rows(), now.mine.j0, now.mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        int64_t b = now.mine.b0 + row;
        const float *x = now.projected(b, j);
        vec sums[R.value][P.value * 2];
        for (int r = 0; r < R.value; r++)
            for (int g = 0; g < P.value * 2; g++) sums[r][g] = load(x + r * width + g / 2 * 3 * V + g % 2 * V);
        w.U_rz().dot(sums, j, now.before.seen.row(b), stride);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V, at = (b + r) * HP + unit;
                vec reset = reset_gate(sums[r][p * 2]);
                store(rh + at, mul(reset, now.seen(b + r, unit)));
                store(updates + at, update_gate(sums[r][p * 2 + 1]));
                save_reset(now, b + r, unit, reset);
            }
    });
}

// n from r h of all units, and the new state.
template <class Weight>
void candidate_units(step<Weight> now) {
    packed<Weight> w = now.w;
    int64_t width = now.width(), HP = w->HP;
    const float *rh = now.f->reset, *updates = now.f->update;
    w.U_n().cover(now.rows(), now.mine.j0, now.mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
        int64_t b = now.mine.b0 + row;
        const float *x = now.projected(b, j) + 2 * V;
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = load(x + r * width + p * 3 * V);
        w.U_n().dot(sums, j, rh + b * HP, HP);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) {
                int64_t unit = (j + p) * V;
                vec z = load(updates + (b + r) * HP + unit), n = candidate_before(sums[r][p]), none = splat(0.0f);
                finish<false>(now, b + r, unit, {none, z, n, none});
            }
    });
}

struct reset_before {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(Each each) {
        each([](const step<Weight> &now) {
            begin(now);
            reset_units(now);
        });
        each([](const step<Weight> &now) { candidate_units(now); });
    }
};

}  // namespace
