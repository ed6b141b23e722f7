/* Whether the struct lies in memory as it does in the file. */
typedef char weights_have_no_gaps[sizeof(${name}_weights) == ${bytes} ? 1 : -1];

int ${name}_check(const ${name}_weights *w)
{
    const unsigned char *bytes = (const unsigned char *)w;
    uint32_t sum = 0xFFFFFFFFU;
    size_t i;
    int bit;

    for (i = 8; i < sizeof *w; ++i) {
        sum ^= bytes[i];
        for (bit = 0; bit < 8; ++bit) {
            sum = (sum >> 1) ^ (0xEDB88320U & (0U - (sum & 1U)));
        }
    }
    sum ^= 0xFFFFFFFFU;
    return w->magic == ${magic}U && w->checksum == sum && sum == ${checksum}U;
}
