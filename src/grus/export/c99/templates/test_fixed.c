/* The self-test of $name: prints what it found, ends with 0 where all is well. */
#include "$name.h"

#include <stdio.h>
#include <string.h>

#define STEPS $steps

static const float input[STEPS][${NAME}_INPUT_SIZE] = {
$input
};

static const int16_t expected[STEPS][${NAME}_OUTPUT_SIZE] = { /* every bit */
$expected
};

$load
$main
{
    ${name}_state state, other;
    int16_t x[${NAME}_INPUT_SIZE], y[${NAME}_OUTPUT_SIZE], again[${NAME}_OUTPUT_SIZE];
    int t, i, wrong = 0;

$begin    ${name}_init(&state);
    for (t = 0; t < STEPS; ++t) {
        memcpy(&other, &state, sizeof other); /* a copied state goes on as the first does */
        wrong += ${name}_quantize(input[t], x);
        ${name}_step(${w}&state, x, y);
        ${name}_step(${w}&other, x, again);
        for (i = 0; i < ${NAME}_OUTPUT_SIZE; ++i) {
            wrong += y[i] != expected[t][i] || y[i] != again[i];
        }
    }
    printf("$name: %d of %d numbers wrong\n", wrong, STEPS * ${NAME}_OUTPUT_SIZE);
    return wrong != 0;
}
