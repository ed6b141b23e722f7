/* A mean so far of $N features, with the weights softmax(score) over the steps: score = q . tanh(A x + b).
 *
 * h is the sum of exp(score - highest) * x, the sum of exp(score - highest), and the highest score. A is [$N][$U].
 */
static void $function(const float *restrict x, float *restrict h, float *restrict y, const float *restrict A,
    const float *restrict b, const float *restrict q)
{
    const int first = !(h[$N] > 0.0f);
    float u[$U]; /* A x + b */
    float score = 0.0f, highest, kept, weight;
    size_t j, k;

    memcpy(u, b, sizeof u);
    for (k = 0; k < $N; ++k) {
        const float *restrict w = A + k * $U;
        const float v = x[k];
$loops
    }
    for (j = 0; j < $U; ++j) {
        score += q[j] * tanhf(u[j]);
    }
    highest = !first && h[$N1] > score ? h[$N1] : score;
    kept = first ? 0.0f : expf(h[$N1] - highest);
    weight = expf(score - highest);
$sum_loops
    h[$N] = kept * h[$N] + weight;
    h[$N1] = highest;
$mean_loops
}
