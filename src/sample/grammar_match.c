/* Following a grammar: masks over the vocabulary. See grammar_match.h. */
#include "sample/grammar_match.h"

#include <stdlib.h>
#include <string.h>

#include "sample/automaton.h"

enum { N_MASKS = 48 }; /* kept: 32 KiB each for 262144 tokens */

typedef struct kept_mask {
    uint32_t configuration; /* DEAD: empty */
    uint64_t used;
    uint64_t *bits;
} kept_mask;

struct matcher {
    grammar *g;
    automaton a;
    const token_trie *trie;
    const vocab *v;
    uint32_t at; /* the configuration */
    buffer piece;
    kept_mask masks[N_MASKS];
    uint64_t clock, n_made;
    bool broken;
};

/* ---- masks */

/* How many plain characters in a row can be read with the text staying where any plain character may follow;
 * UINT32_MAX for any number. */
static uint32_t plain_run(const matcher *m, uint32_t at) {
    uint32_t longest = 0;
    const way *ways = automaton_ways(&m->a, at);
    for (uint32_t i = 0; i < automaton_at(&m->a, at)->ways.n; i++) {
        const grammar_node *n = &m->a.g->nodes[ways[i].node];
        if (n->kind != NODE_SWITCH) continue;
        if (n->loop) return UINT32_MAX;
        const link *links = automaton_links(&m->a, ways[i].frame);
        for (uint32_t k = 0; k < ITEM(m->a.frames, span, ways[i].frame).n; k++) {
            const grammar_node *from = &m->a.g->nodes[links[k].node];
            if (links[k].rounds == 0 || from->text != ways[i].node) continue;
            uint32_t left = from->max == EXPR_NO_MAX ? UINT32_MAX : from->max - (links[k].rounds - 1);
            if (left > longest) longest = left;
        }
    }
    return longest;
}

/* Walks trie and grammar together. Subtrees of plain tokens that are in the mask already are passed over. */
static facet_status walk(matcher *m, uint8_t skip, uint64_t *mask) {
    const token_trie *t = m->trie;
    uint32_t at[TRIE_MAX_DEPTH + 1];
    at[0] = m->at;
    FACET_TRY(automaton_spend(&m->a, t->n_nodes / 16));
    for (size_t i = 1; i < t->n_nodes;) {
        const trie_node *n = &t->nodes[i];
        if (n->plain <= skip) {
            i = n->end;
            continue;
        }
        uint32_t to;
        FACET_TRY(automaton_step(&m->a, at[n->depth - 1], n->byte, &to));
        if (to == DEAD) {
            i = n->end;
            continue;
        }
        at[n->depth] = to;
        for (uint32_t k = n->first; k < n[1].first; k++) mask_set(mask, t->ids[k]);
        i++;
    }
    return FACET_OK;
}

static void add_control(const matcher *m, uint64_t *mask) {
    const configuration *c = automaton_at(&m->a, m->at);
    const way *ways = automaton_ways(&m->a, m->at);
    for (uint32_t i = 0; i < c->ways.n; i++) {
        const grammar_node *n = &m->a.g->nodes[ways[i].node];
        if (n->kind == NODE_TOKEN && n->a < m->trie->n_vocab) mask_set(mask, (int32_t)n->a);
    }
    for (size_t i = 0; c->may_end && i < m->trie->n_ends; i++) mask_set(mask, m->trie->ends[i]);
}

static facet_status fill(matcher *m, uint64_t *mask) {
    size_t n_bytes = mask_words(m->trie->n_vocab) * sizeof *mask;
    uint32_t run = plain_run(m, m->at);
    memset(mask, 0, n_bytes);
    if (run) memcpy(mask, trie_plain(m->trie, &run), n_bytes);
    FACET_TRY(walk(m, (uint8_t)run, mask));
    add_control(m, mask);
    return FACET_OK;
}

static kept_mask *find_mask(matcher *m) {
    kept_mask *oldest = m->masks;
    for (size_t i = 0; i < N_MASKS; i++) {
        if (m->masks[i].configuration == m->at) return &m->masks[i];
        if (m->masks[i].used < oldest->used) oldest = &m->masks[i];
    }
    return oldest;
}

/* What every call begins with. Where the automaton has become too large it is forgotten: its configurations have new
 * numbers then. */
static facet_status attend(matcher *m, facet_error *err) {
    automaton_attend(&m->a, err);
    if (!automaton_is_full(&m->a)) return FACET_OK;
    for (size_t i = 0; i < N_MASKS; i++) m->masks[i].configuration = DEAD;
    facet_status status = automaton_forget(&m->a, &m->at);
    if (status != FACET_OK) m->broken = true;
    return status;
}

facet_status matcher_mask(matcher *m, const uint64_t **mask, facet_error *err) {
    FACET_TRY(attend(m, err));
    kept_mask *k = find_mask(m);
    k->used = ++m->clock;
    if (k->configuration != m->at) {
        size_t n_bytes = mask_words(m->trie->n_vocab) * sizeof *k->bits;
        k->configuration = DEAD;
        if (!k->bits && !(k->bits = malloc(n_bytes))) return error_memory(err, n_bytes);
        FACET_TRY(fill(m, k->bits));
        m->n_made++;
        k->configuration = m->at;
    }
    *mask = k->bits;
    return FACET_OK;
}

/* ---- going on */

static facet_status not_permitted(matcher *m) {
    return error_set(m->a.err, FACET_ERROR_ARGUMENT, "the grammar does not permit this token here");
}

static facet_status step_bytes(matcher *m, uint32_t *at, const char *text, size_t n) {
    for (size_t i = 0; i < n && *at != DEAD; i++) FACET_TRY(automaton_step(&m->a, *at, (uint8_t)text[i], at));
    return FACET_OK;
}

facet_status matcher_accept_bytes(matcher *m, const char *text, size_t n, facet_error *err) {
    FACET_TRY(attend(m, err));
    uint32_t at = m->at;
    FACET_TRY(step_bytes(m, &at, text, n));
    if (at == DEAD) return not_permitted(m);
    m->at = at;
    return FACET_OK;
}

/* A token that the grammar names and whose text it permits as well is followed both ways. */
facet_status matcher_accept(matcher *m, int32_t id, facet_error *err) {
    FACET_TRY(attend(m, err));
    if (id < 0 || (size_t)id >= m->trie->n_vocab) return not_permitted(m);
    uint32_t named, spelt = DEAD, at;
    FACET_TRY(automaton_token(&m->a, m->at, id, &named));
    if (!vocab_is_control(m->v, id)) {
        buffer_clear(&m->piece);
        if (!vocab_piece(m->v, id, &m->piece)) return error_memory(err, m->piece.n);
        spelt = m->at;
        FACET_TRY(step_bytes(m, &spelt, m->piece.data, m->piece.n));
    }
    FACET_TRY(automaton_join(&m->a, named, spelt, &at));
    if (at == DEAD) return not_permitted(m);
    m->at = at;
    return FACET_OK;
}

bool matcher_may_end(const matcher *m) { return automaton_at(&m->a, m->at)->may_end; }
bool matcher_finished(const matcher *m) { return matcher_may_end(m) && automaton_at(&m->a, m->at)->ways.n == 0; }

/* ---- keeping */

const grammar *matcher_grammar(const matcher *m) { return m->g; }
bool matcher_is_broken(const matcher *m) { return m->broken; }
uint64_t matcher_masks_made(const matcher *m) { return m->n_made; }

size_t matcher_memory_bytes(const matcher *m) {
    size_t n_masks = 0;
    for (size_t i = 0; i < N_MASKS; i++) n_masks += m->masks[i].bits != NULL;
    return sizeof *m + automaton_memory_bytes(&m->a) + n_masks * mask_words(m->trie->n_vocab) * sizeof(uint64_t);
}

/* ---- life cycle */

facet_status matcher_new(matcher **out, grammar *g, const token_trie *trie, const vocab *v, facet_error *err) {
    *out = NULL;
    matcher *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    m->g = grammar_ref(g);
    m->trie = trie;
    m->v = v;
    facet_status status = automaton_init(&m->a, g, err);
    m->at = m->a.start;
    if (status == FACET_OK)
        *out = m;
    else
        matcher_free(m);
    return status;
}

void matcher_reset(matcher *m) { m->at = m->a.start; }

void matcher_free(matcher *m) {
    if (!m) return;
    automaton_clear(&m->a);
    for (size_t i = 0; i < N_MASKS; i++) free(m->masks[i].bits);
    buffer_free(&m->piece);
    grammar_free(m->g);
    free(m);
}
