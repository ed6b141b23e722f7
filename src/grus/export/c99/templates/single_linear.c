/* y = A x + b for $I inputs and $O outputs; A is [$I][$O]. */
static void $function(const float *restrict x, float *restrict y, const float *restrict A$b_parameter)
{
    size_t j, k;

    $start
    for (k = 0; k < $I; ++k) {
        const float *restrict w = A + k * $O;
        const float v = x[k];
$loops
    }
}
