static ${name}_weights weights;

static int load(const char *path)
{
    FILE *file = fopen(path, "rb");
    size_t count;

    if (file == NULL) {
        return 0;
    }
    count = fread(&weights, sizeof weights, 1, file);
    fclose(file);
    return count == 1 && ${name}_check(&weights);
}

