/* The automaton as a whole: what is kept of it and for how long. See automaton.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/automaton_parts.h"

enum {
    MAX_MEMORY_BYTES = 48 << 20, /* of frames and configurations, beyond which they are forgotten ... */
    MAX_STEP_BYTES = 96 << 20,   /* ... and what one mask may add to them */
    MAX_WORK = 8 << 20           /* steps for one mask: a fraction of a second */
};

void automaton_attend(automaton *a, facet_error *err) {
    a->err = err;
    a->n_work = 0;
}

facet_status automaton_spend(automaton *a, size_t n) {
    a->n_work += n;
    if (a->n_work <= MAX_WORK) return FACET_OK;
    return error_set(a->err, FACET_ERROR_BUDGET, "the grammar fits this text in too many ways to follow them");
}

/* ---- steps that are kept */

size_t automaton_memory_bytes(const automaton *a) {
    return a->links.n * sizeof(link) + a->frames.n * (sizeof(span) + 8) + a->ways.n * sizeof(way) +
           a->configurations.n * (sizeof(configuration) + 8) + a->steps.n * sizeof(uint32_t);
}

static facet_status new_row(automaton *a, uint32_t at) {
    if (automaton_memory_bytes(a) > (size_t)MAX_MEMORY_BYTES + MAX_STEP_BYTES)
        return error_set(a->err, FACET_ERROR_BUDGET, "the grammar needs too much memory for this text");
    FACET_TRY(automaton_reserve(a, &a->steps, a->g->n_classes, sizeof(uint32_t)));
    memset(&ITEM(a->steps, uint32_t, a->steps.n), 0xff, a->g->n_classes * sizeof(uint32_t));
    ITEM(a->configurations, configuration, at).row = (uint32_t)a->steps.n;
    a->steps.n += a->g->n_classes;
    return FACET_OK;
}

facet_status automaton_step_slowly(automaton *a, uint32_t at, uint8_t byte, uint32_t *out) {
    if (automaton_at(a, at)->row == UNKNOWN) FACET_TRY(new_row(a, at));
    FACET_TRY(automaton_make_step(a, at, byte, -1, out));
    ITEM(a->steps, uint32_t, automaton_at(a, at)->row + a->g->class_of[byte]) = *out;
    return FACET_OK;
}

facet_status automaton_token(automaton *a, uint32_t at, int32_t id, uint32_t *out) {
    return automaton_make_step(a, at, -1, id, out);
}

facet_status automaton_join(automaton *a, uint32_t one, uint32_t other, uint32_t *out) {
    *out = one == DEAD ? other : one;
    if (one == DEAD || other == DEAD) return FACET_OK;
    bool may_end = automaton_at(a, one)->may_end || automaton_at(a, other)->may_end;
    size_t n = automaton_at(a, one)->ways.n, n_other = automaton_at(a, other)->ways.n;
    FACET_TRY(automaton_reserve(a, &a->found, n + n_other, sizeof(way)));
    if (n) memcpy(a->found.items, automaton_ways(a, one), n * sizeof(way));
    if (n_other) memcpy((way *)a->found.items + n, automaton_ways(a, other), n_other * sizeof(way));
    n = automaton_sort_ways(a->found.items, n + n_other);
    return automaton_intern(a, a->found.items, n, may_end, out);
}

/* ---- life cycle */

/* The frame of the start and the configuration of no way, which come first. */
static facet_status begin(automaton *a) {
    uint32_t zero;
    a->links.n = a->frames.n = a->ways.n = a->configurations.n = a->steps.n = 0;
    FACET_TRY(automaton_reserve(a, &a->links, 1, sizeof(link)));
    FACET_TRY(automaton_reserve(a, &a->ways, 1, sizeof(way)));
    FACET_TRY(automaton_reserve(a, &a->found, 1, sizeof(way)));
    if (a->frame_slots.n) memset(a->frame_slots.items, 0, a->frame_slots.n * sizeof(uint32_t));
    if (a->configuration_slots.n)
        memset(a->configuration_slots.items, 0, a->configuration_slots.n * sizeof(uint32_t));
    FACET_TRY(automaton_intern_frame(a, 0, &zero));
    return automaton_intern(a, a->found.items, 0, false, &zero);
}

bool automaton_is_full(const automaton *a) { return automaton_memory_bytes(a) > MAX_MEMORY_BYTES; }

/* What is carried over: the frames that the ways need, with those that they lead to. */
typedef struct survivors {
    list links, frames; /* as they were */
    way *ways;
    size_t n_ways;
    uint32_t *new_id; /* of frame i; 0: not needed; frame 0 stays frame 0 */
} survivors;

/* Frames are made after those they lead to. */
static void mark_needed(survivors *s) {
    for (size_t i = 0; i < s->n_ways; i++) s->new_id[s->ways[i].frame] = 1;
    for (size_t i = s->frames.n; i-- > 1;) {
        span one = ITEM(s->frames, span, i);
        for (uint32_t k = 0; s->new_id[i] && k < one.n; k++) s->new_id[ITEM(s->links, link, one.first + k).frame] = 1;
    }
}

static facet_status carry_frame(automaton *a, survivors *s, size_t frame) {
    span one = ITEM(s->frames, span, frame);
    size_t first = a->links.n;
    FACET_TRY(automaton_reserve(a, &a->links, one.n, sizeof(link)));
    for (uint32_t k = 0; k < one.n; k++) {
        link to = ITEM(s->links, link, one.first + k);
        to.frame = to.frame ? s->new_id[to.frame] : 0;
        ITEM(a->links, link, a->links.n++) = to;
    }
    return automaton_intern_frame(a, first, &s->new_id[frame]);
}

static facet_status carry(automaton *a, survivors *s, bool may_end, uint32_t *at) {
    mark_needed(s);
    FACET_TRY(begin(a));
    for (size_t i = 1; i < s->frames.n; i++) {
        if (s->new_id[i]) FACET_TRY(carry_frame(a, s, i));
    }
    for (size_t i = 0; i < s->n_ways; i++) s->ways[i].frame = s->ways[i].frame ? s->new_id[s->ways[i].frame] : 0;
    FACET_TRY(automaton_intern(a, s->ways, automaton_sort_ways(s->ways, s->n_ways), may_end, at));
    return automaton_make_start(a, &a->start);
}

facet_status automaton_forget(automaton *a, uint32_t *at) {
    const configuration c = *automaton_at(a, *at);
    survivors s = {.links = a->links, .frames = a->frames, .n_ways = c.ways.n};
    s.ways = malloc((s.n_ways + 1) * sizeof *s.ways);
    s.new_id = calloc(s.frames.n, sizeof *s.new_id);
    facet_status status = FACET_OK;
    if (!s.ways || !s.new_id) {
        status = error_memory(a->err, s.frames.n * sizeof *s.new_id);
    } else {
        if (s.n_ways) memcpy(s.ways, automaton_ways(a, *at), s.n_ways * sizeof *s.ways);
        a->links = a->frames = (list){0};
        status = carry(a, &s, c.may_end, at);
        free(s.links.items);
        free(s.frames.items);
    }
    free(s.ways);
    free(s.new_id);
    return status;
}

facet_status automaton_init(automaton *a, const grammar *g, facet_error *err) {
    *a = (automaton){.g = g, .err = err};
    a->new_head = calloc(g->n_entries, sizeof *a->new_head);
    a->new_frame = calloc(g->n_entries, sizeof *a->new_frame);
    if (!a->new_head || !a->new_frame) return error_memory(err, g->n_entries * sizeof(uint32_t));
    FACET_TRY(begin(a));
    return automaton_make_start(a, &a->start);
}

void automaton_clear(automaton *a) {
    list *const lists[] = {
        &a->links, &a->frames, &a->frame_slots, &a->ways,  &a->steps,  &a->configurations, &a->configuration_slots,
        &a->stack, &a->met,    &a->met_used,    &a->found, &a->called, &a->new_links};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]->items);
    free(a->new_head);
    free(a->new_frame);
}
