/* One step of a GRU layer, $I inputs, $H units, the reset before the product:
 *
 *     r  = sigmoid(W_r x + U_r h + b_r)                 b_r = b_ir + b_hr
 *     z  = sigmoid(W_z x + U_z h + b_z)                 b_z = b_iz + b_hz
 *     n  = tanh(W_n x + U_n (r * h) + b_n)              b_n = b_in + b_hn
 *     h' = (1 - z) * n + z * h
 *
 * W is [$H3][$I] and U is [$H3][$H], rows of r, z and n, one above the other; b is b_r, b_z, b_n.
 * Arguments are * 2^20, gates and states * 2^15.
 */
static void $function(const int16_t *restrict x, int16_t *restrict h, const int8_t *restrict W,
    const int8_t *restrict U, const int32_t *restrict W_m, const int32_t *restrict U_m,
    const int32_t *restrict b, int W_shift, int U_shift)
{
    int16_t reset[$H]; /* r * h */
    int16_t next[$H];
    size_t j;

    for (j = 0; j < $H; ++j) {
        const int32_t a = rescale(dot_$I(W + j * $I, x), W_m[j], W_shift) + b[j];
        const int32_t u = rescale(dot_$H(U + j * $H, h), U_m[j], U_shift);
        reset[j] = (int16_t)((sigmoid(a + u) * h[j] + 16384) >> 15);
    }
    for (j = 0; j < $H; ++j) {
        const size_t row_z = $H + j, row_n = $H2 + j;
        const int32_t a_z = rescale(dot_$I(W + row_z * $I, x), W_m[row_z], W_shift) + b[row_z];
        const int32_t a_n = rescale(dot_$I(W + row_n * $I, x), W_m[row_n], W_shift) + b[row_n];
        const int32_t u_z = rescale(dot_$H(U + row_z * $H, h), U_m[row_z], U_shift);
        const int32_t u_n = rescale(dot_$H(U + row_n * $H, reset), U_m[row_n], U_shift);
        next[j] = mix(sigmoid(a_z + u_z), hyperbolic(a_n + u_n), h[j]);
    }
    memcpy(h, next, sizeof next);
}
