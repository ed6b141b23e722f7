// The panels of weights and the tile: R rows times P panels of N gates, its sums in registers, one fused multiply-add
// after another in the order of k. Everything that multiplies goes through `dot`, and reaches it through `cover`.

namespace {

template <int value_>
struct constant {
    static constexpr int value = value_;
};

constexpr int SUMS = REGISTERS == 32 ? 24 : 12;  // vectors of sums a tile may hold
constexpr int ROWS = SUMS / 3;
constexpr int64_t BLOCK = 64;  // terms in one chain of a sum

// A format of weights: how the panels of N gates lie, and how P of them side by side are read along k. Another format
// (bfloat16, the weights as they lie) is another such struct.
struct float32 {  // a panel is [K][N][V]
    using element = float;

    template <int N>
    GRUS_INLINE static int64_t panel(int64_t K) {
        return K * N * V;
    }

    // as gru_kernels::pack
    static void pack(float *dst, const float *src, int64_t rows, int64_t K, int gates, int64_t src_gate,
                     int64_t src_row, int64_t src_k);

    template <int P, int N>
    struct reader {
        const float *at;
        int64_t apart;  // from panel to panel

        GRUS_INLINE vec load(int g) const { return ::load(at + g / N * apart + g % N * V); }  // of gate g % N
        GRUS_INLINE void next() { at += N * V; }                                              // the next k
    };
};

// sums[r][g] += Σ_k a[r a_r + k a_k] * w[k][g]
// A chain of fused multiply-adds for every BLOCK of k, the blocks' sums added in order: where the error of one long
// chain would grow with K, this grows with BLOCK + K / BLOCK.
template <int R, int S, class Reader>
GRUS_INLINE void dot(vec (&sums)[R][S], const float *a, int64_t a_r, int64_t a_k, Reader w, int64_t K) {
    for (int64_t k0 = 0; k0 < K; k0 += BLOCK) {
        vec block[R][S];
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 24
            for (int g = 0; g < S; g++) block[r][g] = splat(0.0f);
        int64_t end = least(BLOCK, K - k0);
        asm("" : "+m"(sums));  // in memory while the chains run: the registers are theirs
        for (int64_t k = 0; k < end; k++) {
            vec weights[S];
#pragma GCC unroll 24
            for (int g = 0; g < S; g++) weights[g] = w.load(g);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                vec x = splat(a[r * a_r]);
#pragma GCC unroll 24
                for (int g = 0; g < S; g++) block[r][g] = fma(x, weights[g], block[r][g]);
            }
            a += a_k;
            w.next();
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 24
            for (int g = 0; g < S; g++) sums[r][g] = add(sums[r][g], block[r][g]);
    }
}

// How many panels a tile of R rows takes side by side: few rows want many, for independent chains of sums. One row of
// three gates takes two, no more: reading weights bounds it, and the fewer a tile takes the more of the last ones are
// still in L1 when the next step begins with them (see forward/reset_after.inl).
constexpr int most_panels(int R, int N, int most) {
    int P = R == 1 && N == 3 ? 2 : SUMS / (R * N);
    return P < 1 ? 1 : P > most ? most : P;
}

// f(P, j): panels j to j + P - 1, as many at a time as fit; from the last to the first if `back`
template <int P, class F>
GRUS_INLINE void side_by_side(int64_t j, int64_t end, bool back, F f) {
    int64_t rest = (end - j) % P;
    if constexpr (P > 1)
        if (back && rest) side_by_side<(P + 1) / 2>(end - rest, end, back, f);
    for (int64_t i = 0, count = (end - j) / P; i < count; i++) f(constant<P>{}, j + (back ? count - 1 - i : i) * P);
    if constexpr (P > 1)
        if (!back && rest) side_by_side<(P + 1) / 2>(end - rest, end, back, f);
}

// f(R, P, row, j) for tiles that cover rows 0 to rows - 1 and panels j0 to j1 - 1 of N gates. A panel stays in cache
// while the rows pass; passing(P, j, true) comes before they do, passing(P, j, false) behind them. At most `MOST`
// panels side by side.
template <int N, int MOST = 8, class F, class Passing>
GRUS_INLINE void cover(int64_t rows, int64_t j0, int64_t j1, F f, bool back, Passing passing) {
    int64_t full = rows - rows % ROWS;
    if (full)
        side_by_side<most_panels(ROWS, N, MOST)>(j0, j1, back, [&](auto P, int64_t j) {
            if (full > ROWS) passing(P, j, true);
            for (int64_t row = 0; row < full; row += ROWS) f(constant<ROWS>{}, P, row, j);
            if (full > ROWS) passing(P, j, false);
        });
    auto rest = [&](auto R) {
        side_by_side<most_panels(R.value, N, MOST)>(j0, j1, back, [&](auto P, int64_t j) { f(R, P, full, j); });
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

// Weights [tile][K][N gates][V] of a format.
template <class Weight, int N>
struct panels {
    const typename Weight::element *data;
    int64_t K;
    static constexpr int gates = N;

    GRUS_INLINE const typename Weight::element *tile(int64_t j) const {
        return data + j * Weight::template panel<N>(K);
    }

    // sums[r][p N + g] += Σ_k a[r a_r + k a_k] times gate g of panel j + p
    template <int R, int S>
    GRUS_INLINE void dot(vec (&sums)[R][S], int64_t j, const float *a, int64_t a_r, int64_t a_k = 1) const {
        typename Weight::template reader<S / N, N> w{tile(j), Weight::template panel<N>(K)};
        ::dot(sums, a, a_r, a_k, w, K);
    }

    template <class F>
    GRUS_INLINE void cover(int64_t rows, int64_t j0, int64_t j1, F f, bool back = false) const {
        ::cover<N>(rows, j0, j1, f, back, [](auto, int64_t, bool) {});
    }

    // f(R, P, row, j, sums) with first(row, j) + the products of the rows of a, for panels of one gate
    template <class First, class F>
    GRUS_INLINE void times(int64_t rows, int64_t j0, int64_t j1, const float *a, int64_t a_r, First first, F f) const {
        cover(rows, j0, j1, [&](auto R, auto P, int64_t row, int64_t j) {
            vec sums[R.value][P.value];
            for (int r = 0; r < R.value; r++)
                for (int p = 0; p < P.value; p++) sums[r][p] = first(row + r, j + p);
            dot(sums, j, a + row * a_r, a_r);
            f(R, P, row, j, sums);
        });
    }
};

template <int R, int S>
GRUS_INLINE void clear(vec (&sums)[R][S]) {
    for (int r = 0; r < R; r++)
        for (int g = 0; g < S; g++) sums[r][g] = splat(0.0f);
}

struct as_given;  // the weights as they are given, [3H, K]: given.inl
struct turned;    // what of them a worker has turned into panels

// The weights of a layer by name (gru_packed).
template <class Weight>
struct arrays {
    const gru_packed *all;
    turned *held;  // not used here

    GRUS_INLINE panels<Weight, 3> W() const { return {all->W, all->I}; }
    GRUS_INLINE panels<Weight, 3> U() const { return {all->U, all->H}; }     // reset after
    GRUS_INLINE panels<Weight, 2> U_rz() const { return {all->U, all->H}; }  // reset before
    GRUS_INLINE panels<Weight, 1> U_n() const { return {all->U_n, all->H}; }
    // transposed, for the way back
    GRUS_INLINE panels<Weight, 1> Wt() const { return {all->Wt, 3 * all->HP}; }
    GRUS_INLINE panels<Weight, 1> Ut() const { return {all->Ut, 3 * all->HP}; }     // reset after
    GRUS_INLINE panels<Weight, 1> Ut_rz() const { return {all->Ut, 2 * all->HP}; }  // reset before
    GRUS_INLINE panels<Weight, 1> Ut_n() const { return {all->Ut_n, all->HP}; }
};

// The same with what is packed whatever the format.
template <class Weight>
struct packed : arrays<Weight> {
    using arrays<Weight>::all;

    GRUS_INLINE const gru_packed *operator->() const { return all; }

    // b_i + b_h of gate g, counted over panels from j on; of n with b_hn only where the reset comes before
    GRUS_INLINE vec bias(int64_t j, int g) const { return load(all->bias + ((j + g / 3) * 4 + g % 3) * V); }
    GRUS_INLINE vec b_hn(int64_t j) const { return load(all->bias + (j * 4 + 3) * V); }

    // sums = b + W x of a tile
    template <int R, int S>
    GRUS_INLINE void project(vec (&sums)[R][S], int64_t j, const float *x, int64_t x_row) const {
        for (int r = 0; r < R; r++)
            for (int g = 0; g < S; g++) sums[r][g] = bias(j, g);
        this->W().dot(sums, j, x, x_row);
    }
};

void float32::pack(float *dst, const float *src, int64_t rows, int64_t K, int gates, int64_t src_gate, int64_t src_row,
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

}  // namespace
