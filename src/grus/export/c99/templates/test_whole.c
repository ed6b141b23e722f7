/* The self-test of $name: prints what it found, ends with 0 where all is well. */
#include "$name.h"

#include <math.h>
#include <stdio.h>

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
static float y[STEPS][${NAME}_OUTPUT_SIZE], again[STEPS][${NAME}_OUTPUT_SIZE], work[${NAME}_WORK_SIZE(STEPS)];

$main
{
    double worst = 0.0;
    int t, i, at = 0, wrong = 0;

$begin    ${name}_run(${w}&input[0][0], STEPS, &y[0][0], work);
    ${name}_run(${w}&input[0][0], STEPS, &again[0][0], work); /* what is in work does not matter */
    for (t = 0; t < STEPS; ++t) {
        for (i = 0; i < ${NAME}_OUTPUT_SIZE; ++i) {
            const double error = fabs((double)y[t][i] - (double)expected[t][i]);
            if (error / allowed[t] > worst) {
                worst = error / allowed[t];
                at = t;
            }
            wrong += !(error <= allowed[t]) || y[t][i] != again[t][i];
        }
    }
    printf("$name: %d of %d numbers wrong, largest error %.3g, allowed %.3g\n", wrong, STEPS * ${NAME}_OUTPUT_SIZE,
        worst * allowed[at], allowed[at]);
    return wrong != 0;
}
