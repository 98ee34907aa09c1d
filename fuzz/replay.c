/* Runs a fuzz target over the files of a directory and over variations of each: cut at many places, bits flipped,
 * bytes set to extremes, pieces repeated or removed. The variations are the same in every run, and their number is
 * bounded whatever the files' size. Knows nothing of what the target tests: it fails by crashing.
 *   fuzz_NAME_replay DIRECTORY|FILE... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { LARGEST = 1 << 24, N_CUTS = 64, N_FLIPS = 256, N_EXTREMES = 128, N_SPLICES = 64 };

/* xorshift64*: any sequence will do, as long as it is always the same. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* Every input is its own allocation of just its size, so that a sanitizer sees a read past its end. */
static void run(const uint8_t *data, size_t n) {
    uint8_t *copy = n <= 2 * (size_t)LARGEST ? malloc(n ? n : 1) : NULL;
    if (!copy) {
        fprintf(stderr, "replay: out of memory\n");
        exit(1);
    }
    if (n) memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void run_cuts(const uint8_t *data, size_t n) {
    for (size_t i = 0; i < N_CUTS; i++) run(data, n * i / N_CUTS);
    for (size_t left = n < 16 ? 0 : n - 16; left < n; left++) run(data, left);
}

static void run_flips(uint8_t *data, size_t n, uint64_t *state) {
    for (int i = 0; i < N_FLIPS; i++) {
        size_t at = next_random(state) % n;
        uint8_t bit = (uint8_t)(1u << (next_random(state) % 8));
        data[at] ^= bit;
        run(data, n);
        data[at] ^= bit;
    }
}

static void run_extremes(uint8_t *data, size_t n, uint64_t *state) {
    static const uint8_t values[][8] = {{0},
                                        {255, 255, 255, 255, 255, 255, 255, 255},
                                        {0, 0, 0, 0, 0, 0, 0, 128},
                                        {255, 255, 255, 127},
                                        {0, 0, 0, 0, 0, 1}};
    for (int i = 0; i < N_EXTREMES; i++) {
        uint8_t old[8];
        size_t at = next_random(state) % n, size = (size_t)1 << (next_random(state) % 4);
        if (size > n - at) size = n - at;
        memcpy(old, data + at, size);
        memcpy(data + at, values[next_random(state) % (sizeof values / sizeof *values)], size);
        run(data, n);
        memcpy(data + at, old, size);
    }
}

/* A piece is taken out, or comes twice. `scratch` holds 2 n bytes. */
static void run_splices(const uint8_t *data, size_t n, uint8_t *scratch, uint64_t *state) {
    for (int i = 0; i < N_SPLICES; i++) {
        size_t at = next_random(state) % n, size = next_random(state) % (n - at) + 1;
        memcpy(scratch, data, at);
        memcpy(scratch + at, data + at + size, n - at - size);
        run(scratch, n - size);
        memcpy(scratch, data, at + size);
        memcpy(scratch + at + size, data + at, n - at);
        run(scratch, n + size);
    }
}

static void run_variations(uint8_t *data, size_t n) {
    uint64_t state = 0x9e3779b97f4a7c15u ^ n;
    uint8_t *scratch = malloc(2 * n + 1);
    if (!scratch) exit(1);
    run(data, n);
    run_cuts(data, n);
    if (n) {
        run_flips(data, n, &state);
        run_extremes(data, n, &state);
        run_splices(data, n, scratch, &state);
    }
    free(scratch);
}

static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    struct stat info;
    if (!f || fstat(fileno(f), &info) != 0 || info.st_size > LARGEST) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        if (f) fclose(f);
        return -1;
    }
    size_t n = (size_t)info.st_size;
    uint8_t *data = malloc(n + 1);
    int status = data && fread(data, 1, n, f) == n ? 0 : -1;
    fclose(f);
    if (status == 0) run_variations(data, n);
    free(data);
    return status;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* In the order of their names, so that a run is the same everywhere. Returns the number of files, or -1. */
static int run_directory(const char *path) {
    struct dirent **entries;
    int n = scandir(path, &entries, is_visible, alphasort), status = n;
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (run_file(name) != 0) status = -1;
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return status;
}

static int run_argument(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return run_file(path) == 0 ? 1 : -1;
    return run_directory(path);
}

int main(int argc, char **argv) {
    int n_files = 0;
    for (int i = 1; i < argc; i++) {
        int n = run_argument(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "replay: %s: nothing to run, or not readable\n", argv[i]);
            return 1;
        }
        n_files += n;
    }
    printf("%d files\n", n_files);
    return n_files ? 0 : 2;
}
