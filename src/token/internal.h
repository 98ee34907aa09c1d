/* What the files of token/ share about a vocabulary; nobody else includes it. */
#ifndef FACET_TOKEN_INTERNAL_H
#define FACET_TOKEN_INTERNAL_H

#include "token/cuts.h"
#include "token/hash.h"
#include "token/merges.h"
#include "token/vocab.h"

/* What a token is, whatever type the file gives it. A token without a flag is text. */
enum {
    TOKEN_CONTROL = 1,
    TOKEN_END = 2,  /* ends a generation; always with TOKEN_CONTROL */
    TOKEN_BYTE = 4, /* <0xXX> */
    TOKEN_USER = 8  /* user-defined: text is cut at it */
};

struct vocab {
    const gguf_kv *tokens;
    uint32_t *at;   /* where spelling i starts in the list */
    uint8_t *flags; /* of token i */
    int32_t n;
    size_t max_bytes; /* the longest spelling */
    table by_spelling;
    merges merges;
    cuts cuts;
    int32_t byte_id[256];
    int32_t ascii_id[128]; /* of single characters, or -1: what vocab_text would find */
    int32_t bos;
    int32_t *suppressed;
    size_t n_suppressed;
};

/* The token that ordinary text with this spelling (and its hash) may become: never a control or byte token; or -1. */
int32_t vocab_text(const vocab *v, const char *s, size_t n, uint64_t hash);

#endif
