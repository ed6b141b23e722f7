
/* x to the integers that a step takes. How many did not fit (NaN among them, which becomes 0). */
int ${name}_quantize(const float *x, int16_t *q);

/* The integers that a step gives to what they stand for. */
void ${name}_dequantize(const int16_t *q, float *y);
