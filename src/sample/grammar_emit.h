/* Writing the nodes of a grammar: characters as switches over their UTF-8 bytes. Equal switches are one node. */
#ifndef FACET_SAMPLE_GRAMMAR_EMIT_H
#define FACET_SAMPLE_GRAMMAR_EMIT_H

#include "sample/grammar.h"

typedef struct grammar_emitter {
    grammar *g;
    uint32_t *slots; /* 1 + node of a switch, found by its edges */
    size_t n_slots, n_known;
    struct byte_path *paths; /* of the characters at hand */
    size_t n_paths, paths_capacity;
    bool failed, too_large;
} grammar_emitter;

void emitter_free(grammar_emitter *e); /* the grammar stays */

uint32_t emit_node(grammar_emitter *e, grammar_node node);
uint32_t emit_entry(grammar_emitter *e, grammar_entry entry);
uint32_t emit_bytes(grammar_emitter *e, const char *text, size_t n, uint32_t next);

/* Collect characters and where they lead, then make one switch of them: a new node, or in place of `head`. `in_json`:
 * the characters that JSON escapes are spelt with their escapes, and U+0000 is left out. */
void emit_characters(grammar_emitter *e, uint32_t lo, uint32_t hi, uint32_t target, bool in_json);
uint32_t emit_switch(grammar_emitter *e);
void emit_switch_at(grammar_emitter *e, uint32_t head);

static inline bool emitter_failed(const grammar_emitter *e) { return e->failed || e->too_large; }

#endif
