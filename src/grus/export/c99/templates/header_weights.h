/* The contents of $name.bin, which the caller reads, maps or links to where it is aligned to 4 bytes. */
typedef struct {
    uint32_t magic;
    uint32_t checksum; /* CRC-32 of all that follows */
$members
} ${name}_weights;

/* 1 if these are the weights this code was generated for, on a machine of their byte order; else 0. */
int ${name}_check(const ${name}_weights *w);

