// Weights as they are given, [gates][H][K] in rows, for calls of few steps: nothing is copied, so nothing can be out of
// date. Forward, V rows at a time are turned in registers on their way to the multiplier; on the way back they are read
// along their rows. The sums are those of packed weights, term by term.

#define GRUS_APART \
    __attribute__((noinline))  // one function for all that call it: what it does takes far longer than a call

namespace {

// What a worker has turned: panels for the rows of one tile after another, and all of U where there are more steps.
struct turned {
    float *memory;              // panels side by side from j on, [K][S][V]
    float *steps = nullptr;     // panels of U, each where it lies in packed weights; null for one step
    float *marks = nullptr;     // of each panel, of U_n behind the others: nonzero where it is there
    const float *of = nullptr;  // the weights that `memory` is of; null for none
    int64_t j = 0;

    template <int S>
    struct reader {
        const float *at;
        GRUS_INLINE vec load(int g) const { return ::load(at + g * V); }
        GRUS_INLINE void next() { at += S * V; }
    };

    // sums += a times them, where they are these
    template <int R, int S>
    GRUS_INLINE bool dot(vec (&sums)[R][S], const float *weights, int64_t panel, const float *a, int64_t a_r,
                         int64_t K) const {
        if (of != weights || j != panel) return false;
        ::dot(sums, a, a_r, 1, reader<S>{memory}, K);
        return true;
    }

    // f(P, j, begins) of `cover`: fill(P, j) before the rows pass
    template <class Fill>
    GRUS_INLINE auto passing(const float *weights, Fill fill) {
        return [this, weights, fill](auto P, int64_t panel, bool begins) {
            if (begins) fill(P, panel);
            of = begins ? weights : nullptr;
            j = panel;
        };
    }
};

// Forward: panels of N gates.
template <int N>
struct rows_of {
    const float *data;
    int64_t K, H;
    turned *held;
    float *steps = nullptr, *marks = nullptr;  // of `held`, its own
    static constexpr int gates = N;

    // t[i], i < n: column k + i of gate g of panel j, where a row or a column is missing
    GRUS_INLINE void some_columns(vec (&t)[V], int64_t j, int g, int64_t k, int64_t n) const {
        int64_t lanes = H - j * V;
        for (int64_t i = 0; i < V; i++)
            t[i] = i < lanes ? load_some(data + (g * H + j * V + i) * K + k, n) : splat(0.0f);
        transpose(t);
    }

    // f(k, column) for the columns of gate g of panel j from k to end - 1
    template <class F>
    GRUS_INLINE void each_column(int64_t j, int g, int64_t k, int64_t end, F f) const {
        if (j * V + V <= H)
            for (; k + TURN <= end; k += TURN) {
                vec t[TURN];
                load_turned(t, data + (g * H + j * V) * K + k, K);
#pragma GCC unroll 8
                for (int i = 0; i < TURN; i++) f(k + i, t[i]);
            }
        for (; k < end; k += V) {
            vec t[V];
            some_columns(t, j, g, k, end - k);
            for (int64_t i = 0; i < least(V, end - k); i++) f(k + i, t[i]);
        }
    }

    // sums[r * apart] += Σ_k a[r a_r + k] times gate g of panel j
    template <int R>
    GRUS_APART void dot_one(vec *sums, int64_t apart, int64_t j, int g, const float *a, int64_t a_r) const {
        for (int64_t k0 = 0; k0 < K; k0 += BLOCK) {
            vec chain[R];
            for (int r = 0; r < R; r++) chain[r] = splat(0.0f);
            each_column(j, g, k0, least(k0 + BLOCK, K), [&](int64_t k, vec column) {
#pragma GCC unroll 8
                for (int r = 0; r < R; r++) chain[r] = fma(splat(a[r * a_r + k]), column, chain[r]);
            });
            for (int r = 0; r < R; r++) sums[r * apart] = add(sums[r * apart], chain[r]);
        }
    }

    // as panels::dot
    template <int R, int S>
    GRUS_INLINE void dot(vec (&sums)[R][S], int64_t j, const float *a, int64_t a_r) const {
        if (steps) {
            float *panel = steps + j * K * N * V;
            if (marks[j] == 0.0f) turn(j, panel);
            marks[j] = 1.0f;
            return ::dot(sums, a, a_r, 1, turned::reader<S>{panel}, K);
        }
        if (held->dot(sums, data, j, a, a_r, K)) return;
        for (int g = 0; g < S; g++) dot_one<R>(&sums[0][g], S, j, g, a, a_r);  // one panel at a time
    }

    template <class F>
    GRUS_INLINE void cover(int64_t rows, int64_t j0, int64_t j1, F f, bool back = false) const {
        ::cover<N, 1>(rows, j0, j1, f, back, held->passing(data, [this](auto, int64_t j) {
            if (!steps) turn(j, held->memory);
        }));
    }

    GRUS_APART void turn(int64_t j, float *to) const {
        for (int g = 0; g < N; g++)
            each_column(j, g, 0, K, [&](int64_t k, vec column) { store(to + (k * N + g) * V, column); });
    }
};

// The way back: panels of `columns` lanes, each a chain over the units of `count` gates from `first` on (r, z, n and r
// again), HP of each, as the gradients lie. BLOCK rows of the weights at a time are read from end to end, as they lie,
// while the sums of some rows of gradients wait in memory: panel after panel would go from page to page.
static_assert(BLOCK * (SUMS / ROWS) <= STRIP, "the strips of layout.h");

struct columns_of {
    const float *data;
    int64_t columns, H, HP;
    int count, first;
    turned *held;

    // f(k, weights, units): runs of k from k0 to end - 1 whose weights are there
    template <class F>
    GRUS_INLINE void runs(int64_t k0, int64_t end, F f) const {
        for (int64_t k = k0; k < end;) {
            int64_t gate = k / HP, unit = k % HP, units = least((unit < H ? H : HP) - unit, end - k);
            if (unit < H) f(k, data + ((gate + first) % 3 * H + unit) * columns, units);
            k += units;
        }
    }

    // to[r to_r] += the chain of terms k0 to end - 1
    template <int R, int P, class Load>
    GRUS_INLINE void add_chain(float *to, int64_t to_r, const float *a, int64_t a_r, int64_t k0, int64_t end,
                               Load load) const {
        vec chain[R][P];
        clear(chain);
        runs(k0, end, [&](int64_t k, const float *w, int64_t units) {
            for (int64_t i = 0; i < units; i++, w += columns) {
                vec weights[P];
#pragma GCC unroll 24
                for (int p = 0; p < P; p++) weights[p] = load(w, k + i, p);
#pragma GCC unroll 8
                for (int r = 0; r < R; r++) {
                    vec x = splat(a[r * a_r + k + i]);
#pragma GCC unroll 24
                    for (int p = 0; p < P; p++) chain[r][p] = fma(x, weights[p], chain[r][p]);
                }
            }
        });
        for (int r = 0; r < R; r++)
            for (int p = 0; p < P; p++) {
                float *at = to + r * to_r + p * V;
                store(at, add(::load(at), chain[r][p]));
            }
    }

    // sums [rows][j1 - j0][V] += the products; lanes of the last panel past its columns become zeros
    GRUS_APART void add_products(float *sums, int64_t rows, int64_t j0, int64_t j1, const float *a, int64_t a_r) const {
        int64_t width = (j1 - j0) * V, whole = least(j1, columns / V), begin = whole > j0 ? whole : j0;
        float *strip = held->memory + ROWS_BACK * width;  // of some panels, [k][P][V], while the rows pass
        for (int64_t k0 = 0, K = count * HP; k0 < K; k0 += BLOCK) {
            int64_t end = least(k0 + BLOCK, K);
            bool copied = false;
            auto passing = [&](auto P, int64_t j, bool begins) {
                copied = begins;
                if (!begins) return;
                runs(k0, end, [&](int64_t k, const float *w, int64_t units) {
                    for (int64_t i = 0; i < units; i++, w += columns)
                        for (int p = 0; p < P.value; p++)
                            store(strip + ((k + i - k0) * P.value + p) * V, load(w + (j + p) * V));
                });
            };
            auto tile = [&](auto R, auto P, int64_t row, int64_t j) {
                float *to = sums + row * width + (j - j0) * V;
                const float *from = a + row * a_r;
                if constexpr (R.value == ROWS)
                    if (copied)
                        return add_chain<R.value, P.value>(to, width, from, a_r, k0, end,
                                                           [=](const float *, int64_t k, int p) {
                                                               return load(strip + ((k - k0) * P.value + p) * V);
                                                           });
                add_chain<R.value, P.value>(to, width, from, a_r, k0, end,
                                            [=](const float *w, int64_t, int p) { return load(w + (j + p) * V); });
            };
            auto part = [&](auto R, auto, int64_t row, int64_t j) {
                int64_t lanes = columns - j * V;
                float *to = sums + row * width + (j - j0) * V;
                add_chain<R.value, 1>(to, width, a + row * a_r, a_r, k0, end,
                                      [=](const float *w, int64_t, int) { return load_part(w + j * V, lanes); });
            };
            if (whole > j0) ::cover<1>(rows, j0, whole, tile, false, passing);
            if (begin < j1) ::cover<1, 1>(rows, begin, j1, part, false, [](auto, int64_t, bool) {});
        }
    }

    // as panels::times
    template <class First, class F>
    GRUS_INLINE void times(int64_t rows, int64_t j0, int64_t j1, const float *a, int64_t a_r, First first, F f) const {
        int64_t width = (j1 - j0) * V;
        float *memory = held->memory;
        for (int64_t row0 = 0; row0 < rows; row0 += ROWS_BACK) {
            int64_t some = least(ROWS_BACK, rows - row0);
            for (int64_t row = 0; row < some; row++)
                for (int64_t j = j0; j < j1; j++) store(memory + row * width + (j - j0) * V, first(row0 + row, j));
            add_products(memory, some, j0, j1, a + row0 * a_r, a_r);
            auto tile = [&](auto R, auto P, int64_t row, int64_t j) {
                vec sums[R.value][P.value];
                for (int r = 0; r < R.value; r++)
                    for (int p = 0; p < P.value; p++) sums[r][p] = load(memory + (row + r) * width + (j + p - j0) * V);
                f(R, P, row0 + row, j, sums);
            };
            ::cover<1>(some, j0, j1, tile, false, [](auto, int64_t, bool) {});
        }
    }
};

template <>
struct arrays<as_given> {
    const gru_packed *all;
    turned *held;

    GRUS_INLINE rows_of<3> W() const { return {all->W, all->I, all->H, held}; }
    GRUS_INLINE rows_of<3> U() const { return {all->U, all->H, all->H, held, held->steps, held->marks}; }
    GRUS_INLINE rows_of<2> U_rz() const { return {all->U, all->H, all->H, held, held->steps, held->marks}; }
    GRUS_INLINE rows_of<1> U_n() const {
        int64_t panels = all->HP / V;
        bool several = held->steps;
        return {all->U_n,
                all->H,
                all->H,
                held,
                several ? held->steps + 2 * all->HP * all->H : nullptr,
                several ? held->marks + panels : nullptr};
    }
    GRUS_INLINE columns_of Wt() const { return {all->Wt, all->I, all->H, all->HP, 3, 2, held}; }
    GRUS_INLINE columns_of Ut() const { return {all->Ut, all->H, all->H, all->HP, 3, 0, held}; }
    GRUS_INLINE columns_of Ut_rz() const { return {all->Ut, all->H, all->H, all->HP, 2, 0, held}; }
    GRUS_INLINE columns_of Ut_n() const { return {all->Ut_n, all->H, all->H, all->HP, 1, 0, held}; }
};

}  // namespace
