/* The mean so far of each of $N features; h is the sums, and the number of steps. */
static void $function(const float *restrict x, float *restrict h, float *restrict y)
{
    const float steps = h[$N] + 1.0f;
    size_t j;

$sum_loops
$mean_loops
    h[$N] = steps;
}
