/* Of $N features the first half as they are, the second as they were at the first step; h is these, and the number of
   steps. */
static void $function(const float *restrict x, float *restrict h, float *restrict y)
{
    memcpy(h, x, (h[$N] > 0.0f ? $H : $N) * sizeof(float));
    memcpy(y, h, $N * sizeof(float));
    h[$N] += 1.0f;
}
