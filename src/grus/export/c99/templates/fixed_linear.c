/* y = A x + b for $I inputs and $O outputs; A is [$O][$I]; b has 8 bits below y's last one. */
static void $function(const int16_t *restrict x, int16_t *restrict y, const int8_t *restrict A,
    const int32_t *restrict m$b_parameter, int shift)
{
    size_t j;

    for (j = 0; j < $O; ++j) {
        y[j] = narrow(round_shift(rescale(dot_$I(A + j * $I, x), m[j], shift)$plus_b, 8));
    }
}
