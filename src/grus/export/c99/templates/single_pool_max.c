/* The largest value so far of each of $N features; h is those values, and the number of steps. NaN stays. */
static void $function(const float *restrict x, float *restrict h, float *restrict y)
{
    const int first = !(h[$N] > 0.0f);
    size_t j;

    for (j = 0; j < $N; ++j) {
        h[j] = first || x[j] > h[j] || isnan(x[j]) ? x[j] : h[j];
        y[j] = h[j];
    }
    h[$N] += 1.0f;
}
