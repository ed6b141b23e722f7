// A step with the reset after the product: one part, the gates finished in registers.

namespace {

// Every other step goes through the units from the last to the first, and finds the weights it starts with in L1.
template <class Weight>
void step_reset_after(step<Weight> now) {
    packed<Weight> w = now.w;
    int64_t width = now.width();
    w.U().cover(
        now.rows(), now.mine.j0, now.mine.j1,
        [&](auto R, auto P, int64_t row, int64_t j) {
            int64_t b = now.mine.b0 + row;
            const float *x = now.projected(b, j);
            vec sums[R.value][P.value * 3];
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    sums[r][p * 3] = load(x + r * width + p * 3 * V);
                    sums[r][p * 3 + 1] = load(x + r * width + p * 3 * V + V);
                    sums[r][p * 3 + 2] = w.b_hn(j + p);
                }
            w.U().dot(sums, j, now.before.seen.row(b), now.before.seen.stride);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    vec *sum = sums[r] + p * 3, x_n = load(x + r * width + p * 3 * V + 2 * V);
                    finish<true>(now, b + r, (j + p) * V, gates_after(sum[0], sum[1], x_n, sum[2]));
                }
        },
        now.s % 2 != 0);
}

struct reset_after {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(Each each) {
        each([](const step<Weight> &now) {
            begin(now);
            step_reset_after(now);
        });
    }
};

}  // namespace
