typedef struct {
$state
} states;

$passes
void ${name}_run(${w_parameter}const float *restrict x, size_t steps, float *restrict y, float *restrict work)
{
    states s;
    size_t t;

    memset(&s, 0, sizeof s);
$loops
}
