void ${name}_init(${name}_state *s)
{
    memset(s, 0, sizeof *s);
}

void ${name}_step($w_parameter${name}_state *s, const $number *restrict x, $number *restrict y)
{
$body
}
