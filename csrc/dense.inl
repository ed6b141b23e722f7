// y = x Aᵀ + b.

namespace {

void dense_rows(const gru_dense *d, int64_t begin, int64_t end) {
    const float *x = d->x + begin * d->x_r;
    float *y = d->y + begin * d->y_r;
    panels<float32, 1> A{d->panels, d->K};
    A.cover(end - begin, 0, tiles(d->O), [&](auto R, auto P, int64_t row, int64_t j) {
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = load(d->bias + (j + p) * V);
        A.dot(sums, j, x + row * d->x_r, d->x_r);
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++)
                store_some(y + (row + r) * d->y_r + (j + p) * V, sums[r][p], d->O - (j + p) * V);
    });
}

void dense(const gru_dense *d, gru_worker *me) {
    phase(me, [&](int shard) {
        range rows = share(d->rows, shard, me);
        dense_rows(d, rows.begin, rows.end);
    });
}

}  // namespace
