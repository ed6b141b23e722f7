static int16_t narrow(int64_t v)
{
    return (int16_t)(v > 32767 ? 32767 : v < -32768 ? -32768 : v);
}


/* v / 2^shift, to the nearest integer, halves upwards. */
static int64_t round_shift(int64_t v, int shift)
{
    return (v + ((int64_t)1 << shift >> 1)) >> shift;
}


/* v * 2^shift, where shift may be below zero. */
static int64_t align(int64_t v, int shift)
{
    return shift >= 0 ? v * ((int64_t)1 << shift) : round_shift(v, -shift);
}


static int32_t limit(int64_t v)
{
    return (int32_t)(v > LARGEST ? LARGEST : v < -LARGEST ? -LARGEST : v);
}


/* A sum of products in its row's scale, m / 2^shift. */
static int32_t rescale(int32_t sum, int32_t m, int shift)
{
    return limit(round_shift((int64_t)sum * m, shift));
}


/* tanh(i / 128) * 2^16 for i from 0 to 768. */
static const uint16_t tanh_table[769] = {
$table
};

/* tanh(v / 2^21) * 2^16 for v >= 0: straight lines between the entries of the table. */
static int32_t curve(uint32_t v)
{
    const uint32_t i = v >> 14;
    const int32_t rest = (int32_t)(v & 16383);

    if (v >= 12582912) { /* 6 * 2^21: tanh is 1 */
        return 65536;
    }
    return tanh_table[i] + ((((int32_t)tanh_table[i + 1] - (int32_t)tanh_table[i]) * rest + 8192) >> 14);
}


static uint32_t magnitude(int32_t a)
{
    return a < 0 ? 0U - (uint32_t)a : (uint32_t)a;
}


/* sigmoid(a / 2^20) * 2^15 = (1 + tanh(a / 2^21)) / 2 * 2^15, from 0 to 32768. */
static int32_t sigmoid(int32_t a)
{
    const int32_t t = curve(magnitude(a));
    return (65536 + (a < 0 ? -t : t) + 2) >> 2;
}


/* tanh(a / 2^20) * 2^15, from -32768 to 32768. */
static int32_t hyperbolic(int32_t a)
{
    const int32_t t = (curve(2U * magnitude(a)) + 1) >> 1;
    return a < 0 ? -t : t;
}


/* (1 - z) * n + z * h, within the 16 bits of a state. */
static int16_t mix(int32_t z, int32_t n, int32_t h)
{
    const int32_t v = ((32768 - z) * n + z * h + 16384) >> 15;
    return (int16_t)(v > 32767 ? 32767 : v < -32767 ? -32767 : v);
}


/* a / b, rounded down. */
static int64_t divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}
