/* How fast a vocabulary opens and text is encoded and decoded.
 *   bench_tokenizer VOCAB.gguf TEXT... */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "os/map.h"
#include "token/decoder.h"

enum { ROUNDS = 15 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double smaller(double a, double b) { return a < b ? a : b; }

static facet_status bench_open(const gguf_file *file, facet_error *err) {
    double best = 1e9;
    size_t n_bytes = 0;
    for (int i = 0; i < ROUNDS; i++) {
        vocab *v;
        double start = now();
        FACET_TRY(vocab_new(&v, file, err));
        best = smaller(best, now() - start);
        n_bytes = vocab_memory_bytes(v);
        vocab_free(v);
    }
    printf("open    %8.2f ms  %.1f MiB allocated\n", best * 1e3, (double)n_bytes / (1 << 20));
    return FACET_OK;
}

static facet_status bench_text(const vocab *v, const char *path, facet_error *err) {
    os_map text;
    FACET_TRY(os_map_open(&text, path, true, err));
    double encode = 1e9, decode = 1e9;
    size_t n_ids = 0;
    facet_status status = FACET_OK;
    for (int i = 0; i < ROUNDS && status == FACET_OK; i++) {
        token_list ids = {0};
        buffer back = {0};
        double start = now();
        status = vocab_encode(v, (const char *)text.data, text.n_bytes, true, &ids, err);
        double middle = now();
        if (status == FACET_OK) status = vocab_decode(v, ids.ids, ids.n, true, &back, err);
        encode = smaller(encode, middle - start);
        decode = smaller(decode, now() - middle);
        n_ids = ids.n;
        free(ids.ids);
        buffer_free(&back);
    }
    double mb = (double)text.n_bytes * 1e-6;
    if (status == FACET_OK)
        printf("encode  %8.2f MB/s  decode %8.2f MB/s  %zu ids  %s\n", mb / encode, mb / decode, n_ids, path);
    os_map_close(&text);
    return status;
}

static facet_status bench_all(const gguf_file *file, char **texts, int n, facet_error *err) {
    vocab *v;
    FACET_TRY(bench_open(file, err));
    FACET_TRY(vocab_new(&v, file, err));
    facet_status status = FACET_OK;
    for (int i = 0; i < n && status == FACET_OK; i++) status = bench_text(v, texts[i], err);
    vocab_free(v);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tokenizer VOCAB.gguf TEXT...\n");
        return 2;
    }
    facet_error error = {0};
    os_map map = {0};
    gguf_file *file = NULL;
    facet_status status = os_map_open(&map, argv[1], true, &error);
    gguf_part part = {.data = map.data, .n_bytes = map.n_bytes};
    if (status == FACET_OK) status = gguf_open(&file, &part, 1, &(gguf_options){.header_only = true}, &error);
    if (status == FACET_OK) status = bench_all(file, argv + 2, argc - 2, &error);
    if (status != FACET_OK) fprintf(stderr, "bench_tokenizer: %s\n", error.message);
    gguf_free(file);
    os_map_close(&map);
    return status == FACET_OK ? 0 : 1;
}
