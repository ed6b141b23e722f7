/* A whole sequence: x [steps][${NAME}_INPUT_SIZE] to y [steps][${NAME}_OUTPUT_SIZE].
 *
 * work is memory of the caller's for ${NAME}_WORK_SIZE(steps) floats; what is in it does not matter, neither before nor
 * after. x, y and work must not overlap.
 */
void ${name}_run(${w_parameter}const float *x, size_t steps, float *y, float *work);
