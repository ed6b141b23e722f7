/* One step of a pass $order; scratch is what it leaves to the passes after. */
static void $function($parameters)
{
$body
}
