/* Regular languages over characters: what patterns, formats, lengths, key names and numbers of a schema are turned
 * into, so that they can be intersected and shown to be disjoint. Owns: deterministic automata, every state of which
 * can still reach an end. Knows nothing of JSON. Sizes are bounded: FACET_ERROR_UNSUPPORTED beyond. */
#ifndef FACET_SAMPLE_SCHEMA_LANG_H
#define FACET_SAMPLE_SCHEMA_LANG_H

#include "base/error.h"

typedef struct code_range {
    uint32_t lo, hi; /* both belong to it */
} code_range;

enum {
    CODE_MAX = 0x10ffff,
    LANG_MAX_STATES = 1 << 15,
    LANG_MAX_CELLS = 1 << 22 /* states times intervals */
};
#define LANG_DEAD UINT32_MAX

typedef struct lang {
    uint32_t *starts; /* interval i is starts[i] .. starts[i + 1) - 1; the first begins at 0 */
    size_t n_intervals;
    uint32_t *next;  /* [n_states][n_intervals] */
    bool *accept;    /* [n_states] */
    size_t n_states; /* 0: the empty language; the start is state 0 */
} lang;

/* A machine to be explored: states are any 64-bit keys. */
typedef struct lang_machine {
    const void *ctx;
    uint64_t start;
    bool (*step)(const void *ctx, uint64_t state, size_t interval, uint64_t *next);
    bool (*accept)(const void *ctx, uint64_t state);
} lang_machine;

void lang_free(lang *l);
/* Sorted, disjoint ranges; malloc'ed. NULL: no memory. */
code_range *lang_normalise(const code_range *ranges, size_t n, bool negate, size_t *n_out);
/* The intervals between the borders of ranges: sorted, from 0; malloc'ed. NULL: no memory. */
uint32_t *lang_borders(const code_range *ranges, size_t n, size_t *n_out);

/* All states that the machine reaches. The borders are taken over, also on failure. */
facet_status lang_explore(lang **out, uint32_t *starts, size_t n_intervals, const lang_machine *machine,
                          facet_error *err);
facet_status lang_both(lang **out, const lang *a, const lang *b, facet_error *err);
/* Texts of min to max characters. */
facet_status lang_lengths(lang **out, uint32_t min, uint32_t max, facet_error *err);

typedef struct lang_word {
    const char *text; /* UTF-8 */
    size_t n;
} lang_word;
/* Exactly these words, or everything but them. */
facet_status lang_words(lang **out, const lang_word *words, size_t n, bool others, facet_error *err);

/* The texts in which an ECMAScript pattern is found. Not known: look-around, back references, word borders and
 * Unicode properties. On failure err->position is where in the pattern. */
facet_status lang_pattern(lang **out, const char *pattern, size_t n, facet_error *err);

bool lang_has(const lang *l, const char *text, size_t n);

/* From the subset construction, where the states come one after the other. Trims what leads nowhere. */
facet_status lang_trim(lang *l, facet_error *err);
size_t lang_interval(const lang *l, uint32_t code);

#endif
