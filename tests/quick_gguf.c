/* The GGUF reader on files laid out byte by byte as the format's description says, and on the project's files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/* An image under construction. */
typedef struct image {
    uint8_t bytes[4096];
    size_t n;
} image;

static void le(image *m, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) m->bytes[m->n++] = (uint8_t)(v >> (8 * i));
}
static void text_n(image *m, const char *text, size_t n) {
    le(m, n, 8);
    memcpy(m->bytes + m->n, text, n);
    m->n += n;
}
static void text(image *m, const char *t) { text_n(m, t, strlen(t)); }
static void head(image *m, uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
    m->n = 0;
    memcpy(m->bytes, "GGUF", 4);
    m->n = 4;
    le(m, version, 4);
    le(m, n_tensors, 8);
    le(m, n_kv, 8);
}
static void key(image *m, const char *name, uint32_t type) {
    text(m, name);
    le(m, type, 4);
}
static void key_number(image *m, const char *name, uint32_t type, uint64_t value, size_t n) {
    key(m, name, type);
    le(m, value, n);
}
static void tensor(image *m, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset) {
    text(m, name);
    le(m, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) le(m, ne[i], 8);
    le(m, type, 4);
    le(m, offset, 8);
}
static void pad(image *m, size_t alignment) {
    while (m->n % alignment) m->bytes[m->n++] = 0;
}

static facet_status open_image(gguf_file **out, const image *m, bool header_only, facet_error *error) {
    /* a copy of just the size, so that a sanitizer sees a read past the end */
    static uint8_t *copy;
    free(copy);
    copy = malloc(m->n ? m->n : 1);
    memcpy(copy, m->bytes, m->n);
    memset(error, 0, sizeof *error);
    facet_status status = gguf_open(out, &(gguf_part){copy, m->n}, 1, &(gguf_options){header_only}, error);
    if (status != FACET_OK) {
        assert_null(*out);
        assert_int_equal(error->status, status);
        assert_true(error->message[0]);
        free(copy);
        copy = NULL;
    }
    return status;
}

static void close_image(gguf_file *file) {
    image nothing = {.n = 0};
    facet_error error;
    gguf_free(file);
    open_image(&file, &nothing, false, &error); /* lets go of the copy */
}

static void expect(const image *m, facet_status status, const char *part_of_message) {
    gguf_file *file;
    facet_error error;
    assert_int_equal(open_image(&file, m, false, &error), status);
    if (!strstr(error.message, part_of_message)) fail_msg("'%s' lacks '%s'", error.message, part_of_message);
    if (strchr(error.message, '\n')) fail_msg("more than one line: '%s'", error.message);
}

/* Every type of value once, two tensors. */
static void whole(image *m, uint32_t version, uint32_t alignment) {
    head(m, version, 2, 15);
    key_number(m, "u8", 0, 250, 1);
    key_number(m, "i8", 1, (uint64_t)-5, 1);
    key_number(m, "u16", 2, 65000, 2);
    key_number(m, "i16", 3, (uint64_t)-300, 2);
    key_number(m, "u32", 4, 4000000000u, 4);
    key_number(m, "i32", 5, (uint64_t)-70000, 4);
    key_number(m, "f32", 6, 0x3fc00000, 4); /* 1.5 */
    key_number(m, "bool", 7, 1, 1);
    key(m, "string", 8);
    text_n(m, "a\0b", 3);
    key_number(m, "u64", 10, 1ull << 40, 8);
    key_number(m, "i64", 11, (uint64_t)-9, 8);
    key_number(m, "f64", 12, 0xc004000000000000u, 8); /* -2.5 */
    key_number(m, "general.alignment", 4, alignment, 4);
    key(m, "numbers", 9);
    le(m, 3, 4);
    le(m, 2, 8);
    le(m, (uint64_t)-1, 2);
    le(m, 7, 2);
    key(m, "strings", 9);
    le(m, 8, 4);
    le(m, 3, 8);
    text(m, "one");
    text(m, "");
    text(m, "three");
    tensor(m, "f", 2, (uint64_t[]){3, 2}, 0, 0);
    size_t second = (24 + alignment - 1) / alignment * alignment;
    tensor(m, "q", 1, (uint64_t[]){64}, 8, second);
    pad(m, alignment);
    size_t start = m->n;
    for (size_t i = 0; i < second + 68; i++) m->bytes[start + i] = (uint8_t)(i * 3);
    m->n = start + second + 68;
}

static void check_values(const gguf_file *file) {
    facet_error error = {0};
    uint32_t u = 0;
    int32_t i = 0;
    float f = 0;
    bool b = false;
    gguf_string s;
    static const struct {
        const char *key;
        uint32_t value;
    } unsigneds[] = {{"u8", 250}, {"u16", 65000}, {"u32", 4000000000u}};
    for (size_t k = 0; k < 3; k++) {
        assert_ok(gguf_get_u32(file, unsigneds[k].key, &u, &error), &error);
        assert_int_equal(u, unsigneds[k].value);
    }
    static const struct {
        const char *key;
        int32_t value;
    } signeds[] = {{"i8", -5}, {"i16", -300}, {"i32", -70000}, {"i64", -9}, {"u8", 250}, {"bool", 1}};
    for (size_t k = 0; k < 6; k++) {
        assert_true(gguf_element_i32(gguf_find(file, signeds[k].key), 0, &i));
        assert_int_equal(i, signeds[k].value);
    }
    assert_ok(gguf_get_f32(file, "f32", &f, &error), &error);
    assert_true(f == 1.5f);
    assert_ok(gguf_get_f32(file, "f64", &f, &error), &error);
    assert_true(f == -2.5f);
    assert_ok(gguf_get_bool(file, "bool", &b, &error), &error);
    assert_true(b);
    assert_ok(gguf_get_string(file, "string", &s, &error), &error);
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.data, "a\0b", 3);
}

static void check_refused_reads(const gguf_file *file) {
    facet_error error = {0};
    uint32_t u = 99;
    int32_t i = 99;
    float f = 99;
    bool b = true;
    gguf_string s = {"x", 99};
    static const char *const not_u32[] = {"i8", "i32", "i64", "u64", "f32", "bool", "string", "numbers"};
    for (size_t k = 0; k < sizeof not_u32 / sizeof *not_u32; k++) {
        assert_int_equal(gguf_get_u32(file, not_u32[k], &u, &error), FACET_ERROR_FORMAT);
        assert_non_null(strstr(error.message, not_u32[k]));
    }
    assert_false(gguf_element_i32(gguf_find(file, "u32"), 0, &i));
    assert_false(gguf_element_i32(gguf_find(file, "u64"), 0, &i));
    assert_false(gguf_element_i32(gguf_find(file, "numbers"), 2, &i));
    assert_false(gguf_element_f32(gguf_find(file, "u32"), 0, &f));
    assert_int_equal(gguf_get_f32(file, "u32", &f, &error), FACET_ERROR_FORMAT);
    assert_int_equal(gguf_get_bool(file, "u8", &b, &error), FACET_ERROR_FORMAT);
    assert_int_equal(gguf_get_string(file, "strings", &s, &error), FACET_ERROR_FORMAT);
    assert_int_equal(gguf_get_string(file, "absent", &s, &error), FACET_ERROR_FORMAT);
    assert_string_equal(error.message, "key missing: 'absent'");
    assert_true(u == 99 && i == 99 && f == 99 && b && s.n == 99); /* untouched */
}

static void check_arrays(const gguf_file *file) {
    int32_t i;
    assert_true(gguf_element_i32(gguf_find(file, "numbers"), 0, &i) && i == -1);
    assert_true(gguf_element_i32(gguf_find(file, "numbers"), 1, &i) && i == 7);
    gguf_string s;
    gguf_string_iterator it = gguf_strings(gguf_find(file, "strings"));
    const char *const expected[] = {"one", "", "three"};
    for (int k = 0; k < 3; k++) {
        assert_true(gguf_next_string(&it, &s));
        assert_int_equal(s.n, strlen(expected[k]));
        assert_memory_equal(s.data, expected[k], s.n);
    }
    assert_false(gguf_next_string(&it, &s));
    it = gguf_strings(gguf_find(file, "numbers"));
    assert_false(gguf_next_string(&it, &s));
}

static void check_tensors(const gguf_file *file, const image *m, uint32_t alignment) {
    const gguf_tensor *f = gguf_tensor_find(file, "f"), *q = gguf_tensor_find(file, "q");
    assert_non_null(f);
    assert_non_null(q);
    assert_null(gguf_tensor_find(file, "absent"));
    assert_ptr_equal(gguf_tensor_at(file, 1), q);
    assert_int_equal(f->n_dims, 2);
    assert_int_equal(f->ne[0], 3);
    assert_int_equal(f->ne[1], 2);
    assert_int_equal(f->ne[2], 1);
    assert_int_equal(f->n_bytes, 24);
    assert_string_equal(f->format->name, "F32");
    assert_int_equal(q->n_bytes, 68);
    assert_int_equal(q->type_id, 8);
    assert_int_equal(f->offset % alignment, 0);
    assert_int_equal(q->offset + 68, m->n);
    assert_memory_equal(f->data, m->bytes + f->offset, 24);
    assert_memory_equal(q->data, m->bytes + q->offset, 68);
}

static void reads_by_definition(void **state) {
    (void)state;
    static const uint32_t alignments[] = {1, 8, 32, 64, 256};
    for (size_t k = 0; k < 10; k++) {
        image m;
        gguf_file *file;
        facet_error error;
        uint32_t version = k < 5 ? 2 : 3, alignment = alignments[k % 5];
        whole(&m, version, alignment);
        assert_ok(open_image(&file, &m, false, &error), &error);
        assert_int_equal(gguf_version(file), version);
        assert_int_equal(gguf_n_kv(file), 15);
        assert_int_equal(gguf_n_tensors(file), 2);
        check_values(file);
        check_refused_reads(file);
        check_arrays(file);
        check_tensors(file, &m, alignment);
        close_image(file);
    }
}

/* Every length short of the whole is told as such, with a position inside the file. */
static void every_truncation(void **state) {
    (void)state;
    image m;
    whole(&m, 3, 32);
    for (size_t n = 0; n < m.n; n++) {
        image cut = m;
        cut.n = n;
        gguf_file *file;
        facet_error error;
        assert_int_equal(open_image(&file, &cut, false, &error), FACET_ERROR_TRUNCATED);
        assert_true(error.position <= m.n);
    }
}

static void header_alone(void **state) {
    (void)state;
    image m;
    gguf_file *file;
    facet_error error;
    whole(&m, 3, 32);
    size_t data_start = m.n - 32 - 68;
    m.n = data_start + 40; /* the first tensor is here, the second in part */
    assert_ok(open_image(&file, &m, true, &error), &error);
    assert_non_null(gguf_tensor_find(file, "f")->data);
    assert_null(gguf_tensor_find(file, "q")->data);
    assert_int_equal(gguf_tensor_find(file, "q")->n_bytes, 68);
    check_values(file);
    close_image(file);
    m.n = data_start - 60; /* inside the directory */
    assert_int_equal(open_image(&file, &m, true, &error), FACET_ERROR_TRUNCATED);
}

static void every_bit_flip_is_survived(void **state) {
    (void)state;
    image m;
    whole(&m, 3, 32);
    for (size_t bit = 0; bit < (m.n - 100) * 8; bit++) {
        gguf_file *file;
        facet_error error;
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (open_image(&file, &m, false, &error) == FACET_OK) close_image(file);
        m.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void bad_headers(void **state) {
    (void)state;
    image m;
    head(&m, 3, 0, 0);
    m.bytes[0] = 'g';
    expect(&m, FACET_ERROR_FORMAT, "not a GGUF file");
    head(&m, 1, 0, 0);
    expect(&m, FACET_ERROR_UNSUPPORTED, "version 1");
    head(&m, 4, 0, 0);
    expect(&m, FACET_ERROR_UNSUPPORTED, "version 4");
    head(&m, 0x03000000, 0, 0);
    expect(&m, FACET_ERROR_UNSUPPORTED, "big-endian");
    static const uint64_t counts[] = {1, 1000, 1ull << 32, 1ull << 63, UINT64_MAX};
    for (size_t i = 0; i < 5; i++) {
        head(&m, 3, counts[i], 0);
        expect(&m, FACET_ERROR_TRUNCATED, "tensors");
        head(&m, 3, 0, counts[i]);
        expect(&m, FACET_ERROR_TRUNCATED, "keys");
    }
}

static void too_many_to_be_true(void **state) {
    (void)state;
    gguf_file *file;
    facet_error error;
    uint8_t *data = calloc(1, 8 << 20);
    memcpy(data, "GGUF\3", 5);
    for (int which = 0; which < 2; which++) {
        memset(data + 8, 0, 16);
        data[8 + 8 * which + 2] = 5; /* 327680, which the bytes could hold */
        assert_int_equal(gguf_open(&file, &(gguf_part){data, 8 << 20}, 1, NULL, &error), FACET_ERROR_UNSUPPORTED);
        assert_non_null(strstr(error.message, which ? "327680 keys" : "327680 tensors"));
    }
    free(data);
}

static void bad_keys(void **state) {
    (void)state;
    image m;
    head(&m, 3, 0, 1);
    key_number(&m, "k", 13, 0, 8);
    expect(&m, FACET_ERROR_FORMAT, "key 'k' has the unknown type 13");
    head(&m, 3, 0, 1);
    key(&m, "k", 9);
    le(&m, 9, 4);
    le(&m, 1, 8);
    expect(&m, FACET_ERROR_UNSUPPORTED, "key 'k' is an array of arrays");
    head(&m, 3, 0, 1);
    key(&m, "k", 9);
    le(&m, 77, 4);
    le(&m, 1, 8);
    expect(&m, FACET_ERROR_FORMAT, "unknown type 77");
    head(&m, 3, 0, 2);
    key_number(&m, "same", 4, 0, 4);
    key_number(&m, "same", 4, 0, 4);
    expect(&m, FACET_ERROR_FORMAT, "key 'same' is there twice");
    head(&m, 3, 0, 1);
    le(&m, 1u << 20, 8);
    le(&m, 0, 8);
    expect(&m, FACET_ERROR_FORMAT, "name of key 0");
    head(&m, 3, 0, 1);
    key(&m, "a\nb\x1b[2J\xff", 99);
    expect(&m, FACET_ERROR_FORMAT, "key 'a?b?[2J?'");
}

static void lying_lengths(void **state) {
    (void)state;
    static const uint64_t lies[] = {100,       1ull << 32,     1ull << 61, (1ull << 62) + 1,
                                    INT64_MAX, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        for (uint32_t type = 0; type <= 12; type++) {
            if (type == 9) continue;
            image m;
            head(&m, 3, 0, 1);
            key(&m, "k", 9);
            le(&m, type, 4);
            le(&m, lies[i], 8);
            le(&m, 0, 8);
            le(&m, 0, 8);
            expect(&m, FACET_ERROR_TRUNCATED, "key 'k'");
        }
        image m;
        head(&m, 3, 0, 1);
        key_number(&m, "k", 8, lies[i], 8);
        expect(&m, FACET_ERROR_TRUNCATED, "key 'k'");
    }
}

static void bad_alignments(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 3, 33, 48, UINT32_MAX};
    image m;
    for (size_t i = 0; i < 5; i++) {
        head(&m, 3, 0, 1);
        key_number(&m, "general.alignment", 4, bad[i], 4);
        expect(&m, FACET_ERROR_FORMAT, "general.alignment");
    }
    head(&m, 3, 0, 1);
    key_number(&m, "general.alignment", 6, 0x42000000, 4); /* 32, as a float */
    expect(&m, FACET_ERROR_FORMAT, "general.alignment");
}

typedef struct bad_tensor {
    uint32_t n_dims;
    uint64_t ne[5];
    uint32_t type;
    uint64_t offset;
    facet_status status;
    const char *message;
} bad_tensor;

static void bad_tensors(void **state) {
    (void)state;
    static const bad_tensor cases[] = {
        {5, {1, 1, 1, 1, 1}, 0, 0, FACET_ERROR_FORMAT, "tensor 't' has 5 dimensions"},
        {UINT32_MAX, {1}, 0, 0, FACET_ERROR_FORMAT, "tensor 't' has 4294967295 dimensions"},
        {2, {4, 0}, 0, 0, FACET_ERROR_FORMAT, "tensor 't': dimension 1 is 0"},
        {1, {UINT64_MAX}, 0, 0, FACET_ERROR_FORMAT, "dimension 0"},
        {2, {1ull << 32, 1ull << 32}, 0, 0, FACET_ERROR_FORMAT, "dimension 1"},
        {4, {1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, 0, 0, FACET_ERROR_FORMAT, "dimension 3"},
        {3, {1ull << 31, 1ull << 31, 2}, 28, 0, FACET_ERROR_FORMAT, "dimension 2"},
        {2, {1ull << 31, 1ull << 31}, 0, 0, FACET_ERROR_FORMAT, "size in bytes"},
        {1,
         {40},
         8,
         0,
         FACET_ERROR_FORMAT,
         "tensor 't': rows of 40 weights are no multiple of 32, the block of Q8_0"},
        {1, {255}, 12, 0, FACET_ERROR_FORMAT, "no multiple of 256, the block of Q4_K"},
        {1, {4}, 0, 16, FACET_ERROR_FORMAT, "tensor 't': its offset 16 is no multiple of the alignment 32"},
        {1, {4}, 0, UINT64_MAX - 31, FACET_ERROR_FORMAT, "out of range"},
        {1, {4}, 0, 1ull << 62, FACET_ERROR_TRUNCATED, "tensor 't' needs bytes"},
        {1, {4}, 0, 64, FACET_ERROR_TRUNCATED, "tensor 't' needs bytes"},
        {1, {100}, 0, 0, FACET_ERROR_TRUNCATED, "tensor 't' needs bytes"},
        {2, {4, 1ull << 20}, 0, 0, FACET_ERROR_TRUNCATED, "tensor 't' needs bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image m;
        head(&m, 3, 1, 0);
        uint32_t n_dims = cases[i].n_dims < 5 ? cases[i].n_dims : 5;
        tensor(&m, "t", n_dims, cases[i].ne, cases[i].type, cases[i].offset);
        memcpy(m.bytes + 24 + 8 + 1, &cases[i].n_dims, 4);
        pad(&m, 32);
        m.n += 64;
        expect(&m, cases[i].status, cases[i].message);
    }
}

static void twins_and_overlaps(void **state) {
    (void)state;
    image m;
    head(&m, 3, 2, 0);
    tensor(&m, "t", 1, (uint64_t[]){4}, 0, 0);
    tensor(&m, "t", 1, (uint64_t[]){4}, 0, 32);
    pad(&m, 32);
    m.n += 64;
    expect(&m, FACET_ERROR_FORMAT, "tensor 't' is there twice");
    for (int order = 0; order < 2; order++) {
        head(&m, 3, 2, 0);
        tensor(&m, "a", 1, (uint64_t[]){order ? 16 : 4}, 0, order ? 0 : 32);
        tensor(&m, "b", 1, (uint64_t[]){order ? 4 : 16}, 0, order ? 32 : 0);
        pad(&m, 32);
        m.n += 64;
        expect(&m, FACET_ERROR_FORMAT, "overlap");
    }
    head(&m, 3, 2, 0); /* the reverse order is fine */
    tensor(&m, "a", 1, (uint64_t[]){4}, 0, 32);
    tensor(&m, "b", 1, (uint64_t[]){8}, 0, 0);
    pad(&m, 32);
    m.n += 64;
    gguf_file *file;
    facet_error error;
    assert_ok(open_image(&file, &m, false, &error), &error);
    close_image(file);
}

static void unknown_type_opens(void **state) {
    (void)state;
    image m;
    head(&m, 3, 3, 0);
    tensor(&m, "strange", 1, (uint64_t[]){4}, 4000, 0);
    tensor(&m, "plain", 1, (uint64_t[]){4}, 0, 32);
    tensor(&m, "ids", 1, (uint64_t[]){3}, GGUF_TENSOR_I32, 64);
    pad(&m, 32);
    m.n += 96;
    gguf_file *file;
    facet_error error;
    assert_ok(open_image(&file, &m, false, &error), &error);
    const gguf_tensor *t = gguf_tensor_find(file, "strange");
    assert_null(t->format);
    assert_int_equal(t->type_id, 4000);
    assert_int_equal(t->n_bytes, 0);
    assert_int_equal(gguf_tensor_find(file, "plain")->n_bytes, 16);
    assert_int_equal(gguf_tensor_find(file, "ids")->n_bytes, 12);
    close_image(file);
}

/* Many names, all found, none twice: the table behind them grows several times. */
static void many_names(void **state) {
    (void)state;
    enum { N = 20000 };
    uint8_t *data = malloc(24 + N * 32);
    image one;
    size_t n = 24;
    head(&one, 3, 0, N);
    memcpy(data, one.bytes, 24);
    for (uint32_t i = 0; i < N; i++) {
        char name[16];
        one.n = 0;
        snprintf(name, sizeof name, "key%u", i);
        key_number(&one, name, 4, i, 4);
        memcpy(data + n, one.bytes, one.n);
        n += one.n;
    }
    gguf_file *file;
    facet_error error;
    assert_ok(gguf_open(&file, &(gguf_part){data, n}, 1, NULL, &error), &error);
    for (uint32_t i = 0; i < N; i++) {
        char name[16];
        uint32_t value = 0;
        snprintf(name, sizeof name, "key%u", i);
        assert_ok(gguf_get_u32(file, name, &value, &error), &error);
        assert_int_equal(value, i);
    }
    assert_null(gguf_find(file, "key20000"));
    gguf_free(file);
    free(data);
}

/* ---- split files */

static void split_part(image *m, uint32_t number, uint32_t count, uint32_t total, const char *name) {
    head(m, 3, 1, 3);
    key_number(m, "split.no", 2, number, 2);
    key_number(m, "split.count", 2, count, 2);
    key_number(m, "split.tensors.count", 5, total, 4);
    tensor(m, name, 1, (uint64_t[]){4}, 0, 0);
    pad(m, 32);
    memset(m->bytes + m->n, name[0], 16);
    m->n += 16;
}

static facet_status open_split(const image *parts, size_t n, gguf_file **out, facet_error *error) {
    gguf_part images[3];
    for (size_t i = 0; i < n; i++) images[i] = (gguf_part){parts[i].bytes, parts[i].n};
    return gguf_open(out, images, n, NULL, error);
}

static void split_files(void **state) {
    (void)state;
    static image parts[3];
    gguf_file *file;
    facet_error error = {0};
    for (uint32_t i = 0; i < 3; i++) split_part(&parts[i], i, 3, 3, (const char *[]){"a", "b", "c"}[i]);
    assert_ok(open_split(parts, 3, &file, &error), &error);
    assert_int_equal(gguf_n_tensors(file), 3);
    assert_int_equal(gguf_n_kv(file), 3);
    for (uint32_t i = 0; i < 3; i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        assert_int_equal(t->part, i);
        assert_int_equal(t->data[0], 'a' + i);
    }
    gguf_free(file);
    assert_int_equal(open_split(parts, 2, &file, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "'split.count' says 3 parts, 2 are here"));
    assert_int_equal(open_split(parts, 1, &file, &error), FACET_ERROR_FORMAT);
    split_part(&parts[1], 2, 3, 3, "b");
    assert_int_equal(open_split(parts, 3, &file, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "part 2 of 3: key 'split.no'"));
    split_part(&parts[1], 1, 3, 3, "a");
    assert_int_equal(open_split(parts, 3, &file, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "tensor 'a' is there twice"));
    split_part(&parts[1], 1, 3, 3, "b");
    split_part(&parts[0], 0, 3, 4, "a");
    assert_int_equal(open_split(parts, 3, &file, &error), FACET_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "split.tensors.count"));
    assert_int_equal(gguf_open(&file, NULL, 0, NULL, &error), FACET_ERROR_ARGUMENT);
}

static void split_names(void **state) {
    (void)state;
    uint32_t part, n;
    char path[64];
    assert_true(gguf_split_parse("dir/x-00002-of-00012.gguf", &part, &n));
    assert_int_equal(part, 1);
    assert_int_equal(n, 12);
    assert_true(gguf_split_path("dir/x-00002-of-00012.gguf", 11, path, sizeof path));
    assert_string_equal(path, "dir/x-00012-of-00012.gguf");
    assert_false(gguf_split_path("dir/x-00002-of-00012.gguf", 12, path, sizeof path));
    assert_false(gguf_split_path("dir/x-00002-of-00012.gguf", 1, path, 25));
    static const char *const others[] = {"x.gguf",
                                         "",
                                         "x-00000-of-00003.gguf",
                                         "x-00004-of-00003.gguf",
                                         "x-0001-of-00003.gguf",
                                         "x-00001-of-00003.bin",
                                         "x-00001_of-00003.gguf",
                                         "x-0000a-of-00003.gguf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(gguf_split_parse(others[i], &part, &n));
}

/* ---- the project's own files, written by the gguf package */

static void real_file_cut_everywhere(void **state) {
    (void)state;
    size_t n;
    char *data = test_read("tiny/tiny-q4_k_m.gguf", &n);
    facet_error error = {0};
    gguf_file *file;
    assert_ok(gguf_open(&file, &(gguf_part){(uint8_t *)data, n}, 1, NULL, &error), &error);
    assert_int_equal(gguf_n_tensors(file), 130);
    gguf_free(file);
    for (size_t i = 0; i < 64; i++) {
        size_t at = n * i / 64;
        uint8_t *cut = malloc(at + 1);
        memcpy(cut, data, at);
        assert_int_equal(gguf_open(&file, &(gguf_part){cut, at}, 1, NULL, &error), FACET_ERROR_TRUNCATED);
        free(cut);
    }
    free(data);
}

static void real_vocabulary(void **state) {
    (void)state;
    size_t n;
    char *data = test_read(FACET_VOCAB_GGUF, &n);
    facet_error error = {0};
    gguf_file *file;
    assert_ok(gguf_open(&file, &(gguf_part){(uint8_t *)data, n}, 1, NULL, &error), &error);
    const gguf_kv *tokens = gguf_find(file, "tokenizer.ggml.tokens");
    assert_non_null(tokens);
    assert_int_equal(tokens->n, 262144);
    assert_int_equal(gguf_find(file, "tokenizer.ggml.merges")->n, 514906);
    gguf_string s = {0};
    uint64_t count = 0;
    for (gguf_string_iterator it = gguf_strings(tokens); gguf_next_string(&it, &s); count++) {
        if (count == 106) assert_memory_equal(s.data, "<turn|>", 7);
    }
    assert_int_equal(count, 262144);
    gguf_free(file);
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_by_definition),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(header_alone),
        cmocka_unit_test(every_bit_flip_is_survived),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(too_many_to_be_true),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(lying_lengths),
        cmocka_unit_test(bad_alignments),
        cmocka_unit_test(bad_tensors),
        cmocka_unit_test(twins_and_overlaps),
        cmocka_unit_test(unknown_type_opens),
        cmocka_unit_test(many_names),
        cmocka_unit_test(split_files),
        cmocka_unit_test(split_names),
        cmocka_unit_test(real_file_cut_everywhere),
        cmocka_unit_test(real_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
