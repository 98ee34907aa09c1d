/* Opening a vocabulary and looking things up in it. See vocab.h. */
#include "token/vocab.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "token/internal.h"

typedef enum token_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN,
    TYPE_CONTROL,
    TYPE_USER_DEFINED,
    TYPE_UNUSED,
    TYPE_BYTE
} token_type;

static bool is(gguf_string s, const char *text) { return s.n == strlen(text) && memcmp(s.data, text, s.n) == 0; }

static bool is_one_of(gguf_string s, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (is(s, list[i])) return true;
    }
    return false;
}

/* <|...>, <...|>, <|...|>, and the five with plain names. */
static bool spelt_as_control(gguf_string s) {
    static const char *const plain[] = {"<bos>", "<eos>", "<pad>", "<unk>", "<mask>"};
    if (s.n < 4 || s.data[0] != '<' || s.data[s.n - 1] != '>') return false;
    size_t bars = (size_t)(s.data[1] == '|') + (s.data[s.n - 2] == '|');
    return (bars && s.n > 2 + bars) || is_one_of(s, plain, sizeof plain / sizeof *plain);
}

static bool spelt_as_end(gguf_string s) {
    static const char *const ends[] = {"<eos>", "<turn|>", "<|tool_response>"};
    return is_one_of(s, ends, sizeof ends / sizeof *ends);
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* The byte of <0xXX>, or -1. */
static int spelt_as_byte(gguf_string s) {
    if (s.n != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>') return -1;
    int high = hex(s.data[3]), low = hex(s.data[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Spellings rule over types: files are known to give control tokens the type of user-defined ones. */
static uint8_t flags_of(gguf_string s, int32_t type) {
    if (spelt_as_byte(s) >= 0) return TOKEN_BYTE;
    if (spelt_as_end(s)) return TOKEN_CONTROL | TOKEN_END;
    if (type == TYPE_UNKNOWN || type == TYPE_CONTROL || spelt_as_control(s)) return TOKEN_CONTROL;
    return type == TYPE_USER_DEFINED ? TOKEN_USER : 0;
}

static gguf_string spelling(const vocab *v, int32_t id) {
    gguf_string_iterator it = {.kv = v->tokens, .i = (uint64_t)id, .at = v->at[id]};
    gguf_string s = {0};
    gguf_next_string(&it, &s);
    return s;
}

static int32_t find(const vocab *v, const char *s, size_t n, uint64_t hash) {
    table_walk w = table_start(&v->by_spelling, hash);
    for (uint32_t id; table_next(&v->by_spelling, &w, &id);) {
        gguf_string other = spelling(v, (int32_t)id);
        if (other.n == n && memcmp(other.data, s, n) == 0) return (int32_t)id;
    }
    return -1;
}

/* ---- opening */

/* An array of the file, of `element`s where it is GGUF_STRING. */
static facet_status find_array(const gguf_file *file, const char *key, gguf_type element, const gguf_kv **out,
                               facet_error *err) {
    const gguf_kv *kv = *out = gguf_find(file, key);
    if (!kv) return error_set(err, FACET_ERROR_FORMAT, "%s is missing", key);
    if (kv->type == GGUF_ARRAY && (kv->element == GGUF_STRING) == (element == GGUF_STRING)) return FACET_OK;
    return error_set(err, FACET_ERROR_FORMAT, "%s is not an array of %s", key,
                     element == GGUF_STRING ? "strings" : "integers");
}

static facet_status check_model(const gguf_file *file, facet_error *err) {
    gguf_string model;
    FACET_TRY(gguf_get_string(file, "tokenizer.ggml.model", &model, err));
    if (is(model, "gemma4")) return FACET_OK;
    char name[33];
    size_t n = model.n < sizeof name - 1 ? model.n : sizeof name - 1;
    for (size_t i = 0; i < n; i++) name[i] = model.data[i] > ' ' && model.data[i] < 0x7f ? model.data[i] : '?';
    name[n] = '\0';
    return error_set(err, FACET_ERROR_UNSUPPORTED, "tokenizer.ggml.model is '%s'; facet knows 'gemma4' only", name);
}

/* How many bytes at the start are plainly well-formed: the space mark that most spellings begin with, then ASCII. */
static size_t plain_prefix(gguf_string s) {
    size_t n =
        s.n >= TOKEN_SPACE_BYTES && memcmp(s.data, TOKEN_SPACE, TOKEN_SPACE_BYTES) == 0 ? TOKEN_SPACE_BYTES : 0;
    while (n < s.n && (uint8_t)s.data[n] < 0x80) n++;
    return n;
}

static facet_status check_spelling(int32_t id, gguf_string s, facet_error *err) {
    if (s.n == 0) return error_set(err, FACET_ERROR_FORMAT, "token %d has no spelling", id);
    if (s.n > VOCAB_MAX_SPELLING)
        return error_set(err, FACET_ERROR_UNSUPPORTED, "token %d has %zu bytes; at most %d are supported", id, s.n,
                         VOCAB_MAX_SPELLING);
    size_t plain = plain_prefix(s);
    if (plain != s.n && utf8_invalid(s.data + plain, s.n - plain) != s.n - plain)
        return error_set(err, FACET_ERROR_FORMAT, "token %d is not UTF-8", id);
    return FACET_OK;
}

/* A token on its way into the table; a block at a time, see merges.c. */
typedef struct entry {
    gguf_string spelling;
    uint64_t hash;
} entry;
enum { BLOCK = 32 };

static facet_status read_token(vocab *v, int32_t id, gguf_string_iterator *it, const gguf_kv *types, entry *e,
                               facet_error *err) {
    gguf_string s;
    int32_t type;
    v->at[id] = (uint32_t)it->at;
    if (!gguf_next_string(it, &s)) return error_set(err, FACET_ERROR_FORMAT, "token %d is missing", id);
    FACET_TRY(check_spelling(id, s, err));
    if (!gguf_element_i32(types, (uint64_t)id, &type) || type < TYPE_NORMAL || type > TYPE_BYTE)
        return error_set(err, FACET_ERROR_FORMAT, "token %d has a type that does not exist", id);
    int byte = spelt_as_byte(s);
    if (type == TYPE_BYTE && byte < 0)
        return error_set(err, FACET_ERROR_FORMAT, "token %d is a byte but not spelt <0xXX>", id);
    if (byte >= 0) v->byte_id[byte] = id;
    v->flags[id] = flags_of(s, type);
    if (s.n > v->max_bytes) v->max_bytes = s.n;
    *e = (entry){.spelling = s, .hash = hash_bytes(s.data, s.n)};
    table_fetch(&v->by_spelling, e->hash);
    return FACET_OK;
}

static facet_status index_token(vocab *v, int32_t id, const entry *e, facet_error *err) {
    table_walk w = table_start(&v->by_spelling, e->hash);
    for (uint32_t other; table_next(&v->by_spelling, &w, &other);) {
        gguf_string seen = spelling(v, (int32_t)other);
        if (seen.n == e->spelling.n && memcmp(seen.data, e->spelling.data, seen.n) == 0)
            return error_set(err, FACET_ERROR_FORMAT, "tokens %u and %d have the same spelling", other, id);
    }
    if (table_insert(&v->by_spelling, &w, (uint32_t)id)) return FACET_OK;
    return error_set(err, FACET_ERROR_FORMAT, "token %d: too many spellings with one hash", id);
}

static facet_status read_tokens(vocab *v, const gguf_kv *types, facet_error *err) {
    entry block[BLOCK];
    gguf_string_iterator it = gguf_strings(v->tokens);
    for (int32_t start = 0; start < v->n; start += BLOCK) {
        int32_t n_block = v->n - start < BLOCK ? v->n - start : BLOCK;
        for (int32_t i = 0; i < n_block; i++) FACET_TRY(read_token(v, start + i, &it, types, &block[i], err));
        for (int32_t i = 0; i < n_block; i++) FACET_TRY(index_token(v, start + i, &block[i], err));
    }
    return FACET_OK;
}

static facet_status check_bytes(const vocab *v, facet_error *err) {
    for (unsigned byte = 0; byte < 256; byte++) {
        if (v->byte_id[byte] < 0)
            return error_set(err, FACET_ERROR_FORMAT, "the vocabulary has no token <0x%02X>", byte);
    }
    return FACET_OK;
}

static void read_ascii(vocab *v) {
    for (unsigned c = 0; c < 128; c++) {
        char s = (char)c;
        v->ascii_id[c] = vocab_text(v, &s, 1, hash_bytes(&s, 1));
    }
}

static facet_status read_cuts(vocab *v, facet_error *err) {
    size_t n = 0;
    for (int32_t id = 0; id < v->n; id++) n += (v->flags[id] & (TOKEN_CONTROL | TOKEN_USER)) != 0;
    if (!cuts_new(&v->cuts, n)) return error_memory(err, n * sizeof(cut));
    for (int32_t id = 0; id < v->n; id++) {
        if (!(v->flags[id] & (TOKEN_CONTROL | TOKEN_USER))) continue;
        gguf_string s = spelling(v, id);
        cuts_add(
            &v->cuts,
            (cut){.spelling = s.data, .n_bytes = (uint32_t)s.n, .id = id, .control = v->flags[id] & TOKEN_CONTROL});
    }
    cuts_sort(&v->cuts);
    return FACET_OK;
}

/* An id that the file names; -1 where it names none. */
static facet_status read_id(const vocab *v, const gguf_file *file, const char *key, int32_t *out, facet_error *err) {
    *out = -1;
    if (!gguf_find(file, key)) return FACET_OK;
    uint32_t id;
    FACET_TRY(gguf_get_u32(file, key, &id, err));
    if (id >= (uint32_t)v->n)
        return error_set(err, FACET_ERROR_FORMAT, "%s is %u, but there are %d tokens", key, id, v->n);
    *out = (int32_t)id;
    return FACET_OK;
}

/* BOS is found by its text, the file's number is the fallback. The ends are found by their text too; what the file
 * names beside them counts only if it is a control token: files exist that name an HTML tag. */
static facet_status read_special(vocab *v, const gguf_file *file, facet_error *err) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int32_t id;
    FACET_TRY(read_id(v, file, "tokenizer.ggml.bos_token_id", &id, err));
    v->bos = vocab_find(v, "<bos>", 5);
    if (v->bos < 0) v->bos = id;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        FACET_TRY(read_id(v, file, ends[i], &id, err));
        if (id >= 0 && v->flags[id] & TOKEN_CONTROL) v->flags[id] |= TOKEN_END;
    }
    return FACET_OK;
}

static facet_status read_suppressed(vocab *v, const gguf_file *file, facet_error *err) {
    static const char key[] = "tokenizer.ggml.suppress_tokens";
    const gguf_kv *kv;
    if (!gguf_find(file, key)) return FACET_OK;
    FACET_TRY(find_array(file, key, GGUF_I32, &kv, err));
    if (kv->n > (uint64_t)v->n) return error_set(err, FACET_ERROR_FORMAT, "%s has more entries than tokens", key);
    v->suppressed = malloc((kv->n ? (size_t)kv->n : 1) * sizeof *v->suppressed);
    if (!v->suppressed) return error_memory(err, (size_t)kv->n * sizeof *v->suppressed);
    for (uint64_t i = 0; i < kv->n; i++) {
        int32_t id;
        if (!gguf_element_i32(kv, i, &id) || id < 0 || id >= v->n)
            return error_set(err, FACET_ERROR_FORMAT, "%s: entry %llu is not a token", key, (unsigned long long)i);
        v->suppressed[v->n_suppressed++] = id;
    }
    return FACET_OK;
}

static facet_status allocate(vocab *v, facet_error *err) {
    size_t n = (size_t)v->n;
    v->at = malloc(n * sizeof *v->at);
    v->flags = malloc(n * sizeof *v->flags);
    if (!v->at || !v->flags || !table_new(&v->by_spelling, n)) return error_memory(err, n * sizeof *v->at);
    for (size_t byte = 0; byte < 256; byte++) v->byte_id[byte] = -1;
    return FACET_OK;
}

static facet_status open_lists(vocab *v, const gguf_file *file, facet_error *err) {
    const gguf_kv *types, *list;
    FACET_TRY(find_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &v->tokens, err));
    FACET_TRY(find_array(file, "tokenizer.ggml.token_type", GGUF_I32, &types, err));
    FACET_TRY(find_array(file, "tokenizer.ggml.merges", GGUF_STRING, &list, err));
    if (v->tokens->n == 0 || v->tokens->n > 1 << 30 || v->tokens->n_bytes > UINT32_MAX)
        return error_set(err, FACET_ERROR_UNSUPPORTED, "a vocabulary of %llu tokens",
                         (unsigned long long)v->tokens->n);
    if (types->n != v->tokens->n)
        return error_set(err, FACET_ERROR_FORMAT, "tokenizer.ggml has %llu tokens but %llu types",
                         (unsigned long long)v->tokens->n, (unsigned long long)types->n);
    v->n = (int32_t)v->tokens->n;
    FACET_TRY(allocate(v, err));
    FACET_TRY(read_tokens(v, types, err));
    return merges_new(&v->merges, list, err);
}

static facet_status open_all(vocab *v, const gguf_file *file, facet_error *err) {
    FACET_TRY(check_model(file, err));
    FACET_TRY(open_lists(v, file, err));
    FACET_TRY(check_bytes(v, err));
    read_ascii(v);
    FACET_TRY(read_cuts(v, err));
    FACET_TRY(read_special(v, file, err));
    return read_suppressed(v, file, err);
}

facet_status vocab_new(vocab **out, const gguf_file *file, facet_error *err) {
    *out = NULL;
    vocab *v = calloc(1, sizeof *v);
    if (!v) return error_memory(err, sizeof *v);
    facet_status status = open_all(v, file, err);
    if (status == FACET_OK)
        *out = v;
    else
        vocab_free(v);
    return status;
}

void vocab_free(vocab *v) {
    if (!v) return;
    free(v->at);
    free(v->flags);
    free(v->suppressed);
    table_free(&v->by_spelling);
    merges_free(&v->merges);
    cuts_free(&v->cuts);
    free(v);
}

/* ---- looking up */

int32_t vocab_size(const vocab *v) { return v->n; }

size_t vocab_memory_bytes(const vocab *v) {
    return sizeof *v + (size_t)v->n * (sizeof *v->at + sizeof *v->flags) + table_bytes(&v->by_spelling) +
           merges_bytes(&v->merges) + v->cuts.n * sizeof(cut) + v->n_suppressed * sizeof *v->suppressed;
}

static bool in_range(const vocab *v, int32_t id) { return id >= 0 && id < v->n; }

const char *vocab_spelling(const vocab *v, int32_t id, size_t *n_bytes) {
    gguf_string s = in_range(v, id) ? spelling(v, id) : (gguf_string){0};
    if (n_bytes) *n_bytes = s.n;
    return s.data;
}

int32_t vocab_find(const vocab *v, const char *s, size_t n_bytes) {
    return find(v, s, n_bytes, hash_bytes(s, n_bytes));
}

int32_t vocab_text(const vocab *v, const char *s, size_t n, uint64_t hash) {
    int32_t id = find(v, s, n, hash);
    return id >= 0 && v->flags[id] & (TOKEN_CONTROL | TOKEN_BYTE) ? -1 : id;
}

bool vocab_is_control(const vocab *v, int32_t id) { return in_range(v, id) && v->flags[id] & TOKEN_CONTROL; }
bool vocab_is_end(const vocab *v, int32_t id) { return in_range(v, id) && v->flags[id] & TOKEN_END; }
int32_t vocab_bos(const vocab *v) { return v->bos; }

const int32_t *vocab_suppressed(const vocab *v, size_t *n) {
    *n = v->n_suppressed;
    return v->suppressed;
}

/* The text of a token with U+2581 as spaces. */
static bool append_spaced(gguf_string s, buffer *out) {
    size_t step;
    for (size_t i = 0; i < s.n; i += step) {
        bool space = s.n - i >= TOKEN_SPACE_BYTES && memcmp(s.data + i, TOKEN_SPACE, TOKEN_SPACE_BYTES) == 0;
        step = space ? TOKEN_SPACE_BYTES : 1;
        if (!buffer_byte(out, space ? ' ' : s.data[i])) return false;
    }
    return true;
}

bool vocab_piece(const vocab *v, int32_t id, buffer *out) {
    gguf_string s = spelling(v, id);
    if (v->flags[id] & TOKEN_CONTROL) return buffer_append(out, s.data, s.n);
    if (v->flags[id] & TOKEN_BYTE) return buffer_byte(out, (char)spelt_as_byte(s));
    return append_spaced(s, out);
}
