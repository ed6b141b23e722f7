// A chunk with the reset before the product.

namespace {

// r, z and r h of the chunk, and W_n x + b_in for the candidates.
template <class Weight>
void recompute_reset(const chunk<Weight> &c, const part &mine) {
    packed<Weight> w = c.w;
    chunk_runs(c, c.unsaved(), mine, [&](const run &q) {
        w.W().cover(q.rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            vec sums[R.value][P.value * 3], rz[R.value][P.value * 2];
            w.project(sums, j, q.x + row * q.x_row, q.x_row);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) store(q.at(row + r, (j + p) * V).x_n(), sums[r][p * 3 + 2]);
            for (int r = 0; r < R.value; r++)
                for (int g = 0; g < P.value * 2; g++) rz[r][g] = sums[r][g / 2 * 3 + g % 2];
            w.U_rz().dot(rz, j, q.seen + row * q.h_row, q.h_row);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    int64_t unit = (j + p) * V;
                    slots at = q.at(row + r, unit);
                    vec reset = reset_gate(rz[r][p * 2]);
                    store(at.r(), reset);
                    store(at.rh(), mul(reset, q.seen_units(row + r, unit)));
                    store(at.z(), update_gate(rz[r][p * 2 + 1]));
                }
        });
    });
}

// The candidates of the chunk, once r h of all units is there.
template <class Weight>
void recompute_candidates(const chunk<Weight> &c, const part &mine) {
    packed<Weight> w = c.w;
    chunk_runs(c, c.unsaved(), mine, [&](const run &q) {
        w.U_n().cover(q.rows, mine.j0, mine.j1, [&](auto R, auto P, int64_t row, int64_t j) {
            vec sums[R.value][P.value];
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) sums[r][p] = load(q.at(row + r, (j + p) * V).x_n());
            w.U_n().dot(sums, j, q.at(row, 0).rh(), q.slots_row);
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) {
                    int64_t unit = (j + p) * V;
                    slots at = q.at(row + r, unit);
                    vec zone = c.zone(q.step(row + r), q.place(row + r), unit);
                    vec n = candidate_before(sums[r][p]);
                    at.put(factors_of(load(at.z()), n, q.past_units(row + r, unit), zone));
                }
        });
    });
}

// dr needs U_nᵀ dn, the gradient by r h, of its own units; dn is in slot `candidate`.
template <class Weight>
void reset_back(const chunk<Weight> &c, const part &mine, int64_t s, int candidate) {
    const gru_backward *f = c.f;
    int64_t H = c.w->H, HP = c.w->HP, size = c.row_size();
    const float *dn = c.at(s, mine.b0, 0).slot(candidate);
    auto Ut_n = c.w.Ut_n();
    auto nothing = [](int64_t, int64_t) { return splat(0.0f); };
    Ut_n.times(c.rows(s, mine), mine.j0, mine.j1, dn, size, nothing,
               [&](auto R, auto P, int64_t row, int64_t j, auto &sums) {
                   for (int r = 0; r < R.value; r++)
                       for (int p = 0; p < P.value; p++) {
                           int64_t b = mine.b0 + row + r, unit = (j + p) * V;
                           slots at = c.at(s, b, unit);
                           float *carry = f->carry + b * HP + unit;
                           vec reset = load(at.r());
                           store(at.dr(), reset_gradient(sums[r][p], load(at.rh()), reset));
                           vec by_h = past_reset(sums[r][p], reset);
                           if (f->more.drop) by_h = mul(by_h, drop_of(*f, H, c.batch(b), unit));
                           store(carry, add(by_h, load(carry)));
                       }
               });
}

struct back_reset_before {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(const chunk<Weight> &c, Each each) {
        each([&](const part &mine) {
            if (c.first) first_carry(c, mine);
            recompute_reset(c, mine);
        });
        each([&](const part &mine) { recompute_candidates(c, mine); });
        each([&](const part &mine) { gate_gradients<false>(c, mine, c.steps - 1); });  // others read r h till here
        for (int64_t s = c.steps - 1; s >= 0; s--) {
            each([&](const part &mine) { reset_back(c, mine, s, DN); });
            each([&](const part &mine) {
                carry_back(c, mine, s, DR, c.w.Ut_rz());
                go_on<false>(c, mine, s);
            });
        }
    }
};

}  // namespace
