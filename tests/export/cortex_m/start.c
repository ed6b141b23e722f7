/* The vector table of a Cortex-M, and newlib's start, which reaches the host's files by semihosting. */
#include <stdint.h>

extern void _start(void);
extern void stack_top(void); /* an address, as all in the table */

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* switch on the floating point unit, where there is one */
    _start();
}

static void stop(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    stack_top, reset, stop, stop, stop, stop, stop,
};
