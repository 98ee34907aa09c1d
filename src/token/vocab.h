/* The vocabulary of a GGUF file and what it says about text: spellings, control tokens, encoding, the text of one
 * token. Owns: indices over the file's lists. Borrows: the file, which must outlive it; no spelling is copied.
 * Immutable once open, so that any number of threads may use it. Knows nothing of models, chats or sampling. Rules:
 * gemma4's tokenizer
 * (`tokenizer.ggml.model` = "gemma4"): byte-pair encoding over characters with byte fallback. */
#ifndef FACET_TOKEN_VOCAB_H
#define FACET_TOKEN_VOCAB_H

#include "base/buffer.h"
#include "base/error.h"
#include "gguf/gguf.h"

typedef struct vocab vocab;

enum {
    VOCAB_MAX_SPELLING = 512, /* bytes; bounds the work per character of text. Gemma's longest is 93 */
    VOCAB_MAX_TEXT = 1 << 30  /* bytes of one text to encode */
};

facet_status vocab_new(vocab **out, const gguf_file *file, facet_error *err);
void vocab_free(vocab *v);

int32_t vocab_size(const vocab *v);
size_t vocab_memory_bytes(const vocab *v); /* what vocab_new allocated */

/* The spelling of a token, not terminated, NULL when the id is out of range. `n_bytes` may be NULL. */
const char *vocab_spelling(const vocab *v, int32_t id, size_t *n_bytes);
int32_t vocab_find(const vocab *v, const char *spelling, size_t n_bytes); /* or -1 */
bool vocab_is_control(const vocab *v, int32_t id);                        /* false when out of range */
bool vocab_is_end(const vocab *v, int32_t id);                            /* ends a generation */
int32_t vocab_bos(const vocab *v);                                        /* or -1 */
const int32_t *vocab_suppressed(const vocab *v, size_t *n);               /* ids never to sample */

/* A growing list of ids. Begins as {0}; free(list.ids), or hand the memory on. */
typedef struct token_list {
    int32_t *ids;
    size_t n;
    size_t capacity;
} token_list;
bool token_list_push(token_list *list, int32_t id); /* false: no memory */

/* Appends the ids of a text; any bytes are accepted. With `parse_control` spellings of control tokens become those
 * tokens; without it no control token comes out. No BOS is added. On failure the list is as before. Time is n log n.
 */
facet_status vocab_encode(const vocab *v, const char *text, size_t n_bytes, bool parse_control, token_list *out,
                          facet_error *err);

/* Appends the bytes that a token stands for: those of one byte token alone are not UTF-8. A control token gives its
 * spelling. id must be in range. False: no memory (see buffer.h). */
bool vocab_piece(const vocab *v, int32_t id, buffer *out);

#endif
