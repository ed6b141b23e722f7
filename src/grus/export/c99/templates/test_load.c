static ${name}_weights weights;

static int load(const char *path)
{
    FILE *file = fopen(path, "rb");
    size_t count;

    if (file == NULL) {
        printf("$name: cannot open %s: give the path of $name.bin as an argument\n", path);
        return 0;
    }
    count = fread(&weights, sizeof weights, 1, file);
    fclose(file);
    if (count != 1 || !${name}_check(&weights)) {
        printf("$name: %s does not hold its weights\n", path);
        return 0;
    }
    return 1;
}

