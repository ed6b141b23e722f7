/* A GRU layer in float32 as an exported C has it, its sums in either order: for benchmarks/yardstick.py. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float sigmoid(float a)
{
    return 1.0f / (1.0f + expf(-a));
}

static float hard(float a)
{
    return fminf(1.0f, fmaxf(0.0f, 0.5f + 0.25f * a));
}

/* a [N] += W^T x for columns W [K][N], terms from the first to the last, or from the last to the first */
static void add(size_t K, size_t N, size_t stride, const float *W, const float *x, float *a, int reversed)
{
    for (size_t i = 0; i < K; ++i) {
        const size_t k = reversed ? K - 1 - i : i;
        const float *w = W + k * stride;
        const float v = x[k];
        for (size_t j = 0; j < N; ++j) {
            a[j] += w[j] * v;
        }
    }
}

/* x [T][I] to y [T][H] with W [I][3H], U [H][3H]. wrong: 1 a hard sigmoid, 2 a clipped tanh, for the study's faults */
void layer(size_t T, size_t I, size_t H, int reset_after, int reversed, int wrong, const float *x, const float *W,
    const float *U, const float *b_i, const float *b_h, float *y)
{
    float *a = malloc(7 * H * sizeof *a), *u = a + 3 * H, *h = u + H, *rh = h + H, *z = rh + H;
    memset(h, 0, H * sizeof *h);
    for (size_t t = 0; t < T; ++t) {
        for (size_t j = 0; j < 3 * H; ++j) {
            a[j] = j < 2 * H ? b_i[j] + b_h[j] : b_i[j] + (reset_after ? 0.0f : b_h[j]);
        }
        memcpy(u, b_h + 2 * H, H * sizeof *u);
        add(I, 3 * H, 3 * H, W, x + t * I, a, reversed);
        add(H, 2 * H, 3 * H, U, h, a, reversed);
        for (size_t j = 0; j < H; ++j) {
            const float r = wrong == 1 ? hard(a[j]) : sigmoid(a[j]);
            z[j] = wrong == 1 ? hard(a[H + j]) : sigmoid(a[H + j]);
            a[j] = r;
            rh[j] = r * h[j];
        }
        if (reset_after) {
            add(H, H, 3 * H, U + 2 * H, h, u, reversed);
            for (size_t j = 0; j < H; ++j) {
                a[2 * H + j] += a[j] * u[j];
            }
        } else {
            add(H, H, 3 * H, U + 2 * H, rh, a + 2 * H, reversed);
        }
        for (size_t j = 0; j < H; ++j) {
            const float n = wrong == 2 ? fminf(1.0f, fmaxf(-1.0f, a[2 * H + j])) : tanhf(a[2 * H + j]);
            h[j] = (1.0f - z[j]) * n + z[j] * h[j];
        }
        memcpy(y + t * H, h, H * sizeof *h);
    }
    free(a);
}
