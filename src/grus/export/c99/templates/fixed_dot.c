/* The sum of w[k] * x[k]; it stays below 2^31, since no row's |w| add up to more than 65535. */
static int32_t dot_$K(const int8_t *restrict w, const int16_t *restrict x)
{
    int32_t sum = 0;
    size_t k;

$loops
    return sum;
}
