/* The row of A [$S][$O] that the id x[0] names; row 0 where it is no whole number from 0 to $S - 1, such as NaN. */
static void $function(const float *restrict x, float *restrict y, const float *restrict A)
{
    const size_t whole = x[0] >= 0.0f && x[0] < $S.0f ? (size_t)x[0] : 0;
    const size_t row = x[0] > (float)whole ? 0 : whole;

    memcpy(y, A + row * $O, $O * sizeof *y);
}
