/* Right shifts below are divisions that round down; C leaves that of a negative number to the compiler. */
#if (-3 >> 1) != -2
#error "this compiler does not shift negative integers arithmetically"
#endif

#define LARGEST 268435456 /* 2^28 */
