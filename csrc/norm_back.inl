// Back through the layer normalisation of norm.inl. A row of `slots` has six more slots, and two numbers behind them:
//
//   UNIT_R, UNIT_Z, UNIT_N   x̂, the products of mean 0 and deviation 1
//   RAW_R, RAW_Z, RAW_N      the products as they are; after the walk back the gradients by them
//   SCALES                   one over the deviation, of r and z together and of n

namespace {

void products_again(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    chunk_runs(c, 0, c.steps, mine.b0, mine.b1, [&](const run &q) {
        float *to = q.gates + RAW_R * w->HP;
        if (w->reset_after)
            raw_products<3>(w, mine, q.rows, q.seen, q.h_row, w->U, to, q.gates_row);
        else
            raw_products<2>(w, mine, q.rows, q.seen, q.h_row, w->U, to, q.gates_row);
    });
}

// Reset before: with r h, which DR holds
void reset_products_again(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    chunk_runs(c, 0, c.steps, mine.b0, mine.b1, [&](const run &q) {
        const float *rh = q.gates + DR * w->HP;
        raw_products<1>(w, mine, q.rows, rh, q.gates_row, w->U_n, q.gates + RAW_N * w->HP, q.gates_row);
    });
}

// f(gates, a, past, seen, unit, zone) for some units at a time of the shard's rows and units; a is W x + b_i;
// row(gates) comes first for each row.
template <class Row, class F>
GRUS_INLINE void each_unit(const walk &c, const part &mine, Row row, F f) {
    int64_t H = c.w->H;
    chunk_runs(c, 0, c.steps, mine.b0, mine.b1, [&](const run &q) {
        for (int64_t i = 0; i < q.rows; i++) {
            float *gates = q.gates + i * q.gates_row;
            row(gates);
            for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V)
                f(gates, q.x + i * q.x_row + unit, load_some(q.h + i * q.h_row + unit, H - unit),
                  load_some(q.seen + i * q.h_row + unit, H - unit), unit, c.zone(q.step(i), q.batch(i), unit));
        }
    });
}

void normalise_again(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    int64_t H = w->H, HP = w->HP;
    moments rz{}, m{};
    each_unit(
        c, mine,
        [&](float *gates) {
            rz = moments_of(gates + RAW_R * HP, 2, H, HP);
            if (w->reset_after) m = moments_of(gates + RAW_N * HP, 1, H, HP);
            if (mine.j0 == 0) gates[SCALES * HP] = rz.scale;
            if (mine.j0 == 0 && w->reset_after) gates[SCALES * HP + 1] = m.scale;
        },
        [&](float *gates, const float *a, vec past, vec seen, int64_t unit, vec zone) {
            float *at = gates + unit;
            vec by_r = normalised(at + RAW_R * HP, rz, H - unit), by_z = normalised(at + RAW_Z * HP, rz, H - unit);
            vec r = sigmoid(add(load_some(a, H - unit), scaled(w, unit, 0, by_r)));
            vec z = sigmoid(add(load_some(a + H, H - unit), scaled(w, unit, 1, by_z)));
            store(at + UNIT_R * HP, by_r);
            store(at + UNIT_Z * HP, by_z);
            if (!w->reset_after) {
                store(at + DU * HP, r);
                store(at + DR * HP, mul(r, seen));
                store(at + KEEP * HP, z);
                return;
            }
            vec by_n = normalised(at + RAW_N * HP, m, H - unit), u_n = scaled(w, unit, 2, by_n);
            store(at + UNIT_N * HP, by_n);
            vec n = tanhyp(fma(r, u_n, load_some(a + 2 * H, H - unit)));
            factors by = factors_of(w, r, z, n, u_n, past, seen, zone);
            store(at + DN * HP, by.n);
            store(at + DR * HP, by.r);
            store(at + DZ * HP, by.z);
            store(at + DU * HP, by.u);
            store(at + KEEP * HP, by.keep);
        });
}

void normalise_candidates_again(const walk &c, const part &mine) {
    const gru_packed *w = c.w;
    int64_t H = w->H, HP = w->HP;
    moments m{};
    each_unit(
        c, mine,
        [&](float *gates) {
            m = moments_of(gates + RAW_N * HP, 1, H, HP);
            if (mine.j0 == 0) gates[SCALES * HP + 1] = m.scale;
        },
        [&](float *gates, const float *a, vec past, vec, int64_t unit, vec zone) {
            float *at = gates + unit;
            vec by_n = normalised(at + RAW_N * HP, m, H - unit), none = splat(0.0f);
            store(at + UNIT_N * HP, by_n);
            vec n = tanhyp(add(load_some(a + 2 * H, H - unit), scaled(w, unit, 2, by_n)));
            factors by = factors_of(w, none, load(at + KEEP * HP), n, none, past, none, zone);
            store(at + DN * HP, by.n);
            store(at + DZ * HP, by.z);
            store(at + KEEP * HP, by.keep);
        });
}

// RAW of step s from the gradients by what was normalised, of some gates that were so together:
// (γ dy - mean(γ dy) - x̂ mean(γ dy x̂)) / deviation
void normalise_group(const walk &c, const part &mine, float *row, const int *by, int first, int gates, float scale) {
    int64_t H = c.w->H, HP = c.w->HP;
    vec sum = splat(0.0f), along = splat(0.0f);
    auto scaled_gradient = [&](int g, int64_t unit) {
        return mul(gain_of(c.w, unit, first + g), load(row + by[first + g] * HP + unit));
    };
    for (int g = 0; g < gates; g++)
        for (int64_t unit = 0; unit < H; unit += V) {
            vec d = scaled_gradient(g, unit);
            sum = add(sum, d);
            along = fma(d, load(row + (UNIT_R + first + g) * HP + unit), along);
        }
    vec mean = splat(total(sum) / (float)(gates * H)), mean_along = splat(total(along) / (float)(gates * H));
    for (int g = 0; g < gates; g++)
        for (int64_t unit = mine.j0 * V; unit < mine.j1 * V; unit += V) {
            vec unscaled = load(row + (UNIT_R + first + g) * HP + unit);
            vec d = sub(sub(scaled_gradient(g, unit), mean), mul(unscaled, mean_along));
            store(row + (RAW_R + first + g) * HP + unit, mul(mul(d, splat(scale)), ones(H - unit)));
        }
}

void products_back(const walk &c, const part &mine, int64_t s, bool rz, bool n) {
    const int by[3] = {DR, DZ, c.w->reset_after ? DU : DN};
    for (int64_t b = mine.b0; b < mine.b1; b++) {
        float *row = c.row(s, b);
        const float *scales = row + SCALES * c.w->HP;
        if (rz) normalise_group(c, mine, row, by, 0, 2, scales[0]);
        if (n) normalise_group(c, mine, row, by, 2, 1, scales[1]);
    }
}

}  // namespace
