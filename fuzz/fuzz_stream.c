/* A model's bytes cut and ordered by the fuzzer: a loader that got them all, and a read function, agree with the same
 * bytes in memory: on the status, and where that is ok on the logits. The input is 64 bytes of control (below), then
 * the file, or bytes that are written over the front of a test's model. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facet.h"

enum { CONTROL = 64, IS_PATCH = 1, VOCABULARY_ONLY = 2, N_CUTS = 14 };

typedef struct image {
    uint8_t *bytes;
    size_t n;
} image;

static void check(int good) {
    if (!good) abort();
}

static image read_model(void) {
    FILE *f = fopen(FACET_SOURCE_DIR "/tests/data/models/ple-gqa.gguf", "rb");
    check(f != NULL);
    image m = {.bytes = aligned_alloc(64, 1 << 22)};
    check(m.bytes != NULL);
    m.n = fread(m.bytes, 1, 1 << 22, f);
    fclose(f);
    return m;
}

/* The first control bytes: flags, where a patch goes, what is added to the size that is announced. */
static image make_image(const uint8_t *control, const uint8_t *data, size_t n) {
    image i;
    if (control[0] & IS_PATCH) {
        size_t at = (size_t)control[1] << 8 | control[2];
        i = read_model();
        memcpy(i.bytes + at, data, n < i.n - at ? n : i.n - at);
        return i;
    }
    i = (image){aligned_alloc(64, (n + 63) / 64 * 64 + 64), n};
    check(i.bytes != NULL);
    memcpy(i.bytes, data, n);
    return i;
}

/* The logits of a step, or the first failure. */
static facet_status use(facet_model *m, float **logits, size_t *n) {
    static const int32_t ids[] = {2, 1, 0};
    facet_engine *e;
    facet_session *s;
    facet_engine_options o;
    facet_model_info info = {.size = sizeof info};
    facet_engine_options_defaults(&o);
    o.n_threads = 1;
    o.max_context = 16;
    *logits = NULL;
    facet_status status = facet_engine_new(&e, m, &o, NULL);
    if (status) return status;
    status = facet_session_new(&s, e, NULL, NULL);
    if (!status) status = facet_session_sync(s, ids, 3, NULL, NULL, NULL, NULL);
    if (!status) {
        facet_model_get_info(m, &info);
        *n = (size_t)info.n_vocab;
        *logits = malloc(*n * sizeof **logits);
        check(*logits != NULL);
        memcpy(*logits, facet_session_logits(s), *n * sizeof **logits);
    }
    facet_session_free(s);
    facet_engine_free(e);
    return status;
}

static void check_same(facet_model *a, facet_model *b) {
    float *x, *y;
    size_t n = 0, m = 0;
    facet_status status = use(a, &x, &n);
    check(use(b, &y, &m) == status && n == m);
    if (!status) check(memcmp(x, y, n * sizeof *x) == 0);
    free(x);
    free(y);
}

static facet_status feed_all(facet_loader *l, const uint8_t *control, const image *i, facet_error *error) {
    uint64_t at, n;
    for (int k = 0; k < N_CUTS; k++) { /* place and size in 65536ths of the file; some reach beyond its end */
        const uint8_t *c = control + 8 + 4 * k;
        uint64_t from = (uint64_t)i->n * (size_t)(c[0] << 8 | c[1]) >> 16,
                 size = (uint64_t)i->n * (size_t)(c[2] << 8 | c[3]) >> 18;
        if (from + size > i->n) continue;
        facet_status status = facet_loader_feed(l, from, i->bytes + from, (size_t)size, error);
        if (status) return status;
    }
    while (facet_loader_missing(l, 0, &at, &n)) {
        facet_status status = facet_loader_feed(l, at, i->bytes + at, (size_t)n, error);
        if (status) return status;
    }
    return FACET_OK;
}

static facet_status load(facet_model **out, const uint8_t *control, const image *i, bool vocabulary_only,
                         facet_error *error) {
    facet_loader *l;
    facet_loader_options o;
    facet_loader_progress p = {.size = sizeof p};
    facet_loader_options_defaults(&o);
    o.n_bytes = i->n;
    o.timeout_seconds = 0;
    o.vocabulary_only = vocabulary_only;
    *out = NULL;
    facet_status status = facet_loader_new(&l, &o, error);
    if (status) return status;
    status = feed_all(l, control, i, error);
    if (!status) status = facet_loader_finish(l, out, error);
    check(facet_loader_get_progress(l, &p) == FACET_OK && p.n_tensors <= p.total_tensors &&
          p.n_bytes <= p.total_bytes);
    if (!status) check(p.n_tensors == p.total_tensors || vocabulary_only);
    facet_loader_free(l);
    return status;
}

static facet_status read_image(void *ctx, uint64_t offset, void *to, size_t n, facet_error *error) {
    const image *i = ctx;
    (void)error;
    check(offset <= i->n && n <= i->n - offset);
    memcpy(to, i->bytes + offset, n);
    return FACET_OK;
}

/* An engine takes longer than all the rest: some inputs do without. */
static int is_computed(const uint8_t *data, size_t n) {
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) sum += data[i];
    return sum % 16 == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n < CONTROL) return 0;
    facet_error error = {0}, failed = {0};
    facet_model *whole, *loaded, *read;
    facet_model_options o;
    image i = make_image(data, data + CONTROL, n - CONTROL);
    facet_source source = {.size = sizeof source, .n_bytes = i.n, .read = read_image, .ctx = &i};
    facet_model_options_defaults(&o);
    o.vocabulary_only = data[0] & VOCABULARY_ONLY;
    facet_status expected = facet_model_open_memory(&whole, i.bytes, i.n, NULL, NULL, &o, &error);
    facet_status status = load(&loaded, data, &i, o.vocabulary_only, &failed);
    check((status == FACET_OK) == (expected == FACET_OK) && (!status || failed.message[0]));
    status = facet_model_open_source(&read, &source, &o, &failed);
    check((status == FACET_OK) == (expected == FACET_OK));
    if (!expected && !o.vocabulary_only && is_computed(data, n)) {
        check_same(whole, loaded);
        check_same(whole, read);
    }
    facet_model_free(whole);
    facet_model_free(loaded);
    facet_model_free(read);
    free(i.bytes);
    return 0;
}
