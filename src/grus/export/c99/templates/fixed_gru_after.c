/* One step of a GRU layer, $I inputs, $H units, the reset after the product:
 *
 *     r  = sigmoid(W_r x + U_r h + b_r)                 b_r = b_ir + b_hr
 *     z  = sigmoid(W_z x + U_z h + b_z)                 b_z = b_iz + b_hz
 *     n  = tanh(W_n x + b_in + r * (U_n h + b_hn))
 *     h' = (1 - z) * n + z * h
 *
 * W is [$H3][$I] and U is [$H3][$H], rows of r, z and n, one above the other; b is b_r, b_z, b_in, b_hn.
 * Arguments are * 2^20, gates and states * 2^15.
 */
static void $function(const int16_t *restrict x, int16_t *restrict h, const int8_t *restrict W,
    const int8_t *restrict U, const int32_t *restrict W_m, const int32_t *restrict U_m,
    const int32_t *restrict b, int W_shift, int U_shift)
{
    int16_t next[$H];
    int32_t a[3], u[3]; /* W x and U h of one unit's r, z and n */
    size_t g, j;

    for (j = 0; j < $H; ++j) {
        int32_t r, z, n;
        for (g = 0; g < 3; ++g) {
            const size_t row = g * $H + j;
            a[g] = rescale(dot_$I(W + row * $I, x), W_m[row], W_shift) + b[row];
            u[g] = rescale(dot_$H(U + row * $H, h), U_m[row], U_shift);
        }
        r = sigmoid(a[0] + u[0]);
        z = sigmoid(a[1] + u[1]);
        n = hyperbolic(a[2] + (int32_t)round_shift((int64_t)r * (u[2] + b[$H3 + j]), 15));
        next[j] = mix(z, n, h[j]);
    }
    memcpy(h, next, sizeof next);
}
