// A chunk whose recurrent products are normalised. All its gates are computed once more.

namespace {

template <bool after, class Weight>
void products_again(const chunk<Weight> &c, const part &mine) {
    int64_t HP = c.w->HP;
    chunk_runs(c, c.steps, mine, [&](const run &q) {
        if constexpr (after)
            raw_products(c.w.U(), mine, HP, q.rows, q.seen, q.h_row, q.at(0, 0).raw(0), q.slots_row);
        else
            raw_products(c.w.U_rz(), mine, HP, q.rows, q.seen, q.h_row, q.at(0, 0).raw(0), q.slots_row);
    });
}

// Reset before: with r h
template <class Weight>
void reset_products_again(const chunk<Weight> &c, const part &mine) {
    chunk_runs(c, c.steps, mine, [&](const run &q) {
        slots at = q.at(0, 0);
        raw_products(c.w.U_n(), mine, c.w->HP, q.rows, at.rh(), q.slots_row, at.raw(2), q.slots_row);
    });
}

// f(at, x, past, seen, unit, zone) for some units at a time of the shard's rows and units; x is W x + b_i; row(slots)
// comes first for each row.
template <class Weight, class Row, class F>
GRUS_INLINE void each_unit(const chunk<Weight> &c, const part &mine, Row row, F f) {
    chunk_runs(c, c.steps, mine, [&](const run &q) {
        for (int64_t i = 0; i < q.rows; i++) {
            row(q.at(i, 0));
            for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
                f(q.at(i, unit), q.x + i * q.x_row + unit, q.past_units(i, unit), q.seen_units(i, unit), unit,
                  c.zone(q.step(i), q.place(i), unit));
        }
    });
}

template <bool after, class Weight>
void normalise_again(const chunk<Weight> &c, const part &mine) {
    const gru_packed *w = c.w.all;
    int64_t H = w->H, HP = w->HP;
    moments rz{}, m{};
    each_unit(
        c, mine,
        [&](slots row) {
            rz = moments_of(row.raw(0), 2, H, HP);
            if (after) m = moments_of(row.raw(2), 1, H, HP);
            if (mine.j0 == 0) row.slot(SCALES)[0] = rz.scale;
            if (mine.j0 == 0 && after) row.slot(SCALES)[1] = m.scale;
        },
        [&](slots at, const float *x, vec past, vec seen, int64_t unit, vec zone) {
            vec unit_r = normalised(at.raw(0), rz, H - unit), unit_z = normalised(at.raw(1), rz, H - unit);
            vec sum_r = add(load_some(x, H - unit), scaled(w, unit, 0, unit_r));
            vec sum_z = add(load_some(x + H, H - unit), scaled(w, unit, 1, unit_z));
            store(at.unit(0), unit_r);
            store(at.unit(1), unit_z);
            if (after) {
                vec unit_n = normalised(at.raw(2), m, H - unit);
                store(at.unit(2), unit_n);
                gates by = gates_after(sum_r, sum_z, load_some(x + 2 * H, H - unit), scaled(w, unit, 2, unit_n));
                at.put(factors_of(by.z, by.n, past, zone));
                store(at.by_reset(), reset_factor(by.r, by.u_n));
                store(at.r(), by.r);
            } else {
                vec reset = reset_gate(sum_r);
                store(at.r(), reset);
                store(at.rh(), mul(reset, seen));
                store(at.z(), update_gate(sum_z));
            }
        });
}

template <class Weight>
void normalise_candidates_again(const chunk<Weight> &c, const part &mine) {
    const gru_packed *w = c.w.all;
    int64_t H = w->H, HP = w->HP;
    moments m{};
    each_unit(
        c, mine,
        [&](slots row) {
            m = moments_of(row.raw(2), 1, H, HP);
            if (mine.j0 == 0) row.slot(SCALES)[1] = m.scale;
        },
        [&](slots at, const float *x, vec past, vec, int64_t unit, vec zone) {
            vec unit_n = normalised(at.raw(2), m, H - unit);
            store(at.unit(2), unit_n);
            vec n = candidate_before(add(load_some(x + 2 * H, H - unit), scaled(w, unit, 2, unit_n)));
            at.put(factors_of(load(at.z()), n, past, zone));
        });
}

// `raw` of a row from the gradients by what was normalised, of some gates that were so together:
// (γ dy - mean(γ dy) - x̂ mean(γ dy x̂)) / deviation
template <class Weight>
void normalise_group(const chunk<Weight> &c, const part &mine, slots row, const int *by, int first, int gates,
                     float scale) {
    int64_t H = c.w->H;
    vec sum = splat(0.0f), along = splat(0.0f);
    auto scaled_gradient = [&](int g, int64_t unit) {
        return mul(gain_of(c.w.all, unit, first + g), load(row.slot(by[first + g]) + unit));
    };
    for (int g = 0; g < gates; g++)
        for (int64_t unit = 0; unit < H; unit += V) {
            vec d = scaled_gradient(g, unit);
            sum = add(sum, d);
            along = fma(d, load(row.unit(first + g) + unit), along);
        }
    vec mean = splat(total(sum) / (float)(gates * H)), mean_along = splat(total(along) / (float)(gates * H));
    for (int g = 0; g < gates; g++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            vec unscaled = load(row.unit(first + g) + unit);
            vec d = sub(sub(scaled_gradient(g, unit), mean), mul(unscaled, mean_along));
            store(row.raw(first + g) + unit, mul(mul(d, splat(scale)), ones(H - unit)));
        }
}

// Of step s, for r and z together, n or both.
template <bool after, class Weight>
void products_back(const chunk<Weight> &c, const part &mine, int64_t s, bool rz, bool n) {
    const int by[3] = {DR, DZ, after ? DU : DN};
    for (int64_t b = mine.b0, end = c.end(s, mine); b < end; b++) {
        slots row = c.at(s, b, 0);
        const float *scales = row.slot(SCALES);
        if (rz) normalise_group(c, mine, row, by, 0, 2, scales[0]);
        if (n) normalise_group(c, mine, row, by, 2, 1, scales[1]);
    }
}

struct back_normalised_after {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(const chunk<Weight> &c, Each each) {
        each([&](const part &mine) { products_again<true>(c, mine); });
        each([&](const part &mine) { normalise_again<true>(c, mine); });
        each([&](const part &mine) {
            if (c.first) first_carry(c, mine);
            gate_gradients<true>(c, mine, c.steps - 1);
        });
        for (int64_t s = c.steps - 1; s >= 0; s--) {
            each([&](const part &mine) { products_back<true>(c, mine, s, true, true); });
            each([&](const part &mine) {
                carry_back(c, mine, s, RAW_R, c.w.Ut());
                go_on<true>(c, mine, s);
            });
        }
    }
};

struct back_normalised_before {
    template <class Weight, class Each>
    GRUS_INLINE static void walk(const chunk<Weight> &c, Each each) {
        each([&](const part &mine) { products_again<false>(c, mine); });
        each([&](const part &mine) { normalise_again<false>(c, mine); });
        each([&](const part &mine) {
            reset_products_again(c, mine);
            if (c.first) first_carry(c, mine);
        });
        each([&](const part &mine) { normalise_candidates_again(c, mine); });
        each([&](const part &mine) { gate_gradients<false>(c, mine, c.steps - 1); });  // others read r h till here
        for (int64_t s = c.steps - 1; s >= 0; s--) {
            each([&](const part &mine) { products_back<false>(c, mine, s, false, true); });
            each([&](const part &mine) { reset_back(c, mine, s, RAW_N); });
            each([&](const part &mine) { products_back<false>(c, mine, s, true, false); });
            each([&](const part &mine) {
                carry_back(c, mine, s, RAW_R, c.w.Ut_rz());
                go_on<false>(c, mine, s);
            });
        }
    }
};

}  // namespace
