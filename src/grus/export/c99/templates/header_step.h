typedef struct {
$state
} ${name}_state;

/* The state before the first step: zeros. */
void ${name}_init(${name}_state *s);

/* One step: x [${NAME}_INPUT_SIZE] to y [${NAME}_OUTPUT_SIZE]. s, x and y must not overlap. */
void ${name}_step($w_parameter${name}_state *s, const $number *x, $number *y);
