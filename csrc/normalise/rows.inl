// Layer normalisation of the projected inputs, rows [3H]: r and z together over 2H values, n alone over H.

namespace {

struct group {
    int64_t begin, count;
};

GRUS_INLINE group group_of(int64_t H, int index) { return index ? group{2 * H, H} : group{0, 2 * H}; }

moments moments_of_run(const float *x, int64_t n) {
    vec sum = splat(0.0f), squares = splat(0.0f);
    for (int64_t i = 0; i < n; i += V) sum = add(sum, load_some(x + i, n - i));
    float mean = total(sum) / (float)n;
    for (int64_t i = 0; i < n; i += V) {
        vec d = mul(sub(load_some(x + i, n - i), splat(mean)), ones(n - i));
        squares = fma(d, d, squares);
    }
    return {mean, 1.0f / __builtin_sqrtf(total(squares) / (float)n + EPSILON)};
}

void normalise_row(const gru_normalise *f, int64_t row) {
    for (int index = 0; index < 2; index++) {
        group of = group_of(f->H, index);
        const float *x = f->x + row * 3 * f->H + of.begin, *gain = f->gain + of.begin;
        float *y = f->y + row * 3 * f->H + of.begin;
        moments m = moments_of_run(x, of.count);
        for (int64_t i = 0; i < of.count; i += V) {
            int64_t left = of.count - i;
            vec unit = mul(sub(load_some(x + i, left), splat(m.mean)), splat(m.scale));
            vec bias = f->bias ? load_some(f->bias + of.begin + i, left) : splat(0.0f);
            store_some(y + i, fma(load_some(gain + i, left), unit, bias), left);
        }
    }
}

// dx of a row; dy x̂ and dy are added to `sums` [2][3H]
void normalise_row_back(const gru_normalise *f, int64_t row, float *sums) {
    for (int index = 0; index < 2; index++) {
        group of = group_of(f->H, index);
        int64_t at = row * 3 * f->H + of.begin;
        const float *x = f->x + at, *dy = f->dy + at, *gain = f->gain + of.begin;
        float *dx = f->dx + at, *by_gain = sums + of.begin, *by_bias = by_gain + 3 * f->H;
        moments m = moments_of_run(x, of.count);
        vec sum = splat(0.0f), along = splat(0.0f);
        for (int64_t i = 0; i < of.count; i += V) {
            int64_t left = of.count - i;
            vec unit = mul(mul(sub(load_some(x + i, left), splat(m.mean)), splat(m.scale)), ones(left));
            vec d = load_some(dy + i, left), scaled = mul(load_some(gain + i, left), d);
            sum = add(sum, scaled);
            along = fma(scaled, unit, along);
            store_some(by_gain + i, fma(d, unit, load_some(by_gain + i, left)), left);
            store_some(by_bias + i, add(d, load_some(by_bias + i, left)), left);
        }
        vec mean = splat(total(sum) / (float)of.count), mean_along = splat(total(along) / (float)of.count);
        for (int64_t i = 0; i < of.count; i += V) {
            int64_t left = of.count - i;
            vec unit = mul(sub(load_some(x + i, left), splat(m.mean)), splat(m.scale));
            vec scaled = mul(load_some(gain + i, left), load_some(dy + i, left));
            vec d = sub(sub(scaled, mean), mul(unit, mean_along));
            store_some(dx + i, mul(d, splat(m.scale)), left);
        }
    }
}

void normalise(const gru_normalise *f, gru_worker *me) {
    phase(me, [&](int shard) {
        range rows = share(f->rows, shard, me);
        for (int64_t row = rows.begin; row < rows.end; row++) normalise_row(f, row);
    });
}

void normalise_back(const gru_normalise *f, gru_worker *me) {
    int64_t size = 6 * f->H;
    phase(me, [&](int shard) {
        range rows = share(f->rows, shard, me);
        float *sums = f->sums + shard * size;
        for (int64_t i = 0; i < size; i++) sums[i] = 0.0f;
        for (int64_t row = rows.begin; row < rows.end; row++) normalise_row_back(f, row, sums);
    });
    phase(me, [&](int shard) {
        range columns = share(size, shard, me);
        for (int64_t i = columns.begin; i < columns.end; i++) {
            float sum = 0.0f;
            for (int part = 0; part < me->shards; part++) sum += f->sums[part * size + i];
            f->dgain_dbias[i] = sum;
        }
    });
}

}  // namespace
