/* One step of the automaton: everything that is reached without reading. See automaton.h. */
#include <stdlib.h>

#include "sample/automaton_parts.h"

#define NEW_FRAME 0x80000000u /* with an entry: the frame that this step makes for it */

typedef struct new_link {
    link to; /* its frame may be NEW_FRAME */
    uint32_t next;
} new_link;

static facet_status grow_met(automaton *a) {
    size_t n = a->met.n ? a->met.n * 2 : 256, n_old = a->met_used.n;
    uint64_t *table = calloc(n, sizeof *table), *old = a->met.items;
    if (!table) return error_memory(a->err, n * sizeof *table);
    for (size_t i = 0; i < n_old; i++) {
        uint32_t *used = &ITEM(a->met_used, uint32_t, i);
        uint64_t key = old[*used];
        size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (n - 1);
        while (table[at]) at = (at + 1) & (n - 1);
        table[at] = key;
        *used = (uint32_t)at;
    }
    free(old);
    a->met = (list){table, n, n};
    return FACET_OK;
}

/* Puts a way on the stack, once. */
static facet_status visit(automaton *a, uint32_t node, uint32_t frame) {
    FACET_TRY(automaton_spend(a, 1));
    if (a->met.n <= 2 * (a->met_used.n + 1)) FACET_TRY(grow_met(a));
    FACET_TRY(automaton_reserve(a, &a->met_used, 1, sizeof(uint32_t)));
    FACET_TRY(automaton_reserve(a, &a->stack, 1, sizeof(way)));
    uint64_t key = ((uint64_t)node << 32 | frame) + 1, *table = a->met.items;
    size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (a->met.n - 1);
    for (; table[at]; at = (at + 1) & (a->met.n - 1)) {
        if (table[at] == key) return FACET_OK;
    }
    table[at] = key;
    ITEM(a->met_used, uint32_t, a->met_used.n++) = (uint32_t)at;
    ITEM(a->stack, way, a->stack.n++) = (way){node, frame};
    return FACET_OK;
}

static facet_status call(automaton *a, uint32_t entry, link to) {
    if (!a->new_head[entry]) {
        FACET_TRY(automaton_reserve(a, &a->called, 1, sizeof(uint32_t)));
        ITEM(a->called, uint32_t, a->called.n++) = entry;
        FACET_TRY(visit(a, a->g->entries[entry].start, NEW_FRAME | entry));
    }
    FACET_TRY(automaton_spend(a, 1));
    FACET_TRY(automaton_reserve(a, &a->new_links, 1, sizeof(new_link)));
    ITEM(a->new_links, new_link, a->new_links.n) = (new_link){to, a->new_head[entry]};
    a->new_head[entry] = (uint32_t)++a->new_links.n;
    return FACET_OK;
}

/* Before a round of a repetition of which `rounds` are done. Beyond the minimum an endless one stops counting. */
static facet_status repeat(automaton *a, uint32_t node, uint32_t rounds, uint32_t frame) {
    const grammar_node *n = &a->g->nodes[node];
    if (rounds >= n->min) FACET_TRY(visit(a, n->b, frame));
    if (rounds >= n->max) return FACET_OK;
    bool counts = n->max != EXPR_NO_MAX || rounds < n->min;
    return call(a, n->a, (link){node, counts ? rounds + 1 : rounds, frame});
}

static facet_status end_entry(automaton *a, uint32_t frame) {
    if (frame & NEW_FRAME) return FACET_OK; /* it matched nothing: who called has gone on */
    if (frame == 0) a->may_end = true;
    span s = ITEM(a->frames, span, frame);
    for (uint32_t i = 0; i < s.n; i++) {
        link to = ITEM(a->links, link, s.first + i);
        FACET_TRY(to.rounds ? repeat(a, to.node, to.rounds, to.frame) : visit(a, to.node, to.frame));
    }
    return FACET_OK;
}

static facet_status look_at(automaton *a, way w) {
    const grammar_node *n = &a->g->nodes[w.node];
    switch (n->kind) {
    case NODE_SPLIT: FACET_TRY(visit(a, n->a, w.frame)); return visit(a, n->b, w.frame);
    case NODE_CALL:
        if (a->g->entries[n->a].nullable) FACET_TRY(visit(a, n->b, w.frame));
        return call(a, n->a, (link){n->b, 0, w.frame});
    case NODE_REPEAT: return repeat(a, w.node, 0, w.frame);
    case NODE_END: return end_entry(a, w.frame);
    case NODE_SWITCH:
        if (n->b == 0) return FACET_OK;
        break;
    default: break;
    }
    FACET_TRY(automaton_reserve(a, &a->found, 1, sizeof(way)));
    ITEM(a->found, way, a->found.n++) = w;
    return FACET_OK;
}

static facet_status look_around(automaton *a) {
    while (a->stack.n) FACET_TRY(look_at(a, ITEM(a->stack, way, --a->stack.n)));
    return FACET_OK;
}

static uint32_t real_frame(const automaton *a, uint32_t frame) {
    return frame & NEW_FRAME ? a->new_frame[frame & ~NEW_FRAME] : frame;
}

/* The frame of an entry that was called. Where the last thing to do in a frame was to call, its own links are taken
 * instead: so that right recursion needs no depth. */
static facet_status make_frame(automaton *a, uint32_t entry) {
    size_t first = a->links.n;
    for (uint32_t i = a->new_head[entry]; i; i = ITEM(a->new_links, new_link, i - 1).next) {
        link to = ITEM(a->new_links, new_link, i - 1).to;
        to.frame = real_frame(a, to.frame);
        bool last = to.rounds == 0 && a->g->nodes[to.node].kind == NODE_END && to.frame != 0;
        span s = last ? ITEM(a->frames, span, to.frame) : (span){0, 1};
        FACET_TRY(automaton_spend(a, s.n));
        FACET_TRY(automaton_reserve(a, &a->links, s.n, sizeof(link)));
        if (last)
            memcpy(&ITEM(a->links, link, a->links.n), &ITEM(a->links, link, s.first), s.n * sizeof(link));
        else
            ITEM(a->links, link, a->links.n) = to;
        a->links.n += s.n;
    }
    return automaton_intern_frame(a, first, &a->new_frame[entry]);
}

static void sort_called(automaton *a) { /* callers first; few */
    uint32_t *called = a->called.items;
    for (size_t i = 1; i < a->called.n; i++) {
        uint32_t one = called[i];
        size_t k = i;
        for (; k && a->g->entries[called[k - 1]].rank < a->g->entries[one].rank; k--) called[k] = called[k - 1];
        called[k] = one;
    }
}

static void clear_step(automaton *a) {
    for (size_t i = 0; i < a->called.n; i++) a->new_head[ITEM(a->called, uint32_t, i)] = 0;
    for (size_t i = 0; i < a->met_used.n; i++) ITEM(a->met, uint64_t, ITEM(a->met_used, uint32_t, i)) = 0;
    a->stack.n = a->met_used.n = a->found.n = a->called.n = a->new_links.n = 0;
    a->may_end = false;
}

static facet_status finish_step(automaton *a, uint32_t *out) {
    FACET_TRY(look_around(a));
    FACET_TRY(automaton_spend(a, a->called.n * a->called.n / 4));
    sort_called(a);
    for (size_t i = 0; i < a->called.n; i++) FACET_TRY(make_frame(a, ITEM(a->called, uint32_t, i)));
    for (size_t i = 0; i < a->found.n; i++) {
        way *w = &ITEM(a->found, way, i);
        w->frame = real_frame(a, w->frame);
    }
    size_t n = automaton_sort_ways(a->found.items, a->found.n);
    return automaton_intern(a, a->found.items, n, a->may_end, out);
}

static uint32_t follow(const grammar *g, const grammar_node *n, uint8_t byte) {
    for (uint32_t i = n->a; i < n->a + n->b; i++) {
        if (byte <= g->edges[i].hi) return byte >= g->edges[i].lo ? g->edges[i].target : GRAMMAR_NONE;
    }
    return GRAMMAR_NONE;
}

/* Every way that reads `byte`, or token `id` where byte is negative. */
static facet_status start_step(automaton *a, uint32_t at, int byte, int32_t id) {
    size_t n = automaton_at(a, at)->ways.n;
    FACET_TRY(automaton_spend(a, n));
    for (size_t i = 0; i < n; i++) {
        way w = automaton_ways(a, at)[i];
        const grammar_node *node = &a->g->nodes[w.node];
        uint32_t to = GRAMMAR_NONE;
        if (node->kind == NODE_SWITCH && byte >= 0) to = follow(a->g, node, (uint8_t)byte);
        if (node->kind == NODE_TOKEN && byte < 0 && node->a == (uint32_t)id) to = node->b;
        if (to != GRAMMAR_NONE) FACET_TRY(visit(a, to, w.frame));
    }
    return FACET_OK;
}

facet_status automaton_make_step(automaton *a, uint32_t at, int byte, int32_t id, uint32_t *out) {
    facet_status status = start_step(a, at, byte, id);
    if (status == FACET_OK) status = finish_step(a, out);
    clear_step(a);
    return status;
}

facet_status automaton_make_start(automaton *a, uint32_t *out) {
    facet_status status = visit(a, a->g->entries[0].start, 0);
    if (status == FACET_OK) status = finish_step(a, out);
    clear_step(a);
    return status;
}
