/* Text to ids. Owns: how text is cut to pieces. The rules, in order: cut at control tokens (where they are parsed)
 * and at user-defined tokens, leftmost first, then longest; write spaces as U+2581; a run of newlines is a piece of
 * its own; byte-pair encoding of each piece; what the vocabulary lacks, and what is not UTF-8, becomes byte tokens.
 * Pieces are cut further where no merge can reach across (see merges_join): same ids, smaller heaps. */
#include <stdlib.h>

#include "base/utf8.h"
#include "token/bpe.h"
#include "token/internal.h"

bool token_list_push(token_list *list, int32_t id) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity < 32 ? 32 : list->capacity + list->capacity / 2;
        int32_t *ids = capacity > SIZE_MAX / sizeof *ids ? NULL : realloc(list->ids, capacity * sizeof *ids);
        if (!ids) return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->n++] = id;
    return true;
}

static bool push_bytes(const vocab *v, const char *s, size_t n, token_list *out) {
    for (size_t i = 0; i < n; i++) {
        if (!token_list_push(out, v->byte_id[(uint8_t)s[i]])) return false;
    }
    return true;
}

/* One character, as it is spelt in the vocabulary, joins the piece, or ends it. */
static bool add_character(bpe *b, const char *s, size_t n, token_list *out) {
    uint64_t hash = hash_bytes(s, n);
    int32_t id = n == 1 ? b->v->ascii_id[(uint8_t)s[0]] : vocab_text(b->v, s, n, hash);
    if (id < 0) return bpe_flush(b, out) && push_bytes(b->v, s, n, out);
    if (b->n_symbols) {
        uint8_t last = merges_last_class(b->text.data, b->text.n);
        if (!merges_join(&b->v->merges, last, merges_first_class(s, n)) && !bpe_flush(b, out)) return false;
    }
    return bpe_add(b, s, n, hash, id);
}

/* A run of newlines: one token where the vocabulary has it, else a piece. */
static bool add_newlines(bpe *b, const char *s, size_t n, token_list *out) {
    if (!bpe_flush(b, out)) return false;
    int32_t id = n <= b->v->max_bytes ? vocab_text(b->v, s, n, hash_bytes(s, n)) : -1;
    if (id >= 0) return token_list_push(out, id);
    for (size_t i = 0; i < n; i++) {
        if (!add_character(b, s + i, 1, out)) return false;
    }
    return bpe_flush(b, out);
}

/* Text without cuts. */
static bool encode_text(bpe *b, const char *s, size_t n, token_list *out) {
    size_t step;
    for (size_t i = 0; i < n; i += step) {
        step = (uint8_t)s[i] < 0x80 ? 1 : utf8_decode(s + i, n - i, NULL);
        bool ok;
        if (step == 0) {
            ok = bpe_flush(b, out) && push_bytes(b->v, s + i, 1, out);
            step = 1;
        } else if (s[i] == '\n') {
            while (i + step < n && s[i + step] == '\n') step++;
            ok = add_newlines(b, s + i, step, out);
        } else if (s[i] == ' ') {
            ok = add_character(b, TOKEN_SPACE, TOKEN_SPACE_BYTES, out);
        } else {
            ok = add_character(b, s + i, step, out);
        }
        if (!ok) return false;
    }
    return bpe_flush(b, out);
}

/* Where the next cut is, from `at` on: its token, NULL at the end of the text. */
static const cut *next_cut(const cuts *c, const char *text, size_t n, bool control, size_t *at) {
    for (; *at < n; ++*at) {
        const cut *found = cuts_may_start(c, text[*at]) ? cuts_match(c, text + *at, n - *at, control) : NULL;
        if (found) return found;
    }
    return NULL;
}

static bool encode_all(bpe *b, const char *text, size_t n, bool control, token_list *out) {
    for (size_t at = 0; at < n;) {
        size_t end = at;
        const cut *found = next_cut(&b->v->cuts, text, n, control, &end);
        if (!encode_text(b, text + at, end - at, out)) return false;
        if (found && !token_list_push(out, found->id)) return false;
        at = end + (found ? found->n_bytes : 0);
    }
    return true;
}

facet_status vocab_encode(const vocab *v, const char *text, size_t n_bytes, bool parse_control, token_list *out,
                          facet_error *err) {
    if (n_bytes > VOCAB_MAX_TEXT)
        return error_set(err, FACET_ERROR_ARGUMENT, "a text of %zu bytes; at most %d can be encoded at once", n_bytes,
                         VOCAB_MAX_TEXT);
    size_t before = out->n;
    bpe b = {.v = v};
    bool ok = encode_all(&b, text, n_bytes, parse_control, out);
    bpe_free(&b);
    if (ok) return FACET_OK;
    out->n = before;
    return error_memory(err, n_bytes);
}
