/* The GGUF writer: against bytes laid out as the format's description says, and by writing the project's files anew
 * and reading them back. And the door that programs have to both, facet_tools.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "facet_tools.h"
#include "gguf/writer.h"
#include "support.h"

static facet_status to_buffer(void *ctx, const void *data, size_t n, facet_error *error) {
    return buffer_append(ctx, data, n) ? FACET_OK : error_memory(error, n);
}

static gguf_string string_of(const char *text) { return (gguf_string){text, strlen(text)}; }

static void le(buffer *b, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) buffer_byte(b, (char)(v >> (8 * i)));
}
static void text(buffer *b, const char *t) {
    le(b, strlen(t), 8);
    buffer_text(b, t);
}

/* The same file twice: by the writer, and by hand. */
static void add_everything(gguf_writer *w) {
    gguf_add_u32(w, "u", 7);
    gguf_add_i32(w, "i", -7);
    gguf_add_u64(w, "l", 1ull << 40);
    gguf_add_f32(w, "f", 1.5f);
    gguf_add_bool(w, "b", true);
    gguf_add_string(w, "s", "abc", 3);
    gguf_add_array(w, "a", GGUF_U16, (uint16_t[]){1, 2}, 2);
    gguf_add_strings(w, "t", 2);
    gguf_add_item(w, "x", 1);
    gguf_add_item(w, "", 0);
    gguf_add_tensor(w, string_of("m"), 0, 2, (uint64_t[]){3, 1}, 12);
    gguf_add_tensor(w, string_of("q"), 8, 1, (uint64_t[]){32}, 34);
}

static void lay_out_everything(buffer *b) {
    buffer_text(b, "GGUF");
    le(b, 3, 4);
    le(b, 2, 8);
    le(b, 8, 8);
    text(b, "u"), le(b, 4, 4), le(b, 7, 4);
    text(b, "i"), le(b, 5, 4), le(b, (uint32_t)-7, 4);
    text(b, "l"), le(b, 10, 4), le(b, 1ull << 40, 8);
    text(b, "f"), le(b, 6, 4), le(b, 0x3fc00000, 4);
    text(b, "b"), le(b, 7, 4), le(b, 1, 1);
    text(b, "s"), le(b, 8, 4), text(b, "abc");
    text(b, "a"), le(b, 9, 4), le(b, 2, 4), le(b, 2, 8), le(b, 1, 2), le(b, 2, 2);
    text(b, "t"), le(b, 9, 4), le(b, 8, 4), le(b, 2, 8), text(b, "x"), text(b, "");
    text(b, "m"), le(b, 2, 4), le(b, 3, 8), le(b, 1, 8), le(b, 0, 4), le(b, 0, 8);
    text(b, "q"), le(b, 1, 4), le(b, 32, 8), le(b, 8, 4), le(b, 32, 8);
    while (b->n % 32) buffer_byte(b, 0);
    for (int i = 0; i < 12; i++) buffer_byte(b, (char)(i + 1));
    for (int i = 0; i < 20; i++) buffer_byte(b, 0);
    for (int i = 12; i < 46; i++) buffer_byte(b, (char)(i + 1));
    while (b->n % 32) buffer_byte(b, 0);
}

static void writes_by_definition(void **state) {
    (void)state;
    uint8_t data[46];
    for (int i = 0; i < 46; i++) data[i] = (uint8_t)(i + 1);
    buffer expected = {0};
    lay_out_everything(&expected);
    for (size_t piece = 1; piece <= 46; piece += 5) {
        gguf_writer *w;
        facet_error error = {0};
        buffer out = {0};
        assert_ok(gguf_writer_new(&w, 0, &error), &error);
        add_everything(w);
        assert_ok(gguf_writer_begin(w, to_buffer, &out, &error), &error);
        for (size_t at = 0; at < 46; at += piece) {
            assert_int_equal(gguf_writer_end(w, &error), FACET_ERROR_STATE);
            assert_ok(gguf_writer_data(w, data + at, 46 - at < piece ? 46 - at : piece, &error), &error);
        }
        assert_ok(gguf_writer_end(w, &error), &error);
        assert_int_equal(gguf_writer_data(w, data, 1, &error), FACET_ERROR_STATE);
        assert_int_equal(out.n, expected.n);
        assert_memory_equal(out.data, expected.data, expected.n);
        gguf_writer_free(w);
        buffer_free(&out);
    }
    buffer_free(&expected);
}

/* ---- copies of real files */

static void copy_file(const gguf_file *from, uint32_t alignment, buffer *out) {
    gguf_writer *w;
    facet_error error = {0};
    assert_ok(gguf_writer_new(&w, alignment, &error), &error);
    for (size_t i = 0; i < gguf_n_kv(from); i++) gguf_add_copy(w, gguf_kv_at(from, i));
    for (size_t i = 0; i < gguf_n_tensors(from); i++) {
        const gguf_tensor *t = gguf_tensor_at(from, i);
        gguf_add_tensor(w, t->name, t->type_id, t->n_dims, t->ne, t->n_bytes);
    }
    assert_ok(gguf_writer_begin(w, to_buffer, out, &error), &error);
    for (size_t i = 0; i < gguf_n_tensors(from); i++) {
        const gguf_tensor *t = gguf_tensor_at(from, i);
        assert_ok(gguf_writer_data(w, t->data, (size_t)t->n_bytes, &error), &error);
    }
    assert_ok(gguf_writer_end(w, &error), &error);
    gguf_writer_free(w);
}

static void compare_tensors(const gguf_file *a, const gguf_file *b, uint32_t alignment) {
    assert_int_equal(gguf_n_tensors(a), gguf_n_tensors(b));
    for (size_t i = 0; i < gguf_n_tensors(a); i++) {
        const gguf_tensor *x = gguf_tensor_at(a, i), *y = gguf_tensor_at(b, i);
        assert_int_equal(x->name.n, y->name.n);
        assert_memory_equal(x->name.data, y->name.data, x->name.n);
        assert_int_equal(x->type_id, y->type_id);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
        assert_int_equal(y->offset % alignment, 0);
    }
}

static void compare_keys(const gguf_file *a, const gguf_file *b, size_t first_of_b) {
    assert_int_equal(gguf_n_kv(a) + first_of_b, gguf_n_kv(b));
    for (size_t i = 0; i < gguf_n_kv(a); i++) {
        const gguf_kv *x = gguf_kv_at(a, i), *y = gguf_kv_at(b, i + first_of_b);
        assert_int_equal(x->key.n, y->key.n);
        assert_memory_equal(x->key.data, y->key.data, x->key.n);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->element, y->element);
        assert_int_equal(x->n, y->n);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
}

static void real_files_come_back(void **state) {
    (void)state;
    static const char *const names[] = {"models/dense-keqv.gguf", "models/moe-keqv.gguf",
                                        "models/ple-gqa.gguf",    "models/ple-shared.gguf",
                                        "tiny/tiny-q4_k_m.gguf",  "tiny/tiny-f32.golden.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (uint32_t alignment = 32; alignment <= 128; alignment *= 4) {
            golden g = golden_open(names[i]);
            buffer out = {0};
            copy_file(g.file, alignment, &out);
            gguf_file *again;
            facet_error error = {0};
            gguf_part part = {(uint8_t *)out.data, out.n};
            assert_ok(gguf_open(&again, &part, 1, NULL, &error), &error);
            compare_keys(g.file, again, alignment != 32);
            compare_tensors(g.file, again, alignment);
            /* the gguf package wrote these files in just this way */
            if (alignment == 32) {
                assert_int_equal(out.n, g.n_bytes);
                assert_memory_equal(out.data, g.bytes, out.n);
            }
            gguf_free(again);
            buffer_free(&out);
            golden_close(&g);
        }
    }
}

/* ---- wrong use */

static void expect_refusal(gguf_writer *w, facet_status status, const char *message) {
    facet_error error = {0};
    buffer out = {0};
    assert_int_equal(gguf_writer_begin(w, to_buffer, &out, &error), status);
    assert_int_equal(error.status, status);
    if (!strstr(error.message, message)) fail_msg("'%s' lacks '%s'", error.message, message);
    assert_int_equal(out.n, 0);
    gguf_writer_free(w);
}

static gguf_writer *fresh(void) {
    gguf_writer *w;
    facet_error error = {0};
    assert_ok(gguf_writer_new(&w, 0, &error), &error);
    return w;
}

static void wrong_use_is_told(void **state) {
    (void)state;
    gguf_writer *w = fresh();
    gguf_add_u32(w, "k", 1);
    gguf_add_u32(w, "k", 2);
    expect_refusal(w, FACET_ERROR_ARGUMENT, "key 'k' was added twice");
    w = fresh();
    gguf_add_tensor(w, string_of("t"), 0, 1, (uint64_t[]){4}, 16);
    gguf_add_tensor(w, string_of("t"), 0, 1, (uint64_t[]){4}, 16);
    expect_refusal(w, FACET_ERROR_ARGUMENT, "tensor 't' was added twice");
    w = fresh();
    gguf_add_tensor(w, string_of("t"), 0, 1, (uint64_t[]){4}, 17);
    expect_refusal(w, FACET_ERROR_ARGUMENT, "tensor 't'");
    w = fresh();
    gguf_add_tensor(w, string_of("t"), 8, 1, (uint64_t[]){33}, 34);
    expect_refusal(w, FACET_ERROR_ARGUMENT, "tensor 't'");
    w = fresh();
    gguf_add_strings(w, "s", 2);
    gguf_add_item(w, "x", 1);
    expect_refusal(w, FACET_ERROR_STATE, "1 strings");
    w = fresh();
    gguf_add_item(w, "x", 1);
    expect_refusal(w, FACET_ERROR_STATE, "beyond the end");
    w = fresh();
    gguf_add_array(w, "s", GGUF_STRING, "", 1);
    expect_refusal(w, FACET_ERROR_ARGUMENT, "array 's'");
    facet_error error = {0};
    assert_int_equal(gguf_writer_new(&w, 48, &error), FACET_ERROR_ARGUMENT);
    assert_null(w);
    gguf_writer_free(NULL);
}

static facet_status refuse(void *ctx, const void *data, size_t n, facet_error *error) {
    (void)data;
    size_t *left = ctx;
    if (n > *left) return error_set(error, FACET_ERROR_IO, "full");
    *left -= n;
    return FACET_OK;
}

static facet_status write_everything(size_t room, facet_error *error) {
    static const uint8_t data[46];
    gguf_writer *w = fresh();
    add_everything(w);
    facet_status status = gguf_writer_begin(w, refuse, &room, error);
    if (status == FACET_OK) status = gguf_writer_data(w, data, sizeof data, error);
    gguf_writer_free(w);
    return status;
}

/* A device that is full after any number of bytes: the failure comes out, whatever was being written. */
static void failing_output_comes_out(void **state) {
    (void)state;
    facet_error error = {0};
    buffer whole = {0};
    lay_out_everything(&whole);
    for (size_t room = 0; room < whole.n; room++) {
        assert_int_equal(write_everything(room, &error), FACET_ERROR_IO);
        assert_string_equal(error.message, "full");
    }
    assert_ok(write_everything(whole.n, &error), &error);
    buffer_free(&whole);
}

/* ---- facet_tools.h */

static void expect_line(const facet_gguf *g, const char *key, const char *type, const char *value) {
    size_t i;
    char line[64];
    assert_true(facet_gguf_find_key(g, key, &i));
    facet_gguf_value_type(g, i, line);
    assert_string_equal(line, type);
    assert_int_equal(facet_gguf_value_text(g, i, line, 40), strlen(value));
    assert_string_equal(line, value);
}

static void vocabulary_through_the_door(void **state) {
    (void)state;
    char path[] = "/tmp/facet-writer-XXXXXX";
    close(mkstemp(path));
    facet_gguf_writer *w;
    facet_error error = {0};
    assert_ok(facet_gguf_writer_new(&w, &error), &error);
    facet_gguf_add_string(w, "text", "a\nb\x01\xff\xe2\x96\x81", 8);
    facet_gguf_add_string(w, "long", "0123456789012345678901234567890123456789", 40);
    facet_gguf_add_u32(w, "u", 4294967295u);
    facet_gguf_add_f32(w, "f", 0.1f);
    facet_gguf_add_bool(w, "b", false);
    facet_gguf_add_i32_array(w, "ids", (int32_t[]){-1, 2}, 2);
    facet_gguf_add_f32_array(w, "none", NULL, 0);
    facet_gguf_add_strings(w, "tokens", 2);
    facet_gguf_add_item(w, "<pad>", 5);
    facet_gguf_add_item(w, "", 0);
    assert_ok(facet_gguf_writer_finish(w, path, &error), &error);

    facet_gguf *g;
    assert_ok(facet_gguf_open(&g, path, false, &error), &error);
    assert_int_equal(facet_gguf_n_keys(g), 8);
    assert_int_equal(facet_gguf_n_tensors(g), 0);
    assert_int_equal(facet_gguf_version(g), 3);
    expect_line(g, "text", "string", "a\\nb\\u0001\xef\xbf\xbd\xe2\x96\x81");
    expect_line(g, "long", "string", "012345678901234567890123456789012345...");
    expect_line(g, "u", "u32", "4294967295");
    expect_line(g, "f", "f32", "0.100000001");
    expect_line(g, "b", "bool", "false");
    expect_line(g, "ids", "i32[2]", "[-1, 2]");
    expect_line(g, "none", "f32[0]", "[]");
    expect_line(g, "tokens", "string[2]", "[\"<pad>\", \"\"]");
    facet_gguf_free(g);
    remove(path);
}

typedef struct floats {
    float *x;
    size_t n, limit;
} floats;

static bool collect(void *ctx, const float *x, size_t n) {
    floats *f = ctx;
    if (f->n + n > f->limit) return false;
    memcpy(f->x + f->n, x, n * sizeof *x);
    f->n += n;
    return true;
}

static floats read_tensor(const facet_gguf *g, size_t i) {
    facet_gguf_tensor t = {.size = sizeof t};
    facet_error error = {0};
    assert_int_equal(facet_gguf_get_tensor(g, i, &t), FACET_OK);
    assert_true(t.readable);
    floats out = {.x = malloc(t.n_weights * sizeof(float)), .limit = t.n_weights};
    assert_ok(facet_gguf_read_floats(g, i, collect, &out, &error), &error);
    assert_int_equal(out.n, t.n_weights);
    return out;
}

/* Each tensor X of the golden file lies beside its own values as floats, X.f32. */
static void tensors_come_out_as_floats(void **state) {
    (void)state;
    facet_gguf *g;
    facet_error error = {0};
    size_t n_compared = 0, twin;
    assert_ok(facet_gguf_open(&g, FACET_TEST_DATA "/golden/quants.golden.gguf", false, &error), &error);
    for (size_t i = 0; i < facet_gguf_n_tensors(g); i++) {
        facet_gguf_tensor t = {.size = sizeof t};
        char name[96];
        assert_int_equal(facet_gguf_get_tensor(g, i, &t), FACET_OK);
        snprintf(name, sizeof name, "%.*s.f32", (int)t.name_bytes, t.name);
        if (!facet_gguf_find_tensor(g, name, &twin)) continue;
        floats ours = read_tensor(g, i), golden_floats = read_tensor(g, twin);
        assert_int_equal(ours.n, golden_floats.n);
        assert_memory_equal(ours.x, golden_floats.x, ours.n * sizeof(float));
        free(ours.x);
        free(golden_floats.x);
        n_compared++;
    }
    assert_int_equal(n_compared, QUANT_N_TYPES - 1); /* all but F32 */
    facet_gguf_free(g);
}

static void pieces_follow_each_other(void **state) {
    (void)state;
    golden g = golden_open("tiny/tiny-f32.golden.gguf");
    facet_gguf *view;
    facet_error error = {0};
    assert_ok(facet_gguf_open_memory(&view, g.bytes, g.n_bytes, false, &error), &error);
    for (size_t i = 0; i < facet_gguf_n_tensors(view); i++) {
        const gguf_tensor *t = gguf_tensor_at(g.file, i);
        floats out = read_tensor(view, i);
        if (t->format) assert_memory_equal(out.x, t->data, t->n_bytes);
        for (size_t k = 0; !t->format && k < out.n; k++)
            assert_true(out.x[k] == (float)((const int32_t *)t->data)[k]);
        out.n = 1;
        assert_int_equal(facet_gguf_read_floats(view, i, collect, &out, &error), FACET_ERROR_CANCELLED);
        free(out.x);
    }
    facet_gguf_free(view);
    golden_close(&g);
}

static void header_of_a_partial_file(void **state) {
    (void)state;
    size_t n;
    char *data = test_read("models/ple-gqa.gguf", &n);
    facet_gguf *g;
    facet_error error = {0};
    assert_int_equal(facet_gguf_open_memory(&g, data, n / 2, false, &error), FACET_ERROR_TRUNCATED);
    assert_null(g);
    assert_ok(facet_gguf_open_memory(&g, data, n / 2, true, &error), &error);
    size_t last = facet_gguf_n_tensors(g) - 1;
    facet_gguf_tensor t = {.size = sizeof t};
    assert_int_equal(facet_gguf_get_tensor(g, last, &t), FACET_OK);
    assert_false(t.readable);
    assert_int_equal(facet_gguf_read_floats(g, last, collect, NULL, &error), FACET_ERROR_TRUNCATED);
    assert_int_equal(facet_gguf_get_tensor(g, last + 1, &t), FACET_ERROR_ARGUMENT);
    facet_gguf_free(g);
    free(data);
    assert_int_equal(facet_gguf_open(&g, "/nowhere.gguf", true, &error), FACET_ERROR_IO);
    assert_string_equal(error.message, "cannot open '/nowhere.gguf': No such file or directory");
    facet_gguf_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_by_definition),        cmocka_unit_test(real_files_come_back),
        cmocka_unit_test(wrong_use_is_told),           cmocka_unit_test(failing_output_comes_out),
        cmocka_unit_test(vocabulary_through_the_door), cmocka_unit_test(tensors_come_out_as_floats),
        cmocka_unit_test(pieces_follow_each_other),    cmocka_unit_test(header_of_a_partial_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
