/* Any bytes as a directory that PEFT wrote: adapter_config.json, a zero byte, adapter_model.safetensors. What is
 * converted for a small model (per-layer embeddings, or experts) must open as an adapter of that model. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facet.h"
#include "facet_tools.h"

static const char *const models[] = {FACET_SOURCE_DIR "/tests/data/models/ple-shared.gguf",
                                     FACET_SOURCE_DIR "/tests/data/models/moe-keqv.gguf"};
static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "out.gguf"};

static char dir[40]; /* in memory where that can be had: every file that is written waits for its disk */

static void check(int good) {
    if (!good) abort();
}

static void path_of(size_t file, char out[64]) { snprintf(out, 64, "%s/%s", dir, files[file]); }

static void write_file(size_t file, const uint8_t *data, size_t n) {
    char path[64];
    path_of(file, path);
    FILE *f = fopen(path, "wb");
    check(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void remove_all(void) {
    char path[64];
    for (size_t i = 0; i < 3; i++) {
        path_of(i, path);
        unlink(path);
    }
    rmdir(dir);
}

static void open_directory(void) {
    strcpy(dir, "/dev/shm/facet-fuzz-peft-XXXXXX");
    if (!mkdtemp(dir)) {
        strcpy(dir, "/tmp/facet-fuzz-peft-XXXXXX");
        check(mkdtemp(dir) != NULL);
    }
    check(atexit(remove_all) == 0);
}

static facet_status convert(const char *base, facet_model *model) {
    char out[64];
    size_t n_pairs = 0;
    facet_error error = {0};
    facet_adapter *a;
    facet_adapter_convert_options o;
    facet_adapter_convert_options_defaults(&o);
    o.base = base;
    o.threads = 1;
    path_of(2, out);
    facet_status status = facet_adapter_convert(dir, out, &o, &n_pairs, &error);
    if (status != FACET_OK) {
        check(error.status == status && error.message[0] && access(out, F_OK) != 0);
        return status;
    }
    check(n_pairs > 0);
    if (model) check(facet_adapter_open(&a, model, out, NULL) == FACET_OK);
    if (model) facet_adapter_free(a);
    unlink(out);
    return FACET_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static facet_model *opened[2]; /* once, for good */
    if (!opened[0]) {
        open_directory();
        for (int i = 0; i < 2; i++) check(facet_model_open(&opened[i], models[i], NULL, NULL) == FACET_OK);
    }
    const uint8_t *zero = n ? memchr(data, 0, n) : NULL;
    size_t n_config = zero ? (size_t)(zero - data) : n, n_tensors = zero ? n - n_config - 1 : 0;
    write_file(0, data, n_config);
    write_file(1, zero ? zero + 1 : data, n_tensors);
    facet_status status = convert(NULL, NULL);
    bool wants_model = !status || status == FACET_ERROR_ARGUMENT; /* what is wrong without one is wrong with one */
    for (int i = 0; wants_model && i < 2; i++) convert(models[i], opened[i]);
    return 0;
}
