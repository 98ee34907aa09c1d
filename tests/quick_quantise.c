/* Writing block formats with a search, and whole files: errors against those of llama.cpp's quantiser on the same
 * tensors, and what every quantiser must promise: the same bits in every build, alone or in a row, whatever threads.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/half.h"
#include "facet_tools.h"
#include "gguf/writer.h"
#include "os/output.h"
#include "quant/blocks.h"
#include "quant/quantise.h"
#include "quant/search.h"
#include "support.h"

enum { N = 64 * 256 };

static const quant_type searched[] = {QUANT_Q2_K, QUANT_Q3_K,   QUANT_Q4_K,   QUANT_Q5_K,
                                      QUANT_Q6_K, QUANT_IQ4_NL, QUANT_IQ4_XS, QUANT_MXFP4};
enum { N_SEARCHED = sizeof searched / sizeof searched[0] };

static uint32_t seed = 7;
static float uniform(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) * 0x1p-24f;
}
/* Heavy in the middle, with far tails, as weights are. */
static float sample(void) {
    float sum = 0;
    for (int i = 0; i < 6; i++) sum += uniform() - 0.5f;
    return sum * sum * sum * 0.1f + 0.02f * sum;
}

static double error_of(const quant_format *f, const float *x, const float *weights, const void *blocks, size_t n) {
    float *back = malloc(n * sizeof *back);
    double sum = 0;
    f->dequantise(blocks, back, n / f->block);
    for (size_t i = 0; i < n; i++)
        sum += (weights ? weights[i] : 1.0) * ((double)back[i] - x[i]) * ((double)back[i] - x[i]);
    free(back);
    return sqrt(sum / (double)n);
}

/* ---- blocks */

/* tiny-q4_k_m.gguf is llama.cpp's work on tiny-f32.gguf. */
static void errs_less_than_the_peer(void **state) {
    (void)state;
    golden plain = golden_open("tiny/tiny-f32.gguf"), peer = golden_open("tiny/tiny-q4_k_m.gguf");
    size_t n_compared = 0;
    for (size_t i = 0; i < gguf_n_tensors(peer.file); i++) {
        const gguf_tensor *t = gguf_tensor_at(peer.file, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.data);
        const gguf_tensor *from = golden_tensor(&plain, name);
        if (t->format->block != 256) continue;
        size_t n = (size_t)(from->n_bytes / 4);
        if (n > 1 << 17) n = 1 << 17; /* a part of the embeddings */
        uint8_t *blocks = malloc((size_t)quant_row_bytes(t->format, n));
        const float *x = (const float *)(const void *)from->data;
        t->format->quantise(x, blocks, n / 256);
        double ours = error_of(t->format, x, NULL, blocks, n), theirs = error_of(t->format, x, NULL, t->data, n);
        if (!(ours <= theirs)) fail_msg("%s as %s: error %g, llama.cpp's %g", name, t->format->name, ours, theirs);
        free(blocks);
        n_compared++;
    }
    assert_true(n_compared > 50);
    golden_close(&peer);
    golden_close(&plain);
}

/* Errors that llama.cpp's quantiser makes on one tensor (MXFP4: the gguf Python package's). */
static void errs_less_than_the_peer_in_all_types(void **state) {
    (void)state;
    static const struct {
        quant_type type;
        double error;
    } peer[] = {{QUANT_Q2_K, 0.0169779},    {QUANT_Q3_K, 0.00863546}, {QUANT_Q4_K, 0.00408642},
                {QUANT_Q5_K, 0.00205900},   {QUANT_Q6_K, 0.00100985}, {QUANT_IQ4_NL, 0.00439379},
                {QUANT_IQ4_XS, 0.00442676}, {QUANT_MXFP4, 0.00682868}};
    golden g = golden_open("tiny/tiny-f32.gguf");
    const gguf_tensor *t = golden_tensor(&g, "blk.1.ffn_up.weight");
    const float *x = (const float *)(const void *)t->data;
    size_t n = (size_t)(t->n_bytes / 4);
    uint8_t *blocks = malloc(n * 4);
    for (size_t i = 0; i < sizeof peer / sizeof peer[0]; i++) {
        const quant_format *f = quant_format_of(peer[i].type);
        f->quantise(x, blocks, n / f->block);
        double error = error_of(f, x, NULL, blocks, n);
        if (!(error <= peer[i].error)) fail_msg("%s: error %g, the peer's %g", f->name, error, peer[i].error);
        assert_true(error > 0.5 * peer[i].error); /* or the comparison is broken */
    }
    free(blocks);
    golden_close(&g);
}

static void blocks_do_not_depend_on_neighbours(void **state) {
    (void)state;
    float x[7 * 256];
    uint8_t together[7 * 256 * 4], alone[1024];
    for (size_t i = 0; i < 7 * 256; i++) x[i] = sample() * (i / 256 == 3 ? 1e6f : 1.0f);
    for (size_t k = 0; k < N_SEARCHED; k++) {
        const quant_format *f = quant_format_of(searched[k]);
        f->quantise(x, together, 7 * 256 / f->block);
        for (size_t b = 0; b < 7 * 256 / f->block; b++) {
            f->quantise(x + b * f->block, alone, 1);
            if (memcmp(alone, together + b * f->block_bytes, f->block_bytes) != 0)
                fail_msg("%s: block %zu", f->name, b);
        }
    }
}

static void fill(search_problem *p, int n) {
    memset(p, 0, sizeof *p);
    p->n = n;
    for (int i = 0; i < n; i++) {
        for (int l = 0; l < SEARCH_LANES; l++) p->x[i][l] = l == 5 ? 0.0f : sample(), p->w[i][l] = uniform();
    }
}

static void compare_kernels(const search_kernels *a, const search_kernels *b, const search_problem *p) {
    static const search_grid wide = {13.4f, 0.2f, 14}, narrow = {2.8f, 0.2f, 10};
    search_offset o[2], d = {{0}, {0}};
    search_row scale[2], error[2];
    search_sums sums[2];
    uint8_t codes[2][SEARCH_LONGEST][SEARCH_LANES];
    memset(sums, 0, sizeof sums);
    memset(codes, 0, sizeof codes);
    const search_kernels *k[2] = {a, b};
    for (int l = 0; l < SEARCH_LANES; l++) d.scale[l] = d.minimum[l] = 0.001f;
    for (int i = 0; i < 2; i++) {
        search_offset multiples = {{3, 4, 5}, {1, 2, 60}};
        k[i]->fit_offset(p, 15, &wide, &o[i]);
        k[i]->sums_offset(p, 15, &o[i], &sums[i]);
        k[i]->codes_offset(p, 15, &o[i], codes[i]);
        k[i]->near_offset(p, 15, 63, &d, &multiples, error[i]);
    }
    assert_memory_equal(&o[0], &o[1], sizeof o[0]);
    assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
    assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
    assert_memory_equal(error[0], error[1], sizeof error[0]);
    for (int v = 0; v < SEARCH_N_VALUES; v++) {
        for (int i = 0; i < 2; i++) {
            search_row multiples = {1, 2, -3};
            k[i]->fit_values[v](p, &narrow, scale[i]);
            k[i]->sums_values[v](p, scale[i], &sums[i]);
            k[i]->codes_values[v](p, scale[i], codes[i]);
            k[i]->near_values[v](p, -32, 31, d.scale, multiples, error[i]);
        }
        assert_memory_equal(scale[0], scale[1], sizeof scale[0]);
        assert_memory_equal(sums[0].qq, sums[1].qq, sizeof sums[0].qq);
        assert_memory_equal(sums[0].xq, sums[1].xq, sizeof sums[0].xq);
        assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
        assert_memory_equal(error[0], error[1], sizeof error[0]);
    }
}

static void every_build_makes_the_same_bits(void **state) {
    (void)state;
    static search_problem p;
    for (int round = 0; round < 40; round++) {
        fill(&p, round % 2 ? 16 : 32);
        if (search_choose() != &search_kernels_plain) compare_kernels(&search_kernels_plain, search_choose(), &p);
#if defined(__x86_64__)
        if (search_choose() == &search_kernels_avx512)
            compare_kernels(&search_kernels_plain, &search_kernels_avx2, &p);
#endif
    }
}

static void weights_pull_the_error_down_where_they_are(void **state) {
    (void)state;
    float *x = malloc(N * sizeof *x), *weights = malloc(N * sizeof *weights);
    uint8_t *plain = malloc(N * 4), *weighed = malloc(N * 4);
    for (int i = 0; i < N; i++) x[i] = sample(), weights[i] = i % 16 < 2 ? 20.0f : i % 16 == 5 ? 0.0f : 0.3f;
    for (int t = 0; t < QUANT_N_TYPES; t++) {
        const quant_format *f = quant_format_of((quant_type)t);
        if (!quant_takes_weights(f)) continue;
        quant_quantise_weighted(f, x, NULL, plain, N / f->block);
        quant_quantise_weighted(f, x, weights, weighed, N / f->block);
        double before = error_of(f, x, weights, plain, N), after = error_of(f, x, weights, weighed, N);
        if (!(after < 0.97 * before)) fail_msg("%s: weighted error %g, without weights %g", f->name, after, before);
        uint8_t *again = malloc(N * 4);
        f->quantise(x, again, N / f->block);
        assert_memory_equal(again, plain, N / f->block * f->block_bytes);
        free(again);
    }
    free(x);
    free(weights);
    free(plain);
    free(weighed);
}

/* Of all 127 scales that NVFP4 can store none is noticeably better than the one that was taken. */
static void nvfp4_scales_are_the_best(void **state) {
    (void)state;
    enum { BLOCKS = 40 };
    const quant_format *f = quant_format_of(QUANT_NVFP4);
    float x[64 * BLOCKS], back[64];
    uint8_t blocks[36 * BLOCKS], block[36];
    double taken = 0, best = 0;
    for (int i = 0; i < 64 * BLOCKS; i++) x[i] = sample() * (i % 3 ? 1.0f : 4.0f);
    f->quantise(x, blocks, BLOCKS);
    for (int g = 0; g < 4 * BLOCKS; g++) {
        const float *group = x + 16 * g;
        double least = 1e30, mine = 0;
        f->dequantise(blocks + 36 * (g / 4), back, 1);
        for (int i = 0; i < 16; i++) mine += pow((double)group[i] - (double)back[16 * (g % 4) + i], 2);
        for (uint8_t d = 0; d < 127; d++) {
            memset(block, 0, sizeof block);
            block[0] = d;
            double error = 0;
            for (int i = 0; i < 16; i++) { /* the nearest of all codes */
                double nearest = 1e30;
                for (int code = 0; code < 16; code++) {
                    block[4] = (uint8_t)code;
                    f->dequantise(block, back, 1);
                    nearest = fmin(nearest, pow((double)group[i] - (double)back[0], 2));
                }
                error += nearest;
            }
            least = fmin(least, error);
        }
        taken += mine;
        best += least;
    }
    print_message("NVFP4: %.4f times the least possible error\n", taken / best);
    assert_true(taken <= 1.01 * best);
}

static void awkward_blocks(void **state) {
    (void)state;
    static const float values[] = {0.0f, 1e-45f, 1e-38f, 1e-10f, 1.0f, 65504.0f * 8, 3e38f, -3e38f};
    for (size_t k = 0; k < N_SEARCHED; k++) {
        const quant_format *f = quant_format_of(searched[k]);
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            float x[256], back[256];
            uint8_t blocks[1024];
            for (int i = 0; i < 256; i++) x[i] = values[v];
            f->quantise(x, blocks, 256 / f->block);
            f->dequantise(blocks, back, 256 / f->block);
            for (int i = 0; i < 256; i++) {
                assert_true(isfinite(back[i]));
                if (values[v] == 0.0f) assert_true(back[i] == 0.0f);
                if (values[v] == 1.0f) assert_true(fabsf(back[i] - 1.0f) < (f->type == QUANT_Q2_K ? 0.1f : 0.03f));
            }
        }
    }
}

/* ---- the lattice of Q4_0 */

static void lattice_comes_back(void **state) {
    (void)state;
    for (int round = 0; round < 400; round++) {
        float x[32], back[32];
        uint8_t block[18];
        float d = f16_to_f32(f32_to_f16((uniform() - 0.5f) * (round % 3 ? 0.02f : 3.0f)));
        int top = 3 + round % 5; /* of the codes that occur: the ends of the range may be unused */
        if (d == 0.0f) continue;
        for (int i = 0; i < 32; i++) {
            x[i] = d * (float)((int)(uniform() * (float)(2 * top + 1)) - top);
            if (round % 2) x[i] = bf16_to_f32(f32_to_bf16(x[i]));
        }
        assert_true(quant_q4_0_lattice(x, block));
        quant_format_of(QUANT_Q4_0)->dequantise(block, back, 1);
        for (int i = 0; i < 32; i++) {
            float got = round % 2 ? bf16_to_f32(f32_to_bf16(back[i])) : back[i];
            assert_true(got == x[i]);
        }
    }
}

static void what_is_no_lattice_is_told(void **state) {
    (void)state;
    float x[32];
    uint8_t block[18], before[18];
    memset(before, 0x5a, sizeof before);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 32; i++) x[i] = sample();
        memcpy(block, before, sizeof block);
        assert_false(quant_q4_0_lattice(x, block));
        assert_memory_equal(block, before, sizeof block);
    }
    x[3] = NAN;
    assert_false(quant_q4_0_lattice(x, block));
}

/* ---- files */

static char folder[] = "/tmp/facet-quantise-XXXXXX";
static char path_out[64], path_in[64], path_other[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(path_out, sizeof path_out, "%s/out.gguf", folder);
    snprintf(path_in, sizeof path_in, "%s/in.gguf", folder);
    snprintf(path_other, sizeof path_other, "%s/other.gguf", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path_out);
    unlink(path_in);
    unlink(path_other);
    return rmdir(folder); /* fails where something is left */
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*n + 1);
    assert_int_equal(fread(data, 1, *n, f), *n);
    fclose(f);
    return data;
}

static const char tiny[] = FACET_TEST_DATA "/tiny/tiny-f32.gguf";

static facet_quantize_options options_of(const char *type, int threads) {
    facet_quantize_options o;
    facet_quantize_options_defaults(&o);
    o.type = type;
    o.threads = threads;
    return o;
}

/* The recipe gives every tensor the type that llama.cpp gave it. */
static void file_has_the_types_of_the_peer(void **state) {
    (void)state;
    facet_error error = {0};
    facet_quantize_options o = options_of("Q4_K_M", 2);
    facet_quantize_result result = {.size = sizeof result};
    assert_ok(facet_quantize(tiny, path_out, &o, &result, &error), &error);
    golden peer = golden_open("tiny/tiny-q4_k_m.gguf");
    facet_gguf *ours;
    assert_ok(facet_gguf_open(&ours, path_out, false, &error), &error);
    assert_int_equal(facet_gguf_n_tensors(ours), gguf_n_tensors(peer.file));
    for (size_t i = 0; i < facet_gguf_n_tensors(ours); i++) {
        facet_gguf_tensor t = {.size = sizeof t};
        char name[64];
        facet_gguf_get_tensor(ours, i, &t);
        snprintf(name, sizeof name, "%.*s", (int)t.name_bytes, t.name);
        assert_string_equal(t.type, golden_tensor(&peer, name)->format->name);
    }
    assert_int_equal(result.n_changed, 66);
    assert_int_equal(result.n_requantised, 0);
    facet_gguf_free(ours);
    golden_close(&peer);
    facet_model *model;
    assert_ok(facet_model_open(&model, path_out, NULL, &error), &error);
    facet_model_free(model);
}

static void file_does_not_depend_on_threads(void **state) {
    (void)state;
    facet_error error = {0};
    size_t n, m;
    facet_quantize_options one = options_of("q5_k_m", 1), three = options_of("q5_k_m", 3);
    assert_ok(facet_quantize(tiny, path_out, &one, NULL, &error), &error);
    assert_ok(facet_quantize(tiny, path_other, &three, NULL, &error), &error);
    char *a = read_file(path_out, &n), *b = read_file(path_other, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

static facet_status write_stream(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    (void)error;
    assert_int_equal(fwrite(data, 1, n_bytes, ctx), n_bytes);
    return FACET_OK;
}

/* A file of one matrix of zeros that takes no room on the disk. */
static void sparse_matrix(const char *path, uint64_t rows) {
    facet_error error = {0};
    gguf_writer *w;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    gguf_add_tensor(w, (gguf_string){"a.weight", 8}, 0, 2, (uint64_t[]){4096, rows, 1, 1}, 4 * 4096 * rows);
    assert_ok(gguf_writer_begin(w, write_stream, f, &error), &error);
    gguf_writer_free(w);
    fflush(f);
    assert_int_equal(ftruncate(fileno(f), ftell(f) + (long)(4 * 4096 * rows)), 0);
    fclose(f);
}

static long peak_bytes(uint64_t rows) {
    facet_error error = {0};
    facet_quantize_options o = options_of("q8_0", 1);
    struct rusage usage;
    sparse_matrix(path_other, rows);
    assert_ok(facet_quantize(path_other, path_out, &o, NULL, &error), &error);
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024;
}

/* Eight times the matrix, 128 MB of it: no more memory, but for what the allocator and a sanitizer do. */
static void memory_does_not_grow_with_tensors(void **state) {
    (void)state;
    long small = peak_bytes(1024), large = peak_bytes(8192);
    print_message("peak %ld MB, then %ld MB\n", small >> 20, large >> 20);
    assert_true(large - small < 32 << 20);
}

static void patterns_choose_types(void **state) {
    (void)state;
    static const char *const types[] = {"^blk\\.[0-3]\\.ffn_(up|gate)=q8_0", "^token_embd=f16", "ffn=q6_k"};
    facet_error error = {0};
    facet_quantize_options o = options_of(NULL, 1);
    o.tensor_types = types;
    o.n_tensor_types = 3;
    assert_ok(facet_quantize(tiny, path_out, &o, NULL, &error), &error);
    facet_gguf *g;
    assert_ok(facet_gguf_open(&g, path_out, false, &error), &error);
    static const struct {
        const char *name, *type;
    } want[] = {{"blk.2.ffn_up.weight", "Q8_0"},
                {"blk.4.ffn_up.weight", "Q6_K"},
                {"token_embd.weight", "F16"},
                {"blk.0.attn_q.weight", "F32"},
                {"blk.2.ffn_norm.weight", "F32"}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        facet_gguf_tensor t = {.size = sizeof t};
        size_t at;
        assert_true(facet_gguf_find_tensor(g, want[i].name, &at));
        facet_gguf_get_tensor(g, at, &t);
        assert_string_equal(t.type, want[i].type);
    }
    facet_gguf_free(g);
}

static void expect_failure(const char *in, const facet_quantize_options *o, facet_status status, const char *text) {
    facet_error error = {0};
    unlink(path_out);
    assert_int_equal(facet_quantize(in, path_out, o, NULL, &error), status);
    if (!strstr(error.message, text)) fail_msg("'%s' lacks '%s'", error.message, text);
    assert_int_not_equal(access(path_out, F_OK), 0);
}

static bool stop(void *ctx, uint64_t done, uint64_t total) {
    (void)ctx;
    return done < total / 2;
}

static void failures_are_told_and_leave_nothing(void **state) {
    (void)state;
    facet_quantize_options o = options_of("q4_k_x", 1);
    expect_failure(tiny, &o, FACET_ERROR_ARGUMENT, "q4_k_x");
    o = options_of("iq2_xxs", 1);
    expect_failure(tiny, &o, FACET_ERROR_UNSUPPORTED, "training data");
    static const char *const bad[] = {"blk.(=q8_0", "blk=q9_9", "=q8_0", "blk", "proj=q4_k", "blk=iq1_s"};
    static const char *const why[] = {"regular", "no type", "REGEX=TYPE", "REGEX=TYPE", "multiple", "not written"};
    for (size_t i = 0; i < 6; i++) {
        o = options_of("q8_0", 1);
        o.tensor_types = &bad[i];
        o.n_tensor_types = 1;
        expect_failure(tiny, &o, i == 5 ? FACET_ERROR_UNSUPPORTED : FACET_ERROR_ARGUMENT, why[i]);
    }
    o = options_of("q8_0", 1);
    o.on_progress = stop;
    expect_failure(tiny, &o, FACET_ERROR_CANCELLED, "stopped");
    o = options_of("q8_0", 1);
    o.importance = tiny;
    expect_failure(tiny, &o, FACET_ERROR_FORMAT, "importance");
    o = options_of("q8_0", 1);
    expect_failure("/nonexistent.gguf", &o, FACET_ERROR_IO, "nonexistent");
}

static facet_status to_output(void *ctx, const void *data, size_t n, facet_error *error) {
    return os_output_write(ctx, data, n, error);
}

/* A file of one matrix [rows, 256], and what else is asked for. */
static void write_matrix(const char *path, const char *name, const float *x, uint64_t columns, uint64_t rows,
                         const char *second, const float *y, uint64_t n_second) {
    facet_error error = {0};
    gguf_writer *w;
    os_output *file;
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    gguf_add_tensor(w, (gguf_string){name, strlen(name)}, 0, 2, (uint64_t[]){columns, rows}, columns * rows * 4);
    if (second) {
        gguf_add_tensor(w, (gguf_string){second, strlen(second)}, 0, 2, (uint64_t[]){1, n_second}, n_second * 4);
    }
    assert_ok(os_output_open(&file, path, &error), &error);
    assert_ok(gguf_writer_begin(w, to_output, file, &error), &error);
    assert_ok(gguf_writer_data(w, x, columns * rows * 4, &error), &error);
    if (second) assert_ok(gguf_writer_data(w, y, n_second * 4, &error), &error);
    assert_ok(gguf_writer_end(w, &error), &error);
    assert_ok(os_output_commit(file, &error), &error);
    gguf_writer_free(w);
}

static double file_error(const char *path, const float *x, const float *columns, size_t n) {
    facet_error error = {0};
    double sum = 0;
    size_t n_bytes;
    char *bytes = read_file(path, &n_bytes);
    gguf_file *file;
    assert_ok(gguf_open(&file, &(gguf_part){(uint8_t *)bytes, n_bytes}, 1, &(gguf_options){0}, &error), &error);
    const gguf_tensor *t = gguf_tensor_find(file, "m.weight");
    float *back = malloc(n * sizeof *back);
    t->format->dequantise(t->data, back, n / t->format->block);
    for (size_t i = 0; i < n; i++) sum += (columns ? columns[i % 256] : 1.0) * (back[i] - x[i]) * (back[i] - x[i]);
    free(back);
    gguf_free(file);
    free(bytes);
    return sum;
}

static void importance_of_columns(void **state) {
    (void)state;
    facet_error error = {0};
    float *x = malloc(N * sizeof *x), columns[256], count = 4.0f;
    for (int i = 0; i < N; i++) x[i] = sample();
    for (int i = 0; i < 256; i++) columns[i] = i % 9 == 0 ? 400.0f : 1.0f;
    write_matrix(path_in, "m.weight", x, 256, N / 256, NULL, NULL, 0);
    write_matrix(path_other, "m.weight.in_sum2", columns, 256, 1, "m.weight.counts", &count, 1);
    facet_quantize_options o = options_of("q4_0", 2);
    assert_ok(facet_quantize(path_in, path_out, &o, NULL, &error), &error);
    double before = file_error(path_out, x, columns, N);
    o.importance = path_other;
    assert_ok(facet_quantize(path_in, path_out, &o, NULL, &error), &error);
    assert_true(file_error(path_out, x, columns, N) < 0.9 * before);
    /* of another shape */
    write_matrix(path_other, "m.weight.in_sum2", columns, 128, 1, "m.weight.counts", &count, 1);
    expect_failure(path_in, &o, FACET_ERROR_FORMAT, "another shape");
    free(x);
}

static void a_trained_lattice_survives(void **state) {
    (void)state;
    facet_error error = {0};
    float *x = malloc(N * sizeof *x);
    for (int b = 0; b < N / 32; b++) {
        float d = f16_to_f32(f32_to_f16(0.001f + 0.01f * uniform()));
        for (int i = 0; i < 32; i++) x[32 * b + i] = d * (float)((int)(uniform() * 13) - 6);
    }
    write_matrix(path_in, "m.weight", x, 256, N / 256, NULL, NULL, 0);
    facet_quantize_options o = options_of("q4_0", 2);
    assert_ok(facet_quantize(path_in, path_out, &o, NULL, &error), &error);
    assert_true(file_error(path_out, x, NULL, N) == 0.0);
    x[777] = NAN;
    write_matrix(path_in, "m.weight", x, 256, N / 256, NULL, NULL, 0);
    expect_failure(path_in, &o, FACET_ERROR_FORMAT, "not finite");
    x[777] = 1e6f;
    write_matrix(path_in, "m.weight", x, 256, N / 256, NULL, NULL, 0);
    o = options_of("f16", 1);
    expect_failure(path_in, &o, FACET_ERROR_FORMAT, "F16");
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_does_not_grow_with_tensors), /* first: peaks only rise */
        cmocka_unit_test(errs_less_than_the_peer),
        cmocka_unit_test(errs_less_than_the_peer_in_all_types),
        cmocka_unit_test(blocks_do_not_depend_on_neighbours),
        cmocka_unit_test(every_build_makes_the_same_bits),
        cmocka_unit_test(weights_pull_the_error_down_where_they_are),
        cmocka_unit_test(nvfp4_scales_are_the_best),
        cmocka_unit_test(awkward_blocks),
        cmocka_unit_test(lattice_comes_back),
        cmocka_unit_test(what_is_no_lattice_is_told),
        cmocka_unit_test(file_has_the_types_of_the_peer),
        cmocka_unit_test(file_does_not_depend_on_threads),
        cmocka_unit_test(patterns_choose_types),
        cmocka_unit_test(failures_are_told_and_leave_nothing),
        cmocka_unit_test(importance_of_columns),
        cmocka_unit_test(a_trained_lattice_survives),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
