/* Models from memory, from a read function and from a stream: the same bits as from the file, whatever the order of
 * the bytes and whoever waits; and everything that can go wrong on the way. Run it under ThreadSanitizer too. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sha256.h"
#include "engine/session.h"
#include "gguf/writer.h"
#include "source/ranges.h"
#include "support.h"

static const char *const kinds[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv"};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };
enum { N_PROMPT = 40 };

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- a file's bytes and the logits that the file itself gives */

typedef struct image {
    char *bytes; /* aligned to 64 */
    size_t n;
} image;

static image image_of(const void *bytes, size_t n) {
    image i = {.bytes = aligned_alloc(64, (n + 63) / 64 * 64), .n = n};
    assert_non_null(i.bytes);
    memcpy(i.bytes, bytes, n);
    return i;
}

static image image_read(const char *kind) {
    char name[600];
    size_t n;
    snprintf(name, sizeof name, FACET_TEST_DATA "/models/%s.gguf", kind);
    char *bytes = test_read(name, &n);
    image i = image_of(bytes, n);
    free(bytes);
    return i;
}

static facet_engine *engine_of(facet_model *m, int32_t threads) {
    facet_engine_options o;
    facet_engine *e;
    facet_error error;
    facet_engine_options_defaults(&o);
    o.n_threads = threads;
    o.max_context = 128;
    o.ubatch = 16;
    assert_ok(facet_engine_new(&e, m, &o, &error), &error);
    return e;
}

static void prompt_of(facet_model *m, int32_t *tokens) {
    facet_model_info info = {.size = sizeof info};
    uint32_t seed = 7;
    facet_model_get_info(m, &info);
    for (size_t i = 0; i < N_PROMPT; i++) tokens[i] = (int32_t)(next_random(&seed) % (uint32_t)info.n_vocab);
}

static facet_status ask(facet_engine *e, float *out, facet_error *error) {
    facet_session *s;
    int32_t tokens[N_PROMPT];
    FACET_TRY(facet_session_new(&s, e, NULL, error));
    prompt_of(e->model, tokens);
    facet_status status = facet_session_sync(s, tokens, N_PROMPT, NULL, NULL, NULL, error);
    if (status == FACET_OK) memcpy(out, facet_session_logits(s), e->model->hparams.n_vocab * sizeof *out);
    facet_session_free(s);
    return status;
}

/* malloc'ed */
static float *logits_of(facet_model *m, int32_t threads) {
    facet_error error;
    facet_engine *e = engine_of(m, threads);
    float *out = malloc(m->hparams.n_vocab * sizeof *out);
    assert_ok(ask(e, out, &error), &error);
    facet_engine_free(e);
    return out;
}

typedef struct truth {
    image image;
    float *logits;
    size_t n_vocab;
} truth;

static truth truth_of_image(image i) {
    facet_model *m;
    facet_error error;
    assert_ok(facet_model_open_memory(&m, i.bytes, i.n, NULL, NULL, NULL, &error), &error);
    truth t = {.image = i, .logits = logits_of(m, 1), .n_vocab = m->hparams.n_vocab};
    facet_model_free(m);
    return t;
}

static truth truth_of(const char *kind) { return truth_of_image(image_read(kind)); }

static void truth_free(truth *t) {
    free(t->image.bytes);
    free(t->logits);
}

static void assert_model(facet_model *m, const truth *t) {
    float *logits = logits_of(m, 2);
    assert_memory_equal(logits, t->logits, t->n_vocab * sizeof *logits);
    free(logits);
}

/* ---- SHA-256: examples of FIPS 180-2 and of NIST's test vectors */

static void assert_sum(const char *text, size_t n, size_t step, const char *expected) {
    sha256 s;
    uint8_t digest[SHA256_BYTES];
    char found[2 * SHA256_BYTES + 1];
    sha256_begin(&s);
    for (size_t at = 0; at < n; at += step) sha256_add(&s, text + at, n - at < step ? n - at : step);
    sha256_end(&s, digest);
    sha256_text(digest, found);
    assert_string_equal(found, expected);
}

static void test_sha256(void **state) {
    (void)state;
    static const struct {
        const char *text, *sum;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstn"
         "opqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step < 130; step += 9)
            assert_sum(cases[i].text, strlen(cases[i].text), step, cases[i].sum);
    }
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    assert_sum(million, 1000000, 977, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_sum(million, 1000000, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* ---- ranges against a list of flags */

static void check_ranges(const ranges *r, const bool *there, size_t n) {
    size_t count = 0, prefix = 0;
    for (size_t i = 0; i < n; i++) count += there[i];
    while (prefix < n && there[prefix]) prefix++;
    assert_int_equal(r->n_bytes, count);
    assert_int_equal(ranges_prefix(r), prefix);
    for (size_t from = 0; from < n; from++) {
        size_t hole = from, end;
        while (hole < n && there[hole]) hole++;
        for (end = hole; end < n && !there[end];) end++;
        range found;
        assert_int_equal(ranges_hole(r, from, n, &found), hole < n);
        if (hole < n) assert_true(found.begin == hole && found.end == end);
        assert_int_equal(ranges_hold(r, from, hole), true);
        if (hole < n) assert_int_equal(ranges_hold(r, from, hole + 1), false);
    }
}

static void test_ranges(void **state) {
    (void)state;
    enum { N = 60 };
    uint32_t seed = 3;
    for (int round = 0; round < 300; round++) {
        ranges r = {0};
        bool there[N] = {false};
        for (int i = 0; i < 12; i++) {
            size_t begin = next_random(&seed) % N, n = 1 + next_random(&seed) % 9;
            size_t end = begin + n < N ? begin + n : N;
            assert_int_equal(ranges_reserve(&r, begin, end), RANGES_OK);
            ranges_add(&r, begin, end);
            for (size_t k = begin; k < end; k++) there[k] = true;
            check_ranges(&r, there, N);
        }
        ranges_free(&r);
    }
}

/* ---- from memory */

static void count_release(void *ctx, const void *data, size_t n) {
    (void)data;
    (void)n;
    ++*(int *)ctx;
}

static void test_memory(void **state) {
    (void)state;
    truth t = truth_of("ple-shared");
    facet_model *m;
    facet_error error;
    int released = 0;
    assert_ok(facet_model_open_memory(&m, t.image.bytes, t.image.n, count_release, &released, NULL, &error), &error);
    const char *at = (const char *)m->weights.token_embd.m.data; /* zero copy */
    assert_true(at > t.image.bytes && at < t.image.bytes + t.image.n);
    facet_engine *e = engine_of(m, 1);
    facet_model_free(m);
    assert_int_equal(released, 0); /* the engine holds it */
    facet_engine_free(e);
    assert_int_equal(released, 1);

    facet_model_options wrong = {.size = 1};
    struct {
        const void *data;
        size_t n;
        const facet_model_options *options;
        facet_status expected;
    } bad[] = {{t.image.bytes, t.image.n / 2, NULL, FACET_ERROR_TRUNCATED},
               {t.image.bytes + 64, t.image.n - 64, NULL, FACET_ERROR_FORMAT},
               {t.image.bytes + 1, t.image.n - 1, NULL, FACET_ERROR_ARGUMENT},
               {NULL, 5, NULL, FACET_ERROR_ARGUMENT},
               {t.image.bytes, t.image.n, &wrong, FACET_ERROR_ARGUMENT}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        released = 0;
        assert_int_equal(
            facet_model_open_memory(&m, bad[i].data, bad[i].n, count_release, &released, bad[i].options, &error),
            bad[i].expected);
        assert_null(m);
        assert_int_equal(released, 1);
    }
    truth_free(&t);
}

/* ---- from a read function */

typedef struct reader {
    const image *image;
    uint64_t at;       /* reads come from the front to the back */
    uint64_t fails_at; /* the byte that cannot be read */
    bool silent;       /* about the reason */
    int n_released;
} reader;

static facet_status read_image(void *ctx, uint64_t offset, void *to, size_t n, facet_error *error) {
    reader *r = ctx;
    assert_int_equal(offset, r->at);
    assert_true(n > 0 && n <= 4 << 20);
    assert_int_equal(r->n_released, 0);
    if (offset + n > r->fails_at) {
        if (!r->silent) {
            error->status = FACET_ERROR_IO;
            snprintf(error->message, sizeof error->message, "the tape is torn");
        }
        return FACET_ERROR_IO;
    }
    for (size_t i = 0; i < n; i++) {
        ((char *)to)[i] = (char)(offset + i < r->image->n ? r->image->bytes[offset + i] : 0);
    }
    r->at += n;
    return FACET_OK;
}

static void release_reader(void *ctx) { ((reader *)ctx)->n_released++; }

static facet_source source_of(reader *r, const image *i) {
    *r = (reader){.image = i, .fails_at = UINT64_MAX};
    return (facet_source){
        .size = sizeof(facet_source), .n_bytes = i->n, .read = read_image, .release = release_reader, .ctx = r};
}

static void test_source(void **state) {
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        truth t = truth_of(kinds[k]);
        facet_model *m;
        facet_error error;
        reader r;
        facet_source from = source_of(&r, &t.image);
        assert_ok(facet_model_open_source(&m, &from, NULL, &error), &error);
        assert_int_equal(r.n_released, 1);
        assert_int_equal(r.at, t.image.n);
        assert_model(m, &t);
        facet_model_free(m);
        truth_free(&t);
    }
}

/* The directory is all that is needed to tell how much memory a model takes. */
static void test_read_front(void **state) {
    (void)state;
    size_t n;
    char *bytes = test_read(FACET_SOURCE_DIR "/models/tiny-q8_0.gguf", &n);
    image i = image_of(bytes, n);
    free(bytes);
    facet_model *m, *whole;
    facet_error error;
    facet_model_options o;
    facet_fit fit = {.size = sizeof fit}, expected = {.size = sizeof expected};
    reader r;
    facet_source from = source_of(&r, &i);
    facet_model_options_defaults(&o);
    o.vocabulary_only = true;
    assert_ok(facet_model_open_source(&m, &from, &o, &error), &error);
    assert_ok(facet_fit_compute(m, NULL, &fit, &error), &error);
    assert_true(r.at < n / 4);
    assert_int_equal(r.n_released, 1);
    assert_ok(facet_model_open_memory(&whole, i.bytes, i.n, NULL, NULL, NULL, &error), &error);
    assert_ok(facet_fit_compute(whole, NULL, &expected, &error), &error);
    assert_memory_equal(&fit, &expected, sizeof fit);
    facet_model_free(m);
    facet_model_free(whole);
    free(i.bytes);
}

static void test_read_failures(void **state) {
    (void)state;
    image i = image_read("ple-gqa");
    facet_model *m;
    facet_error error;
    reader r;
    for (uint64_t at = 0; at < i.n; at += i.n / 7) {
        facet_source from = source_of(&r, &i);
        r.fails_at = at;
        assert_int_equal(facet_model_open_source(&m, &from, NULL, &error), FACET_ERROR_IO);
        assert_string_equal(error.message, "the tape is torn");
        assert_int_equal(error.status, FACET_ERROR_IO);
        assert_null(m);
        assert_int_equal(r.n_released, 1);
        from = source_of(&r, &i);
        r.fails_at = at;
        r.silent = true;
        assert_int_equal(facet_model_open_source(&m, &from, NULL, &error), FACET_ERROR_IO);
        assert_non_null(strstr(error.message, "could not give bytes"));
    }
    const struct {
        uint64_t n_bytes;
        facet_status expected;
    } sizes[] = {{0, FACET_ERROR_ARGUMENT},
                 {UINT64_MAX, FACET_ERROR_ARGUMENT},
                 {i.n - 100, FACET_ERROR_TRUNCATED},
                 {i.n / 2, FACET_ERROR_TRUNCATED},
                 {1, FACET_ERROR_TRUNCATED}};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        facet_source from = source_of(&r, &i);
        from.n_bytes = sizes[k].n_bytes;
        assert_int_equal(facet_model_open_source(&m, &from, NULL, &error), sizes[k].expected);
        assert_int_equal(r.n_released, 1);
        assert_true(r.at <= 1 << 17); /* the weights were not fetched for nothing */
    }
    facet_source from = source_of(&r, &i);
    from.read = NULL;
    assert_int_equal(facet_model_open_source(&m, &from, NULL, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(r.n_released, 1);
    free(i.bytes);
}

/* ---- from a stream */

static facet_loader *loader_for(size_t n, double timeout, const uint8_t *digest) {
    facet_loader_options o;
    facet_loader *l;
    facet_error error;
    facet_loader_options_defaults(&o);
    o.n_bytes = n;
    o.timeout_seconds = timeout;
    o.sha256 = digest;
    assert_ok(facet_loader_new(&l, &o, &error), &error);
    return l;
}

static void feed(facet_loader *l, const image *i, size_t at, size_t n) {
    facet_error error;
    if (at + n > i->n) n = i->n - at;
    assert_ok(facet_loader_feed(l, at, i->bytes + at, n, &error), &error);
}

static void digest_of(const image *i, uint8_t out[SHA256_BYTES]) {
    sha256 s;
    sha256_begin(&s);
    sha256_add(&s, i->bytes, i->n);
    sha256_end(&s, out);
}

/* Pieces of random sizes in random order, many of them more than once. */
static void feed_shuffled(facet_loader *l, const image *i, uint32_t seed) {
    uint64_t at, n;
    for (int k = 0; k < 200; k++) {
        feed(l, i, next_random(&seed) % i->n, 1 + next_random(&seed) % (i->n / 20));
    }
    while (facet_loader_missing(l, 0, &at, &n)) {
        uint64_t from = next_random(&seed) % i->n;
        if (!facet_loader_missing(l, from, &at, &n)) assert_true(facet_loader_missing(l, 0, &at, &n));
        feed(l, i, (size_t)at, 1 + next_random(&seed) % (size_t)n);
    }
}

static void feed_backwards(facet_loader *l, const image *i, size_t step) {
    for (size_t end = i->n; end > 0; end -= end < step ? end : step) {
        feed(l, i, end < step ? 0 : end - step, end < step ? end : step);
    }
}

static void assert_finished(facet_loader *l, const truth *t) {
    facet_model *m, *again;
    facet_error error;
    facet_loader_progress p = {.size = sizeof p};
    assert_ok(facet_loader_get_progress(l, &p), &error);
    assert_int_equal(p.n_bytes, t->image.n);
    assert_int_equal(p.total_bytes, t->image.n);
    assert_true(p.has_directory && p.n_tensors > 10);
    assert_int_equal(p.n_tensors, p.total_tensors);
    assert_ok(facet_loader_finish(l, &m, &error), &error);
    assert_ok(facet_loader_open(l, &again, &error), &error);
    assert_ptr_equal(m, again);
    facet_model_free(again);
    facet_loader_cancel(l); /* too late */
    facet_loader_free(l);
    assert_model(m, t);
    facet_model_free(m);
}

static void test_orders(void **state) {
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        truth t = truth_of(kinds[k]);
        uint8_t digest[SHA256_BYTES];
        digest_of(&t.image, digest);
        for (int order = 0; order < 4; order++) {
            facet_loader *l = loader_for(t.image.n, 0, order % 2 ? digest : NULL);
            if (order == 0) feed(l, &t.image, 0, t.image.n);
            if (order == 1) feed_shuffled(l, &t.image, (uint32_t)k + 1);
            if (order == 2) feed_backwards(l, &t.image, 9973);
            if (order == 3) {
                for (size_t at = 0; at < t.image.n; at += 4099) feed(l, &t.image, at, 4099);
            }
            assert_finished(l, &t);
        }
        truth_free(&t);
    }
}

static size_t directory_end(const image *i) {
    gguf_file *file;
    facet_error error;
    const gguf_part part = {(const uint8_t *)i->bytes, i->n};
    size_t end = i->n;
    assert_ok(gguf_open(&file, &part, 1, NULL, &error), &error);
    for (size_t k = 0; k < gguf_n_tensors(file); k++) {
        if (gguf_tensor_at(file, k)->offset < end) end = (size_t)gguf_tensor_at(file, k)->offset;
    }
    gguf_free(file);
    return end;
}

/* With the front of the file, everything but computing. */
static void test_front(void **state) {
    (void)state;
    truth t = truth_of("ple-shared");
    facet_error error;
    facet_model *m, *early;
    facet_model_info info = {.size = sizeof info};
    facet_fit fit = {.size = sizeof fit};
    facet_loader *l = loader_for(t.image.n, 0, NULL);
    size_t end = directory_end(&t.image);
    assert_int_equal(facet_loader_open(l, &m, &error), FACET_ERROR_TIMEOUT);
    feed(l, &t.image, 0, end / 2);
    assert_int_equal(facet_loader_open(l, &m, &error), FACET_ERROR_TIMEOUT);
    assert_null(m);
    feed(l, &t.image, end / 2, end - end / 2 + (1 << 16)); /* looks are so far apart at the most */
    assert_ok(facet_loader_open(l, &early, &error), &error);
    assert_ok(facet_model_get_info(early, &info), &error);
    assert_true(info.has_weights && info.n_layer > 0 && info.n_vocab > 0);
    assert_ok(facet_fit_compute(early, NULL, &fit, &error), &error);
    int32_t *ids;
    size_t n;
    assert_ok(facet_tokenize(early, "abc abc", 7, false, &ids, &n, &error), &error);
    assert_true(n > 0);
    facet_free(ids);
    assert_int_equal(facet_loader_finish(l, &m, &error), FACET_ERROR_TRUNCATED);
    assert_int_equal(error.position, end + (1 << 16));
    assert_null(m);
    feed(l, &t.image, 0, t.image.n);
    assert_finished(l, &t);
    facet_model_free(early);
    truth_free(&t);
}

/* ---- computing while the rest arrives */

typedef struct staged {
    facet_loader *loader;
    const image *image;
    gguf_file *file;
    const hparams *hparams;
    uint32_t n_stages; /* fed so far */
} staged;

static void feed_stage(staged *g) {
    for (size_t i = 0; i < gguf_n_tensors(g->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(g->file, i);
        if (weights_stage(g->hparams, t->name) == g->n_stages)
            feed(g->loader, g->image, (size_t)t->offset, (size_t)t->n_bytes);
    }
    g->n_stages++;
}

static void feed_next(void *ctx, uint32_t layer, const float *x, size_t n_rows, size_t n_embd) {
    staged *g = ctx;
    (void)x;
    (void)n_rows;
    (void)n_embd;
    if (layer + WEIGHTS_STAGE_LAYER + 1 == g->n_stages) feed_stage(g);
}

/* Each layer's tensors come when the layer before is done, and nobody ever waits: so nothing is read too early. */
static void assert_staged(const truth *t) {
    facet_error error;
    facet_model *m;
    facet_loader *l = loader_for(t->image.n, 0, NULL);
    const gguf_part part = {(const uint8_t *)t->image.bytes, t->image.n};
    feed(l, &t->image, 0, directory_end(&t->image));
    staged g = {.loader = l, .image = &t->image};
    /* looks for the directory are some bytes apart: the first tensor may be needed for the next one */
    if (facet_loader_open(l, &m, &error) != FACET_OK) {
        feed(l, &t->image, 0, directory_end(&t->image) + (1 << 16));
        assert_ok(facet_loader_open(l, &m, &error), &error);
    }
    g.hparams = &m->hparams;
    assert_ok(gguf_open(&g.file, &part, 1, NULL, &error), &error);
    feed_stage(&g);
    facet_engine *e = engine_of(m, 2);
    forward_observe(e->forward, feed_next, &g);
    float *logits = malloc(t->n_vocab * sizeof *logits);
    assert_int_equal(ask(e, logits, &error), FACET_ERROR_TIMEOUT);
    feed_stage(&g);
    assert_int_equal(ask(e, logits, &error), FACET_ERROR_TIMEOUT);
    feed_stage(&g);
    assert_ok(ask(e, logits, &error), &error);
    assert_memory_equal(logits, t->logits, t->n_vocab * sizeof *logits);
    free(logits);
    gguf_free(g.file);
    facet_engine_free(e);
    facet_model_free(m);
    facet_loader_free(l);
}

/* The same file with its vectors as F16: they are converted when they are there. */
static facet_status append(void *ctx, const void *data, size_t n, facet_error *err) {
    image *i = ctx;
    (void)err;
    i->bytes = realloc(i->bytes, i->n + n);
    memcpy(i->bytes + i->n, data, n);
    i->n += n;
    return FACET_OK;
}

static void write_vector(gguf_writer *w, const gguf_tensor *t, facet_error *error) {
    const quant_format *f16 = quant_format_by_id(QUANT_F16);
    size_t n = (size_t)t->ne[0];
    uint16_t *half = malloc(n * sizeof *half);
    f16->quantise((const float *)(const void *)t->data, half, n);
    assert_ok(gguf_writer_data(w, half, n * sizeof *half, error), error);
    free(half);
}

static image with_f16_vectors(const image *from) {
    gguf_file *file;
    gguf_writer *w;
    facet_error error;
    const gguf_part part = {(const uint8_t *)from->bytes, from->n};
    image out = {0};
    assert_ok(gguf_open(&file, &part, 1, NULL, &error), &error);
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    for (size_t i = 0; i < gguf_n_kv(file); i++) gguf_add_copy(w, gguf_kv_at(file, i));
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        bool vector = t->n_dims == 1;
        gguf_add_tensor(w, t->name, vector ? QUANT_F16 : t->type_id, t->n_dims, t->ne,
                        vector ? t->n_bytes / 2 : t->n_bytes);
    }
    assert_ok(gguf_writer_begin(w, append, &out, &error), &error);
    for (size_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        if (t->n_dims == 1)
            write_vector(w, t, &error);
        else
            assert_ok(gguf_writer_data(w, t->data, (size_t)t->n_bytes, &error), &error);
    }
    assert_ok(gguf_writer_end(w, &error), &error);
    gguf_writer_free(w);
    gguf_free(file);
    image aligned = image_of(out.bytes, out.n);
    free(out.bytes);
    return aligned;
}

static void test_stages(void **state) {
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        truth t = truth_of(kinds[k]);
        assert_staged(&t);
        truth half = truth_of_image(with_f16_vectors(&t.image));
        assert_staged(&half);
        facet_loader *l = loader_for(half.image.n, 0, NULL);
        feed_backwards(l, &half.image, 65536);
        assert_finished(l, &half);
        truth_free(&half);
        truth_free(&t);
    }
}

/* ---- threads */

static void doze(double seconds) { nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL); }

typedef struct asking {
    facet_engine *engine;
    facet_session *session; /* NULL: one of its own */
    float *logits;
    facet_status status;
    facet_error error;
    pthread_t thread;
} asking;

static void *ask_main(void *arg) {
    asking *a = arg;
    int32_t tokens[N_PROMPT];
    prompt_of(a->engine->model, tokens);
    a->status = facet_session_sync(a->session, tokens, N_PROMPT, NULL, NULL, NULL, &a->error);
    if (a->status == FACET_OK) {
        memcpy(a->logits, facet_session_logits(a->session), a->engine->model->hparams.n_vocab * sizeof(float));
    }
    return NULL;
}

static void ask_begin(asking *a, facet_engine *e) {
    facet_error error;
    *a = (asking){.engine = e, .logits = malloc(e->model->hparams.n_vocab * sizeof(float))};
    facet_session_options o;
    facet_session_options_defaults(&o);
    o.share_prefix = false;
    assert_ok(facet_session_new(&a->session, e, &o, &error), &error);
    pthread_create(&a->thread, NULL, ask_main, a);
}

static void ask_join(asking *a, facet_status expected) {
    pthread_join(a->thread, NULL);
    if (a->status != expected) fail_msg("%s: %s", facet_status_name(a->status), a->error.message);
}

static void ask_end(asking *a, const truth *t) {
    if (a->status == FACET_OK) assert_memory_equal(a->logits, t->logits, t->n_vocab * sizeof(float));
    facet_session_free(a->session);
    free(a->logits);
}

typedef struct half_way {
    facet_loader *loader;
    facet_model *model;
    facet_engine *engine;
    size_t fed;
} half_way;

/* Enough for an engine, and about half of the layers. */
static half_way half_way_new(const truth *t, double timeout) {
    facet_error error;
    half_way h = {.loader = loader_for(t->image.n, timeout, NULL), .fed = t->image.n / 5 * 3};
    feed(h.loader, &t->image, 0, h.fed);
    assert_ok(facet_loader_open(h.loader, &h.model, &error), &error);
    for (size_t i = 0; i < gguf_n_tensors(h.model->file); i++) {
        const gguf_tensor *r = gguf_tensor_at(h.model->file, i);
        if (weights_stage(&h.model->hparams, r->name) <= WEIGHTS_STAGE_STEP)
            feed(h.loader, &t->image, (size_t)r->offset, (size_t)r->n_bytes);
    }
    h.engine = engine_of(h.model, 2);
    return h;
}

static void half_way_free(half_way *h) {
    facet_engine_free(h->engine);
    facet_model_free(h->model);
    facet_loader_free(h->loader);
}

static void test_waiting(void **state) {
    (void)state;
    truth t = truth_of("ple-shared");
    half_way h = half_way_new(&t, INFINITY);
    asking a[2];
    for (int i = 0; i < 2; i++) ask_begin(&a[i], h.engine);
    doze(0.02);
    facet_session_cancel(a[0].session); /* the other one goes on waiting */
    ask_join(&a[0], FACET_ERROR_CANCELLED);
    for (size_t at = h.fed; at < t.image.n; at += 50000) {
        feed(h.loader, &t.image, at, 50000);
        doze(0.0005);
    }
    ask_join(&a[1], FACET_OK);
    ask_end(&a[1], &t);
    facet_session *again = a[0].session; /* it can be asked again */
    pthread_create(&a[0].thread, NULL, ask_main, &a[0]);
    ask_join(&a[0], FACET_OK);
    assert_ptr_equal(again, a[0].session);
    ask_end(&a[0], &t);
    half_way_free(&h);
    truth_free(&t);
}

static void test_timeout(void **state) {
    (void)state;
    truth t = truth_of("dense-keqv");
    half_way h = half_way_new(&t, 0.02);
    asking a;
    ask_begin(&a, h.engine);
    ask_join(&a, FACET_ERROR_TIMEOUT);
    assert_int_equal(facet_session_length(a.session), 0);
    feed(h.loader, &t.image, h.fed, t.image.n);
    pthread_create(&a.thread, NULL, ask_main, &a);
    ask_join(&a, FACET_OK);
    ask_end(&a, &t);
    half_way_free(&h);
    truth_free(&t);
}

typedef enum ending { END_CANCEL, END_FAIL, END_FREE, END_DIFFERENCE } ending;

static void end_loader(half_way *h, const truth *t, ending how) {
    facet_error error;
    char wrong = (char)(t->image.bytes[100] ^ 1);
    switch (how) {
    case END_CANCEL: facet_loader_cancel(h->loader); break;
    case END_FAIL: facet_loader_fail(h->loader, FACET_ERROR_IO, "the line is dead"); break;
    case END_DIFFERENCE:
        assert_int_equal(facet_loader_feed(h->loader, 100, &wrong, 1, &error), FACET_ERROR_FORMAT);
        assert_int_equal(error.position, 100);
        break;
    case END_FREE:
        facet_loader_free(h->loader);
        h->loader = NULL;
        break;
    }
}

/* A stream that ends before its time, while a step waits for it. */
static void test_endings(void **state) {
    (void)state;
    static const struct {
        facet_status of_step, of_loader;
        const char *message;
    } expected[] = {[END_CANCEL] = {FACET_ERROR_STATE, FACET_ERROR_CANCELLED, "cancelled"},
                    [END_FAIL] = {FACET_ERROR_IO, FACET_ERROR_IO, "the line is dead"},
                    [END_FREE] = {FACET_ERROR_STATE, FACET_OK, "freed"},
                    [END_DIFFERENCE] = {FACET_ERROR_FORMAT, FACET_ERROR_FORMAT, "twice"}};
    truth t = truth_of("ple-gqa");
    for (int how = END_CANCEL; how <= END_DIFFERENCE; how++) {
        facet_error error;
        facet_model *m;
        half_way h = half_way_new(&t, INFINITY);
        asking a;
        ask_begin(&a, h.engine);
        doze(how % 2 ? 0.01 : 0);
        end_loader(&h, &t, (ending)how);
        ask_join(&a, expected[how].of_step);
        assert_non_null(strstr(a.error.message, expected[how].message));
        if (h.loader) {
            facet_status status = expected[how].of_loader;
            assert_int_equal(facet_loader_feed(h.loader, 0, t.image.bytes, 10, &error), status);
            assert_int_equal(facet_loader_open(h.loader, &m, &error), status);
            assert_int_equal(facet_loader_finish(h.loader, &m, &error), status);
            facet_loader_fail(h.loader, FACET_ERROR_MEMORY, "the first failure counts");
            assert_int_equal(facet_loader_finish(h.loader, &m, &error), status);
            assert_non_null(strstr(error.message, expected[how].message));
        }
        ask_end(&a, &t);
        half_way_free(&h);
    }
    truth_free(&t);
}

typedef struct feeding {
    facet_loader *loader;
    const image *image;
    uint32_t seed;
    atomic_bool *stop;
    pthread_t thread;
} feeding;

/* Until everything is there or somebody ends it. */
static void *feed_main(void *arg) {
    feeding *f = arg;
    facet_error error;
    uint64_t at, n;
    while (facet_loader_missing(f->loader, next_random(&f->seed) % f->image->n, &at, &n) ||
           facet_loader_missing(f->loader, 0, &at, &n)) {
        size_t some = 1 + next_random(&f->seed) % 30000;
        if (some > f->image->n - at) some = f->image->n - (size_t)at;
        facet_status status = facet_loader_feed(f->loader, at, f->image->bytes + at, some, &error);
        if (status != FACET_OK) {
            assert_int_equal(status, FACET_ERROR_CANCELLED);
            break;
        }
    }
    return NULL;
}

static void *open_main(void *arg) {
    feeding *f = arg;
    facet_error error;
    facet_model *m;
    facet_loader_progress p = {.size = sizeof p};
    facet_status status = facet_loader_open(f->loader, &m, &error);
    facet_loader_get_progress(f->loader, &p);
    assert_true(status == FACET_OK || status == FACET_ERROR_CANCELLED);
    facet_model_free(m);
    return NULL;
}

/* Many feed, some wait, and in some rounds somebody cancels at some moment. */
static void test_many(void **state) {
    (void)state;
    truth t = truth_of("ple-shared");
    uint8_t digest[SHA256_BYTES];
    digest_of(&t.image, digest);
    for (uint32_t round = 0; round < 12; round++) {
        facet_loader *l = loader_for(t.image.n, INFINITY, round % 2 ? digest : NULL);
        feeding f[5];
        for (uint32_t i = 0; i < 5; i++) {
            f[i] = (feeding){.loader = l, .image = &t.image, .seed = 31 * round + i};
            pthread_create(&f[i].thread, NULL, i < 3 ? feed_main : open_main, &f[i]);
        }
        if (round % 3 == 2) {
            doze(0.0003 * round);
            facet_loader_cancel(l);
        }
        for (int i = 0; i < 5; i++) pthread_join(f[i].thread, NULL);
        if (round % 3 != 2)
            assert_finished(l, &t);
        else
            facet_loader_free(l);
    }
    truth_free(&t);
}

/* ---- what is refused */

static void test_options(void **state) {
    (void)state;
    facet_loader *l;
    facet_error error;
    facet_loader_options o;
    assert_int_equal(facet_loader_new(&l, NULL, &error), FACET_ERROR_ARGUMENT);
    for (int i = 0; i < 6; i++) {
        facet_loader_options_defaults(&o);
        o.n_bytes = 1000;
        if (i == 0) o.size = 3;
        if (i == 1) o.n_bytes = 0;
        if (i == 2) o.n_bytes = UINT64_MAX;
        if (i == 3) o.timeout_seconds = -1;
        if (i == 4) o.timeout_seconds = NAN;
        facet_status status = facet_loader_new(&l, &o, &error);
        assert_int_equal(status, i == 5 ? FACET_OK : FACET_ERROR_ARGUMENT);
        if (i == 5) assert_non_null(l);
        facet_loader_free(l);
    }
    facet_loader_options_defaults(&o);
    o.n_bytes = UINT64_MAX / 4; /* more than any address space */
    assert_int_equal(facet_loader_new(&l, &o, &error), FACET_ERROR_MEMORY);
    facet_loader_free(NULL);
}

static void test_outside(void **state) {
    (void)state;
    static const struct {
        uint64_t at;
        size_t n;
    } bad[] = {{1000, 1}, {999, 2}, {0, 1001}, {UINT64_MAX, 1}, {UINT64_MAX - 5, 10}, {1, SIZE_MAX}, {5000, 0}};
    char bytes[1001] = {0};
    facet_error error;
    facet_loader *l = loader_for(1000, 0, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(facet_loader_feed(l, bad[i].at, bytes, bad[i].n, &error), FACET_ERROR_ARGUMENT);
    }
    assert_int_equal(facet_loader_feed(l, 5, NULL, 3, &error), FACET_ERROR_ARGUMENT);
    assert_ok(facet_loader_feed(l, 1000, bytes, 0, &error), &error); /* nothing, at the end */
    assert_ok(facet_loader_feed(l, 999, bytes, 1, &error), &error);  /* these were no failures of the loader */
    facet_loader_free(l);
}

/* Crumbs: every second byte. */
static void test_crumbs(void **state) {
    (void)state;
    enum { N = 4 * RANGES_MOST };
    facet_error error;
    uint64_t at, n;
    facet_loader *l = loader_for(N, 0, NULL);
    size_t i = 0;
    facet_status status = FACET_OK;
    for (; i < N && status == FACET_OK; i += 2) status = facet_loader_feed(l, N - 1 - i, "", 1, &error);
    assert_int_equal(status, FACET_ERROR_STATE);
    assert_int_equal(i, 2 * RANGES_MOST + 2);
    assert_ok(facet_loader_feed(l, N - 2, "", 1, &error), &error); /* filling holes is always possible */
    assert_true(facet_loader_missing(l, N - 8, &at, &n));
    assert_true(at == N - 8 && n == 1);
    assert_ok(facet_loader_feed(l, N - 1 - 2 * RANGES_MOST, "", 1, &error), &error);
    facet_loader_free(l);
}

/* What is no model is found out early: the front is enough. */
static void test_not_a_model(void **state) {
    (void)state;
    image i = image_read("ple-gqa");
    facet_error error;
    facet_model *m;
    facet_loader *l = loader_for(100 << 20, 0, NULL);
    char page[8192] = "<!DOCTYPE html>";
    assert_int_equal(facet_loader_feed(l, 0, page, sizeof page, &error), FACET_ERROR_FORMAT);
    assert_int_equal(facet_loader_feed(l, 0, page, 1, &error), FACET_ERROR_FORMAT);
    assert_int_equal(facet_loader_open(l, &m, &error), FACET_ERROR_FORMAT);
    facet_loader_free(l);

    l = loader_for(i.n - 100, 0, NULL); /* the directory announces more than there is */
    assert_int_equal(facet_loader_feed(l, 0, i.bytes, i.n / 2, &error), FACET_ERROR_TRUNCATED);
    facet_loader_free(l);
    l = loader_for(i.n + 64, 0, NULL); /* more than the directory announces is no harm */
    feed(l, &i, 0, i.n);
    assert_int_equal(facet_loader_finish(l, &m, &error), FACET_ERROR_TRUNCATED);
    assert_ok(facet_loader_feed(l, i.n, page, 64, &error), &error);
    assert_ok(facet_loader_finish(l, &m, &error), &error);
    facet_model_free(m);
    facet_loader_free(l);
    l = loader_for(30, 0, NULL); /* cut off inside of the directory */
    assert_int_equal(facet_loader_feed(l, 0, i.bytes, 30, &error), FACET_ERROR_TRUNCATED);
    assert_int_equal(facet_loader_finish(l, &m, &error), FACET_ERROR_TRUNCATED);
    facet_loader_free(l);
    free(i.bytes);
}

static void test_wrong_sum(void **state) {
    (void)state;
    truth t = truth_of("ple-gqa");
    uint8_t digest[SHA256_BYTES];
    facet_error error;
    facet_model *m;
    digest_of(&t.image, digest);
    digest[31] ^= 1;
    facet_loader *l = loader_for(t.image.n, 0, digest);
    feed(l, &t.image, 0, t.image.n / 2);
    (void)facet_loader_feed(l, t.image.n / 2, t.image.bytes + t.image.n / 2, t.image.n - t.image.n / 2, &error);
    assert_int_equal(facet_loader_finish(l, &m, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "SHA-256"));
    facet_loader_free(l);
    truth_free(&t);
}

/* ---- files that change while they are mapped */

static void write_file(const char *path, const char *mode, const void *bytes, size_t n) {
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void change_file(const char *path, const image *i, int how) {
    if (how == 0) write_file(path, "ab", "x", 1);
    if (how == 1) write_file(path, "wb", i->bytes, i->n - 1);
    if (how == 2) remove(path);
    if (how == 3) {
        doze(0.02); /* the clock of a file system may be coarse */
        write_file(path, "r+b", i->bytes, 1);
    }
}

static void test_changed_file(void **state) {
    (void)state;
    static const char *const told[] = {"longer", "shorter", "deleted", "written to"};
    truth t = truth_of("ple-gqa");
    char path[] = "/tmp/facet-stream-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (int how = 0; how < 8; how++) {
        facet_model *m;
        facet_error error;
        facet_model_options o;
        facet_session *s;
        int32_t tokens[N_PROMPT];
        write_file(path, "wb", t.image.bytes, t.image.n);
        facet_model_options_defaults(&o);
        o.use_mmap = how < 4;
        assert_ok(facet_model_open(&m, path, &o, &error), &error);
        facet_engine *e = engine_of(m, 1);
        assert_ok(facet_session_new(&s, e, NULL, &error), &error);
        prompt_of(m, tokens);
        assert_ok(facet_session_sync(s, tokens, N_PROMPT / 2, NULL, NULL, NULL, &error), &error);
        change_file(path, &t.image, how % 4);
        facet_status status = facet_session_sync(s, tokens, N_PROMPT, NULL, NULL, NULL, &error);
        assert_int_equal(status, how < 4 ? FACET_ERROR_IO : FACET_OK);
        if (how < 4) {
            assert_non_null(strstr(error.message, told[how]));
        } else {
            assert_memory_equal(facet_session_logits(s), t.logits, t.n_vocab * sizeof(float));
        }
        facet_session_free(s);
        facet_engine_free(e);
        facet_model_free(m);
    }
    remove(path);
    truth_free(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),       cmocka_unit_test(test_ranges),      cmocka_unit_test(test_memory),
        cmocka_unit_test(test_source),       cmocka_unit_test(test_read_front),  cmocka_unit_test(test_read_failures),
        cmocka_unit_test(test_orders),       cmocka_unit_test(test_front),       cmocka_unit_test(test_stages),
        cmocka_unit_test(test_waiting),      cmocka_unit_test(test_timeout),     cmocka_unit_test(test_endings),
        cmocka_unit_test(test_many),         cmocka_unit_test(test_options),     cmocka_unit_test(test_outside),
        cmocka_unit_test(test_crumbs),       cmocka_unit_test(test_not_a_model), cmocka_unit_test(test_wrong_sum),
        cmocka_unit_test(test_changed_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
