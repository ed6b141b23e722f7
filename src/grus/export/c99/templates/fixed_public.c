int ${name}_quantize(const float *restrict x, int16_t *restrict q)
{
    static const float scale[${NAME}_INPUT_SIZE] = { /* 2^e: powers of two, so that nothing is rounded here */
$input_scale
    };
    int lost = 0;
    size_t i;

    for (i = 0; i < ${NAME}_INPUT_SIZE; ++i) {
        const float v = x[i] * scale[i];
        if (v >= -32768.0f && v <= 32767.0f) {
            const int32_t whole = (int32_t)v;
            const float rest = v - (float)whole;
            q[i] = (int16_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
        } else {
            q[i] = v > 32767.0f ? 32767 : v < -32768.0f ? -32768 : 0; /* 0 for NaN */
            ++lost;
        }
    }
    return lost;
}

void ${name}_dequantize(const int16_t *restrict q, float *restrict y)
{
    static const float scale[${NAME}_OUTPUT_SIZE] = { /* 2^-e */
$output_scale
    };
    size_t i;

    for (i = 0; i < ${NAME}_OUTPUT_SIZE; ++i) {
        y[i] = (float)q[i] * scale[i];
    }
}
