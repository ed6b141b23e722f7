/* The self-test of $name: prints what it found, ends with 0 where all is well. */
#include "$name.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS $steps

static const float input[STEPS][${NAME}_INPUT_SIZE] = {
$input
};

static const float expected[STEPS][${NAME}_OUTPUT_SIZE] = { /* computed in float64 */
$expected
};

/* what may be lost by float32 up to each step: twice the furthest of several runs, and 8 roundings */
static const double allowed[STEPS] = {
$allowed
};

$load
$main
{
    ${name}_state state, other;
    float y[${NAME}_OUTPUT_SIZE], again[${NAME}_OUTPUT_SIZE];
    double worst = 0.0;
    int t, i, at = 0, wrong = 0;

$begin    ${name}_init(&state);
    for (t = 0; t < STEPS; ++t) {
        memcpy(&other, &state, sizeof other); /* a copied state goes on as the first does */
        ${name}_step(${w}&state, input[t], y);
        ${name}_step(${w}&other, input[t], again);
        for (i = 0; i < ${NAME}_OUTPUT_SIZE; ++i) {
            const double error = fabs((double)y[i] - (double)expected[t][i]);
            if (error / allowed[t] > worst) {
                worst = error / allowed[t];
                at = t;
            }
            wrong += !(error <= allowed[t]) || y[i] != again[i];
        }
    }
    printf("$name: %d of %d numbers wrong, largest error %.3g, allowed %.3g\n", wrong, STEPS * ${NAME}_OUTPUT_SIZE,
        worst * allowed[at], allowed[at]);
    return wrong != 0;
}
