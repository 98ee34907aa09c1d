/* A grammar as a deterministic automaton, made on demand: its states are the sets of all ways in which a text so far
 * fits the grammar ("configurations"). Owns: what was worked out. Borrows: the grammar. Knows nothing of
 * vocabularies.
 *
 * A way is a node that reads and the frame of the entry that it belongs to. A frame is a set of links: where to go on
 * when the entry ends, in which frame, and for repetitions how many rounds are then done. Frames and configurations
 * are found by their content, so equal ones are one. Frame 0 is the start's: to end there is to end the text.
 *
 * Every call can fail with FACET_ERROR_MEMORY or, past the bounds, FACET_ERROR_BUDGET. */
#ifndef FACET_SAMPLE_AUTOMATON_H
#define FACET_SAMPLE_AUTOMATON_H

#include "sample/grammar.h"

enum { DEAD = 0, UNKNOWN = UINT32_MAX }; /* configurations */

typedef struct link {
    uint32_t node, rounds, frame;
} link;

typedef struct way {
    uint32_t node, frame;
} way;

typedef struct span { /* of links or ways */
    uint32_t first, n;
} span;

typedef struct configuration {
    span ways;
    uint32_t row; /* of `steps`, or UNKNOWN */
    bool may_end;
} configuration;

/* A growing array. */
typedef struct list {
    void *items;
    size_t n, capacity;
} list;
#define ITEM(list_, type, i) (((type *)(list_).items)[i])

typedef struct automaton {
    const grammar *g;
    facet_error *err; /* of the call at hand */
    uint32_t start;
    list links, frames, frame_slots; /* link, span, uint32_t */
    list ways, configurations, configuration_slots;
    list steps; /* rows of n_classes configurations */
    /* one step */
    list stack;         /* way: to be looked at */
    list met;           /* uint64_t: hashed set of ways that were put there */
    list met_used;      /* uint32_t: its filled slots */
    list found;         /* way: those that read */
    list called;        /* uint32_t: entries */
    list new_links;     /* links that no frame has yet: automaton_step.c */
    uint32_t *new_head; /* of entry: 1 + its last link in new_links */
    uint32_t *new_frame;
    bool may_end;
    size_t n_work; /* steps of the call at hand */
} automaton;

facet_status automaton_init(automaton *a, const grammar *g, facet_error *err); /* on failure: clear it */
void automaton_clear(automaton *a);

/* Before each mask or token: from now on errors go to `err`, and work is counted anew. */
void automaton_attend(automaton *a, facet_error *err);
facet_status automaton_spend(automaton *a, size_t n);
/* Whether it is time to forget, and forgetting: all but what is behind *at, whose number changes. */
bool automaton_is_full(const automaton *a);
facet_status automaton_forget(automaton *a, uint32_t *at);
size_t automaton_memory_bytes(const automaton *a);

/* The configuration after a byte, or after a token that the grammar names. */
facet_status automaton_step_slowly(automaton *a, uint32_t at, uint8_t byte, uint32_t *out);
facet_status automaton_token(automaton *a, uint32_t at, int32_t id, uint32_t *out);
/* All ways of both. */
facet_status automaton_join(automaton *a, uint32_t one, uint32_t other, uint32_t *out);

static inline const configuration *automaton_at(const automaton *a, uint32_t at) {
    return &ITEM(a->configurations, configuration, at);
}
static inline const way *automaton_ways(const automaton *a, uint32_t at) {
    return &ITEM(a->ways, way, automaton_at(a, at)->ways.first);
}
static inline const link *automaton_links(const automaton *a, uint32_t frame) {
    return &ITEM(a->links, link, ITEM(a->frames, span, frame).first);
}

static inline uint32_t automaton_known(const automaton *a, uint32_t at, uint8_t byte) {
    uint32_t row = automaton_at(a, at)->row;
    return row == UNKNOWN ? UNKNOWN : ITEM(a->steps, uint32_t, row + a->g->class_of[byte]);
}

static inline facet_status automaton_step(automaton *a, uint32_t at, uint8_t byte, uint32_t *out) {
    *out = automaton_known(a, at, byte);
    return *out != UNKNOWN ? FACET_OK : automaton_step_slowly(a, at, byte, out);
}

#endif
