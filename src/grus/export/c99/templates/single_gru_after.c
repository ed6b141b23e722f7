/* One step of a GRU layer, $I inputs, $H units, the reset after the product:
 *
 *     r  = sigmoid(W_r x + U_r h + b_r)                 b_r = b_ir + b_hr
 *     z  = sigmoid(W_z x + U_z h + b_z)                 b_z = b_iz + b_hz
 *     n  = tanh(W_n x + b_in + r * (U_n h + b_hn))
 *     h' = (1 - z) * n + z * h
 *
 * W is [$I][$H3] and U is [$H][$H3]: the units of r, z and n side by side, so that the inner loops are vectors.
 */
static void $function(const float *restrict x, float *restrict h, const float *restrict W,
    const float *restrict U$b_parameter)
{
    float a[$H3]; /* the arguments of r and z, and W_n x + b_in */
    float u[$H]; /* U_n h + b_hn */
    size_t j, k;

    $start
    for (k = 0; k < $I; ++k) {
        const float *restrict w = W + k * $H3;
        const float v = x[k];
$input_loops
    }
    for (k = 0; k < $H; ++k) {
        const float *restrict w = U + k * $H3;
        const float v = h[k];
$gate_loops
$candidate_loops
    }
    for (j = 0; j < $H; ++j) {
        const float r = sigmoid(a[j]);
        const float z = sigmoid(a[$H + j]);
        const float n = tanhf(a[$H2 + j] + r * u[j]);
        h[j] = (1.0f - z) * n + z * h[j];
    }
}
