/* The self-test of $name: prints what it found, ends with 0 where all is well. */
#include "$name.h"

#include <math.h>
#include <stdio.h>

#define STEPS $steps
#define ALLOWED ${allowed} /* twice the error of the plain float32 equations, and 8 roundings */

static const float input[STEPS][${NAME}_INPUT_SIZE] = {
$input
};

static const float expected[STEPS][${NAME}_OUTPUT_SIZE] = { /* computed in float64 */
$expected
};

$load
static float y[STEPS][${NAME}_OUTPUT_SIZE], again[STEPS][${NAME}_OUTPUT_SIZE], work[${NAME}_WORK_SIZE(STEPS)];

$main
{
    double worst = 0.0;
    int t, i, wrong = 0;

$begin    ${name}_run(${w}&input[0][0], STEPS, &y[0][0], work);
    ${name}_run(${w}&input[0][0], STEPS, &again[0][0], work); /* what is in work does not matter */
    for (t = 0; t < STEPS; ++t) {
        for (i = 0; i < ${NAME}_OUTPUT_SIZE; ++i) {
            const double error = fabs((double)y[t][i] - (double)expected[t][i]);
            worst = error > worst ? error : worst;
            wrong += !(error <= ALLOWED) || y[t][i] != again[t][i];
        }
    }
    printf("$name: %d of %d numbers wrong, largest error %.3g, allowed %.3g\n", wrong, STEPS * ${NAME}_OUTPUT_SIZE,
        worst, ALLOWED);
    return wrong != 0;
}
