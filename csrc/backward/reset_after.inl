// A chunk with the reset after the product.

namespace {

template <class Weight>
void recompute_after(const chunk<Weight> &c, const part &mine) {
    packed<Weight> w = c.w;
    chunk_runs(c, c.unsaved(), mine, [&](const run &q) {
        w.W().cover(q.rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            vec sums[R.value][P.value * 3];
            w.project(sums, j, q.x + row * q.x_row, q.x_row);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    store(q.at(row + r, (j + p) * V).x_n(), sums[r][p * 3 + 2]);
                    sums[r][p * 3 + 2] = w.b_hn(j + p);
                }
            w.U().dot(sums, j, q.seen + row * q.h_row, q.h_row);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    int64_t unit = (j + p) * V;
                    slots at = q.at(row + r, unit);
                    vec *sum = sums[r] + p * 3;
                    gates by = gates_after(sum[0], sum[1], load(at.x_n()), sum[2]);
                    vec zone = c.zone(q.step(row + r), q.place(row + r), unit);
                    at.put(factors_of(by.z, by.n, q.past_units(row + r, unit), zone));
                    store(at.by_reset(), reset_factor(by.r, by.u_n));
                    store(at.r(), by.r);
                }
        });
    });
}

struct back_reset_after {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(const chunk<Weight> &c, Each each) {
        each([&](const part &mine) {
            if (c.first) first_carry(c, mine);
            recompute_after(c, mine);
            gate_gradients<true>(c, mine, c.steps - 1);
        });
        for (int64_t s = c.steps - 1; s >= 0; s--)
            each([&](const part &mine) {
                carry_back(c, mine, s, DR, c.w.Ut());
                go_on<true>(c, mine, s);
            });
    }
};

}  // namespace
