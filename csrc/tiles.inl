// The tile: R rows times P panels of N gates, its sums in registers, one fused multiply-add after another in the order
// of k. Everything that multiplies goes through `dot`, and reaches it through `cover`.

namespace {

template <int value_>
struct constant {
    static constexpr int value = value_;
};

constexpr int SUMS = REGISTERS == 32 ? 24 : 12;  // vectors of sums a tile may hold
constexpr int ROWS = SUMS / 3;
constexpr int64_t BLOCK = 64;  // terms in one chain of a sum

GRUS_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
GRUS_INLINE int64_t tiles(int64_t n) { return (n + V - 1) / V; }

// sums[r][p * N + g] += Σ_k a[r a_r + k a_k] * w[p w_p + (k N + g) V + lane]
// A chain of fused multiply-adds for every BLOCK of k, the blocks' sums added in order: where the error of one long
// chain would grow with K, this grows with BLOCK + K / BLOCK.
template <int R, int P, int N>
GRUS_INLINE void dot(vec (&sums)[R][P * N], const float *a, int64_t a_r, int64_t a_k, const float *w, int64_t w_p,
                     int64_t K) {
    for (int64_t k0 = 0; k0 < K; k0 += BLOCK) {
        vec block[R][P * N];
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 24
            for (int g = 0; g < P * N; g++) block[r][g] = splat(0.0f);
        int64_t end = least(BLOCK, K - k0);
        asm("" : "+m"(sums));  // in memory while the chains run: the registers are theirs
        for (int64_t k = 0; k < end; k++) {
            vec weights[P * N];
#pragma GCC unroll 24
            for (int g = 0; g < P * N; g++) weights[g] = load(w + g / N * w_p + g % N * V);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                vec x = splat(a[r * a_r]);
#pragma GCC unroll 24
                for (int g = 0; g < P * N; g++) block[r][g] = fma(x, weights[g], block[r][g]);
            }
            a += a_k;
            w += N * V;
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 24
            for (int g = 0; g < P * N; g++) sums[r][g] = add(sums[r][g], block[r][g]);
    }
}

// How many panels a tile of R rows takes side by side: few rows want many, for independent chains of sums. One row of
// three gates takes two, no more: reading weights bounds it, and the fewer a tile takes the more of the last ones are
// still in L1 when the next step begins with them (see step_reset_after).
constexpr int most_panels(int R, int N) {
    int P = R == 1 && N == 3 ? 2 : SUMS / (R * N);
    return P < 1 ? 1 : P > 8 ? 8 : P;
}

// f(P, j): panels j to j + P - 1, as many at a time as fit; from the last to the first if `back`
template <int P, class F>
GRUS_INLINE void panels(int64_t j, int64_t end, bool back, F f) {
    int64_t rest = (end - j) % P;
    if constexpr (P > 1)
        if (back && rest) panels<(P + 1) / 2>(end - rest, end, back, f);
    for (int64_t i = 0, count = (end - j) / P; i < count; i++) f(constant<P>{}, j + (back ? count - 1 - i : i) * P);
    if constexpr (P > 1)
        if (!back && rest) panels<(P + 1) / 2>(end - rest, end, back, f);
}

// f(R, P, row, j) for tiles that cover rows 0 to rows - 1 and panels j0 to j1 - 1 of N gates. A panel stays in cache
// while the rows pass.
template <int N, class F>
GRUS_INLINE void cover(int64_t rows, int64_t j0, int64_t j1, F f, bool back = false) {
    int64_t full = rows - rows % ROWS;
    if (full)
        panels<most_panels(ROWS, N)>(j0, j1, back, [&](auto P, int64_t j) {
            for (int64_t row = 0; row < full; row += ROWS) f(constant<ROWS>{}, P, row, j);
        });
    auto rest = [&](auto R) {
        panels<most_panels(R.value, N)>(j0, j1, back, [&](auto P, int64_t j) { f(R, P, full, j); });
    };
    switch (rows - full) {
        case 1:
            rest(constant<1>{});
            break;
        case 2:
            rest(constant<2>{});
            break;
        case 3:
            rest(constant<3>{});
            break;
        case 4:
            if constexpr (ROWS > 4) rest(constant<4>{});
            break;
        case 5:
            if constexpr (ROWS > 5) rest(constant<5>{});
            break;
        case 6:
            if constexpr (ROWS > 6) rest(constant<6>{});
            break;
        case 7:
            if constexpr (ROWS > 7) rest(constant<7>{});
            break;
    }
}

// f(rows, t, b, stride_t): runs of rows of the block [t0, t1) x [b0, b1), along the longer of its two sides
template <class F>
GRUS_INLINE void runs(int64_t t0, int64_t t1, int64_t b0, int64_t b1, F f) {
    if (b1 - b0 >= t1 - t0)
        for (int64_t t = t0; t < t1; t++) f(b1 - b0, t, b0, false);
    else
        for (int64_t b = b0; b < b1; b++) f(t1 - t0, t0, b, true);
}

void pack(float *dst, const float *src, int64_t rows, int64_t K, int gates, int64_t src_gate, int64_t src_row,
          int64_t src_k) {
    int64_t to_k = gates * V;
    for (int64_t j = 0; j < tiles(rows); j++)
        for (int g = 0; g < gates; g++) {
            const float *from = src + g * src_gate + j * V * src_row;
            float *to = dst + j * K * to_k + g * V;
            int64_t lanes = least(V, rows - j * V);
            if (src_row == 1) {
                for (int64_t k = 0; k < K; k++) store(to + k * to_k, load_some(from + k * src_k, lanes));
                continue;
            }
            for (int64_t k = 0; k < K; k += V) {
                int64_t n = least(V, K - k);
                vec block[V];
                for (int64_t r = 0; r < V; r++)
                    block[r] = r < lanes ? load_some(from + r * src_row + k, n) : splat(0.0f);
                transpose(block);
                for (int64_t i = 0; i < n; i++) store(to + (k + i) * to_k, block[i]);
            }
        }
}

// f(shard) for every shard of a phase, each by one of the workers; ends when all are done.
template <class F>
GRUS_INLINE void phase(gru_worker *me, F f) {
    if (me->shards == 1) return f(0);
    for (int shard; (shard = me->claim(me)) >= 0;) {
        f(shard);
        me->done(me);
    }
    me->next(me);
}

struct range {
    int64_t begin, end;
};

GRUS_INLINE range share(int64_t n, int shard, const gru_worker *me) {
    return {n * shard / me->shards, n * (shard + 1) / me->shards};
}

void dense_rows(const gru_dense *d, int64_t begin, int64_t end) {
    const float *x = d->x + begin * d->x_r;
    float *y = d->y + begin * d->y_r;
    cover<1>(end - begin, 0, tiles(d->O), [&](auto R, auto P, int64_t row, int64_t j) {
        vec sums[R.value][P.value];
        for (int r = 0; r < R.value; r++)
            for (int p = 0; p < P.value; p++) sums[r][p] = load(d->bias + (j + p) * V);
        dot<R.value, P.value, 1>(sums, x + row * d->x_r, d->x_r, 1, d->panels + j * d->K * V, d->K * V, d->K);
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
