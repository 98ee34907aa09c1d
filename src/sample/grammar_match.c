/* Following a grammar. See grammar_match.h.
 *
 * A way is a node that reads and the frame of the entry that it belongs to. A frame is a set of links: where to go on
 * when the entry ends, in which frame, and for repetitions how many rounds are then done. Frames and configurations
 * are found by their content, so equal ones are one. Frame 0 is the start's: to end there is to end the text. */
#include "sample/grammar_match.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_MEMORY_BYTES = 48 << 20, /* of frames and configurations, beyond which they are forgotten ... */
    MAX_STEP_BYTES = 96 << 20,   /* ... and what one mask may add to them */
    MAX_WORK = 8 << 20,          /* steps for one mask: a fraction of a second */
    N_MASKS = 48                 /* kept: 32 KiB each for 262144 tokens */
};

enum { DEAD = 0, UNKNOWN = UINT32_MAX }; /* configurations */
#define NEW_FRAME 0x80000000u            /* with an entry: the frame that this step makes for it */

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

typedef struct kept_mask {
    uint32_t configuration; /* DEAD: empty */
    uint64_t used;
    uint64_t *bits;
} kept_mask;

struct matcher {
    const grammar *g;
    const token_trie *trie;
    const vocab *v;
    facet_error *err; /* of the call at hand */
    uint32_t at;      /* the configuration */
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
    list new_links;     /* struct new_link */
    uint32_t *new_head; /* of entry: 1 + its last link in new_links */
    uint32_t *new_frame;
    bool may_end;
    size_t n_work;
    buffer piece;
    kept_mask masks[N_MASKS];
    uint64_t clock;
};

typedef struct new_link {
    link to; /* its frame may be NEW_FRAME */
    uint32_t next;
} new_link;

/* ---- arrays */

static facet_status reserve(matcher *m, list *l, size_t n_more, size_t size) {
    if (l->n + n_more <= l->capacity) return FACET_OK;
    size_t capacity = l->capacity ? l->capacity * 2 : 64;
    while (capacity < l->n + n_more) capacity *= 2;
    void *items = realloc(l->items, capacity * size);
    if (!items) return error_memory(m->err, capacity * size);
    l->items = items;
    l->capacity = capacity;
    return FACET_OK;
}

#define ITEM(list_, type, i) (((type *)(list_).items)[i])

static link *links_of(const matcher *m, uint32_t frame) {
    return &ITEM(m->links, link, ITEM(m->frames, span, frame).first);
}
static way *ways_of(const matcher *m, uint32_t at) {
    return &ITEM(m->ways, way, ITEM(m->configurations, configuration, at).ways.first);
}
static const configuration *configuration_at(const matcher *m, uint32_t at) {
    return &ITEM(m->configurations, configuration, at);
}

static facet_status spend(matcher *m, size_t n) {
    m->n_work += n;
    if (m->n_work <= MAX_WORK) return FACET_OK;
    return error_set(m->err, FACET_ERROR_BUDGET, "the grammar fits this text in too many ways to follow them");
}

/* ---- equal things are one */

static uint64_t hash_words(const uint32_t *words, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* A table of 1 + index over things that are spans of items. */
typedef bool (*same_fn)(const matcher *m, uint32_t index, const void *items, size_t n, bool flag);
typedef uint64_t (*hash_fn)(const matcher *m, uint32_t index);

static uint32_t *find_slot(const matcher *m, const list *slots, uint64_t hash, same_fn same, const void *items,
                           size_t n, bool flag) {
    uint32_t *table = slots->items;
    size_t mask = slots->n - 1, at = (size_t)(hash >> 20) & mask;
    while (table[at] && !(same && same(m, table[at] - 1, items, n, flag))) at = (at + 1) & mask;
    return &table[at];
}

static facet_status grow_slots(matcher *m, list *slots, size_t n_items, hash_fn hash) {
    if (slots->n > 2 * n_items) return FACET_OK;
    size_t n = slots->n ? slots->n * 2 : 1024;
    uint32_t *table = calloc(n, sizeof *table);
    if (!table) return error_memory(m->err, n * sizeof *table);
    free(slots->items);
    *slots = (list){table, n, n};
    for (uint32_t i = 0; i < n_items; i++) *find_slot(m, slots, hash(m, i), NULL, NULL, 0, false) = i + 1;
    return FACET_OK;
}

static uint64_t frame_hash(const matcher *m, uint32_t frame) {
    return hash_words((const uint32_t *)links_of(m, frame), ITEM(m->frames, span, frame).n * 3);
}

/* Empty lists may have no address. */
static bool same_bytes(const void *a, const void *b, size_t n) { return n == 0 || memcmp(a, b, n) == 0; }

static bool same_frame(const matcher *m, uint32_t frame, const void *items, size_t n, bool flag) {
    (void)flag;
    return ITEM(m->frames, span, frame).n == n && same_bytes(links_of(m, frame), items, n * sizeof(link));
}

static uint64_t configuration_hash(const matcher *m, uint32_t at) {
    const configuration *c = configuration_at(m, at);
    return hash_words((const uint32_t *)ways_of(m, at), c->ways.n * 2) + c->may_end;
}

static bool same_configuration(const matcher *m, uint32_t at, const void *items, size_t n, bool flag) {
    const configuration *c = configuration_at(m, at);
    return c->may_end == flag && c->ways.n == n && same_bytes(ways_of(m, at), items, n * sizeof(way));
}

static int by_words(const uint32_t *a, const uint32_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    }
    return 0;
}
static int by_link(const void *a, const void *b) { return by_words(a, b, 3); }
static int by_way(const void *a, const void *b) { return by_words(a, b, 2); }

static size_t sort_unique(void *items, size_t n, size_t size, int (*order)(const void *, const void *)) {
    char *base = items;
    size_t kept = 0;
    if (n > 1) qsort(items, n, size, order);
    for (size_t i = 0; i < n; i++) {
        if (kept && order(base + (kept - 1) * size, base + i * size) == 0) continue;
        if (kept != i) memcpy(base + kept * size, base + i * size, size);
        kept++;
    }
    return kept;
}

/* The frame of the links from `first` on, which are dropped where it is known. */
static facet_status intern_frame(matcher *m, size_t first, uint32_t *out) {
    size_t n = sort_unique(&ITEM(m->links, link, first), m->links.n - first, sizeof(link), by_link);
    m->links.n = first + n;
    FACET_TRY(grow_slots(m, &m->frame_slots, m->frames.n, frame_hash));
    FACET_TRY(reserve(m, &m->frames, 1, sizeof(span)));
    const link *links = &ITEM(m->links, link, first);
    uint64_t hash = hash_words((const uint32_t *)links, n * 3);
    uint32_t *slot = find_slot(m, &m->frame_slots, hash, same_frame, links, n, false);
    if (*slot) {
        m->links.n = first;
    } else {
        ITEM(m->frames, span, m->frames.n) = (span){(uint32_t)first, (uint32_t)n};
        *slot = (uint32_t)++m->frames.n;
    }
    *out = *slot - 1;
    return FACET_OK;
}

static facet_status intern_configuration(matcher *m, const way *ways, size_t n, bool may_end, uint32_t *out) {
    FACET_TRY(grow_slots(m, &m->configuration_slots, m->configurations.n, configuration_hash));
    FACET_TRY(reserve(m, &m->configurations, 1, sizeof(configuration)));
    FACET_TRY(reserve(m, &m->ways, n, sizeof(way)));
    uint64_t hash = hash_words((const uint32_t *)ways, n * 2) + may_end;
    uint32_t *slot = find_slot(m, &m->configuration_slots, hash, same_configuration, ways, n, may_end);
    if (!*slot) {
        configuration c = {.ways = {(uint32_t)m->ways.n, (uint32_t)n}, .row = UNKNOWN, .may_end = may_end};
        if (n) memcpy(&ITEM(m->ways, way, m->ways.n), ways, n * sizeof *ways);
        m->ways.n += n;
        ITEM(m->configurations, configuration, m->configurations.n) = c;
        *slot = (uint32_t)++m->configurations.n;
    }
    *out = *slot - 1;
    return FACET_OK;
}

/* ---- one step: everything that is reached without reading */

static facet_status grow_met(matcher *m) {
    size_t n = m->met.n ? m->met.n * 2 : 256, n_old = m->met_used.n;
    uint64_t *table = calloc(n, sizeof *table), *old = m->met.items;
    if (!table) return error_memory(m->err, n * sizeof *table);
    for (size_t i = 0; i < n_old; i++) {
        uint32_t *used = &ITEM(m->met_used, uint32_t, i);
        uint64_t key = old[*used];
        size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (n - 1);
        while (table[at]) at = (at + 1) & (n - 1);
        table[at] = key;
        *used = (uint32_t)at;
    }
    free(old);
    m->met = (list){table, n, n};
    return FACET_OK;
}

/* Puts a way on the stack, once. */
static facet_status visit(matcher *m, uint32_t node, uint32_t frame) {
    FACET_TRY(spend(m, 1));
    if (m->met.n <= 2 * (m->met_used.n + 1)) FACET_TRY(grow_met(m));
    FACET_TRY(reserve(m, &m->met_used, 1, sizeof(uint32_t)));
    FACET_TRY(reserve(m, &m->stack, 1, sizeof(way)));
    uint64_t key = ((uint64_t)node << 32 | frame) + 1, *table = m->met.items;
    size_t at = (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (m->met.n - 1);
    for (; table[at]; at = (at + 1) & (m->met.n - 1)) {
        if (table[at] == key) return FACET_OK;
    }
    table[at] = key;
    ITEM(m->met_used, uint32_t, m->met_used.n++) = (uint32_t)at;
    ITEM(m->stack, way, m->stack.n++) = (way){node, frame};
    return FACET_OK;
}

static facet_status call(matcher *m, uint32_t entry, link to) {
    if (!m->new_head[entry]) {
        FACET_TRY(reserve(m, &m->called, 1, sizeof(uint32_t)));
        ITEM(m->called, uint32_t, m->called.n++) = entry;
        FACET_TRY(visit(m, m->g->entries[entry].start, NEW_FRAME | entry));
    }
    FACET_TRY(spend(m, 1));
    FACET_TRY(reserve(m, &m->new_links, 1, sizeof(new_link)));
    ITEM(m->new_links, new_link, m->new_links.n) = (new_link){to, m->new_head[entry]};
    m->new_head[entry] = (uint32_t)++m->new_links.n;
    return FACET_OK;
}

/* Before a round of a repetition of which `rounds` are done. Beyond the minimum an endless one stops counting. */
static facet_status repeat(matcher *m, uint32_t node, uint32_t rounds, uint32_t frame) {
    const grammar_node *n = &m->g->nodes[node];
    if (rounds >= n->min) FACET_TRY(visit(m, n->b, frame));
    if (rounds >= n->max) return FACET_OK;
    bool counts = n->max != EXPR_NO_MAX || rounds < n->min;
    return call(m, n->a, (link){node, counts ? rounds + 1 : rounds, frame});
}

static facet_status end_entry(matcher *m, uint32_t frame) {
    if (frame & NEW_FRAME) return FACET_OK; /* it matched nothing: who called has gone on */
    if (frame == 0) m->may_end = true;
    span s = ITEM(m->frames, span, frame);
    for (uint32_t i = 0; i < s.n; i++) {
        link to = ITEM(m->links, link, s.first + i);
        FACET_TRY(to.rounds ? repeat(m, to.node, to.rounds, to.frame) : visit(m, to.node, to.frame));
    }
    return FACET_OK;
}

static facet_status look_at(matcher *m, way w) {
    const grammar_node *n = &m->g->nodes[w.node];
    switch (n->kind) {
    case NODE_SPLIT: FACET_TRY(visit(m, n->a, w.frame)); return visit(m, n->b, w.frame);
    case NODE_CALL:
        if (m->g->entries[n->a].nullable) FACET_TRY(visit(m, n->b, w.frame));
        return call(m, n->a, (link){n->b, 0, w.frame});
    case NODE_REPEAT: return repeat(m, w.node, 0, w.frame);
    case NODE_END: return end_entry(m, w.frame);
    case NODE_SWITCH:
        if (n->b == 0) return FACET_OK;
        break;
    default: break;
    }
    FACET_TRY(reserve(m, &m->found, 1, sizeof(way)));
    ITEM(m->found, way, m->found.n++) = w;
    return FACET_OK;
}

static facet_status look_around(matcher *m) {
    while (m->stack.n) FACET_TRY(look_at(m, ITEM(m->stack, way, --m->stack.n)));
    return FACET_OK;
}

static uint32_t real_frame(const matcher *m, uint32_t frame) {
    return frame & NEW_FRAME ? m->new_frame[frame & ~NEW_FRAME] : frame;
}

/* The frame of an entry that was called. Where the last thing to do in a frame was to call, its own links are taken
 * instead: so that right recursion needs no depth. */
static facet_status make_frame(matcher *m, uint32_t entry) {
    size_t first = m->links.n;
    for (uint32_t i = m->new_head[entry]; i; i = ITEM(m->new_links, new_link, i - 1).next) {
        link to = ITEM(m->new_links, new_link, i - 1).to;
        to.frame = real_frame(m, to.frame);
        bool last = to.rounds == 0 && m->g->nodes[to.node].kind == NODE_END && to.frame != 0;
        span s = last ? ITEM(m->frames, span, to.frame) : (span){0, 1};
        FACET_TRY(spend(m, s.n));
        FACET_TRY(reserve(m, &m->links, s.n, sizeof(link)));
        if (last)
            memcpy(&ITEM(m->links, link, m->links.n), &ITEM(m->links, link, s.first), s.n * sizeof(link));
        else
            ITEM(m->links, link, m->links.n) = to;
        m->links.n += s.n;
    }
    return intern_frame(m, first, &m->new_frame[entry]);
}

static void sort_called(matcher *m) { /* callers first; few */
    uint32_t *called = m->called.items;
    for (size_t i = 1; i < m->called.n; i++) {
        uint32_t one = called[i];
        size_t k = i;
        for (; k && m->g->entries[called[k - 1]].rank < m->g->entries[one].rank; k--) called[k] = called[k - 1];
        called[k] = one;
    }
}

static void clear_step(matcher *m) {
    for (size_t i = 0; i < m->called.n; i++) m->new_head[ITEM(m->called, uint32_t, i)] = 0;
    for (size_t i = 0; i < m->met_used.n; i++) ITEM(m->met, uint64_t, ITEM(m->met_used, uint32_t, i)) = 0;
    m->stack.n = m->met_used.n = m->found.n = m->called.n = m->new_links.n = 0;
    m->may_end = false;
}

static facet_status finish_step(matcher *m, uint32_t *out) {
    FACET_TRY(look_around(m));
    FACET_TRY(spend(m, m->called.n * m->called.n / 4));
    sort_called(m);
    for (size_t i = 0; i < m->called.n; i++) FACET_TRY(make_frame(m, ITEM(m->called, uint32_t, i)));
    for (size_t i = 0; i < m->found.n; i++) {
        way *w = &ITEM(m->found, way, i);
        w->frame = real_frame(m, w->frame);
    }
    size_t n = m->found.n ? sort_unique(m->found.items, m->found.n, sizeof(way), by_way) : 0;
    return intern_configuration(m, m->found.items, n, m->may_end, out);
}

static uint32_t follow(const grammar *g, const grammar_node *n, uint8_t byte) {
    for (uint32_t i = n->a; i < n->a + n->b; i++) {
        if (byte <= g->edges[i].hi) return byte >= g->edges[i].lo ? g->edges[i].target : GRAMMAR_NONE;
    }
    return GRAMMAR_NONE;
}

/* Every way that reads `byte`, or token `id` where byte is negative. */
static facet_status start_step(matcher *m, uint32_t at, int byte, int32_t id) {
    size_t n = configuration_at(m, at)->ways.n;
    FACET_TRY(spend(m, n));
    for (size_t i = 0; i < n; i++) {
        way w = ways_of(m, at)[i];
        const grammar_node *node = &m->g->nodes[w.node];
        uint32_t to = GRAMMAR_NONE;
        if (node->kind == NODE_SWITCH && byte >= 0) to = follow(m->g, node, (uint8_t)byte);
        if (node->kind == NODE_TOKEN && byte < 0 && node->a == (uint32_t)id) to = node->b;
        if (to != GRAMMAR_NONE) FACET_TRY(visit(m, to, w.frame));
    }
    return FACET_OK;
}

static facet_status make_step(matcher *m, uint32_t at, int byte, int32_t id, uint32_t *out) {
    facet_status status = start_step(m, at, byte, id);
    if (status == FACET_OK) status = finish_step(m, out);
    clear_step(m);
    return status;
}

/* ---- steps that are kept */

static size_t memory_bytes(const matcher *m) {
    return m->links.n * sizeof(link) + m->frames.n * (sizeof(span) + 8) + m->ways.n * sizeof(way) +
           m->configurations.n * (sizeof(configuration) + 8) + m->steps.n * sizeof(uint32_t);
}

static facet_status new_row(matcher *m, uint32_t at) {
    if (memory_bytes(m) > (size_t)MAX_MEMORY_BYTES + MAX_STEP_BYTES)
        return error_set(m->err, FACET_ERROR_BUDGET, "the grammar needs too much memory for this text");
    FACET_TRY(reserve(m, &m->steps, m->g->n_classes, sizeof(uint32_t)));
    memset(&ITEM(m->steps, uint32_t, m->steps.n), 0xff, m->g->n_classes * sizeof(uint32_t));
    ITEM(m->configurations, configuration, at).row = (uint32_t)m->steps.n;
    m->steps.n += m->g->n_classes;
    return FACET_OK;
}

static facet_status step_slowly(matcher *m, uint32_t at, uint8_t byte, uint32_t *out) {
    if (configuration_at(m, at)->row == UNKNOWN) FACET_TRY(new_row(m, at));
    FACET_TRY(make_step(m, at, byte, -1, out));
    ITEM(m->steps, uint32_t, configuration_at(m, at)->row + m->g->class_of[byte]) = *out;
    return FACET_OK;
}

static inline uint32_t known_step(const matcher *m, uint32_t at, uint8_t byte) {
    uint32_t row = configuration_at(m, at)->row;
    return row == UNKNOWN ? UNKNOWN : ITEM(m->steps, uint32_t, row + m->g->class_of[byte]);
}

static facet_status step(matcher *m, uint32_t at, uint8_t byte, uint32_t *out) {
    *out = known_step(m, at, byte);
    return *out != UNKNOWN ? FACET_OK : step_slowly(m, at, byte, out);
}

/* ---- masks */

/* How many plain characters in a row can be read with the text staying where any plain character may follow;
 * UINT32_MAX for any number. */
static uint32_t plain_run(const matcher *m, uint32_t at) {
    uint32_t longest = 0;
    const way *ways = ways_of(m, at);
    for (uint32_t i = 0; i < configuration_at(m, at)->ways.n; i++) {
        const grammar_node *n = &m->g->nodes[ways[i].node];
        if (n->kind != NODE_SWITCH) continue;
        if (n->loop) return UINT32_MAX;
        const link *links = links_of(m, ways[i].frame);
        for (uint32_t k = 0; k < ITEM(m->frames, span, ways[i].frame).n; k++) {
            const grammar_node *from = &m->g->nodes[links[k].node];
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
    FACET_TRY(spend(m, t->n_nodes / 16));
    for (size_t i = 1; i < t->n_nodes;) {
        const trie_node *n = &t->nodes[i];
        if (n->plain <= skip) {
            i = n->end;
            continue;
        }
        uint32_t to = known_step(m, at[n->depth - 1], n->byte);
        if (to == UNKNOWN) FACET_TRY(step_slowly(m, at[n->depth - 1], n->byte, &to));
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
    const configuration *c = configuration_at(m, m->at);
    const way *ways = ways_of(m, m->at);
    for (uint32_t i = 0; i < c->ways.n; i++) {
        const grammar_node *n = &m->g->nodes[ways[i].node];
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

static facet_status forget(matcher *m);

facet_status matcher_mask(matcher *m, const uint64_t **mask, facet_error *err) {
    m->err = err;
    m->n_work = 0;
    if (memory_bytes(m) > MAX_MEMORY_BYTES) FACET_TRY(forget(m));
    kept_mask *k = find_mask(m);
    k->used = ++m->clock;
    if (k->configuration != m->at) {
        size_t n_bytes = mask_words(m->trie->n_vocab) * sizeof *k->bits;
        k->configuration = DEAD;
        if (!k->bits && !(k->bits = malloc(n_bytes))) return error_memory(err, n_bytes);
        FACET_TRY(fill(m, k->bits));
        k->configuration = m->at;
    }
    *mask = k->bits;
    return FACET_OK;
}

/* ---- going on */

static facet_status not_permitted(matcher *m) {
    return error_set(m->err, FACET_ERROR_ARGUMENT, "the grammar does not permit this token here");
}

static facet_status step_bytes(matcher *m, uint32_t *at, const char *text, size_t n) {
    for (size_t i = 0; i < n && *at != DEAD; i++) FACET_TRY(step(m, *at, (uint8_t)text[i], at));
    return FACET_OK;
}

facet_status matcher_accept_bytes(matcher *m, const char *text, size_t n, facet_error *err) {
    m->err = err;
    m->n_work = 0;
    if (memory_bytes(m) > MAX_MEMORY_BYTES) FACET_TRY(forget(m));
    uint32_t at = m->at;
    FACET_TRY(step_bytes(m, &at, text, n));
    if (at == DEAD) return not_permitted(m);
    m->at = at;
    return FACET_OK;
}

/* A token that the grammar names and whose text it permits as well is followed both ways. */
static facet_status join(matcher *m, uint32_t one, uint32_t other, uint32_t *out) {
    *out = one == DEAD ? other : one;
    if (one == DEAD || other == DEAD) return FACET_OK;
    bool may_end = configuration_at(m, one)->may_end || configuration_at(m, other)->may_end;
    size_t n = configuration_at(m, one)->ways.n, n_other = configuration_at(m, other)->ways.n;
    FACET_TRY(reserve(m, &m->found, n + n_other, sizeof(way)));
    if (n) memcpy(m->found.items, ways_of(m, one), n * sizeof(way));
    if (n_other) memcpy((way *)m->found.items + n, ways_of(m, other), n_other * sizeof(way));
    n = sort_unique(m->found.items, n + n_other, sizeof(way), by_way);
    return intern_configuration(m, m->found.items, n, may_end, out);
}

facet_status matcher_accept(matcher *m, int32_t id, facet_error *err) {
    m->err = err;
    m->n_work = 0;
    if (id < 0 || (size_t)id >= m->trie->n_vocab) return not_permitted(m);
    if (memory_bytes(m) > MAX_MEMORY_BYTES) FACET_TRY(forget(m));
    uint32_t named, spelt = DEAD, at;
    FACET_TRY(make_step(m, m->at, -1, id, &named));
    if (!vocab_is_control(m->v, id)) {
        buffer_clear(&m->piece);
        if (!vocab_piece(m->v, id, &m->piece)) return error_memory(err, m->piece.n);
        spelt = m->at;
        FACET_TRY(step_bytes(m, &spelt, m->piece.data, m->piece.n));
    }
    FACET_TRY(join(m, named, spelt, &at));
    if (at == DEAD) return not_permitted(m);
    m->at = at;
    return FACET_OK;
}

bool matcher_may_end(const matcher *m) { return configuration_at(m, m->at)->may_end; }
bool matcher_finished(const matcher *m) { return matcher_may_end(m) && configuration_at(m, m->at)->ways.n == 0; }

/* ---- life cycle */

/* The frame of the start and the configuration of no way, which come first. */
static facet_status begin(matcher *m) {
    uint32_t zero;
    m->links.n = m->frames.n = m->ways.n = m->configurations.n = m->steps.n = 0;
    FACET_TRY(reserve(m, &m->links, 1, sizeof(link)));
    FACET_TRY(reserve(m, &m->ways, 1, sizeof(way)));
    FACET_TRY(reserve(m, &m->found, 1, sizeof(way)));
    if (m->frame_slots.n) memset(m->frame_slots.items, 0, m->frame_slots.n * sizeof(uint32_t));
    if (m->configuration_slots.n)
        memset(m->configuration_slots.items, 0, m->configuration_slots.n * sizeof(uint32_t));
    for (size_t i = 0; i < N_MASKS; i++) m->masks[i].configuration = DEAD;
    FACET_TRY(intern_frame(m, 0, &zero));
    return intern_configuration(m, m->found.items, 0, false, &zero);
}

static facet_status find_start(matcher *m) {
    facet_status status = visit(m, m->g->entries[0].start, 0);
    if (status == FACET_OK) status = finish_step(m, &m->start);
    clear_step(m);
    return status;
}

/* Forgets everything but the frames behind the configuration at hand. Frames are made after those they lead to. */
static facet_status forget(matcher *m) {
    list links = m->links, frames = m->frames;
    const configuration c = *configuration_at(m, m->at);
    size_t n_ways = c.ways.n;
    way *ways = malloc((n_ways + 1) * sizeof *ways);
    uint32_t *new_id = calloc(frames.n, sizeof *new_id); /* 0: not needed; frame 0 stays frame 0 */
    m->links = m->frames = (list){0};
    facet_status status = ways && new_id ? FACET_OK : error_memory(m->err, frames.n * sizeof *new_id);
    if (status == FACET_OK && n_ways) memcpy(ways, ways_of(m, m->at), n_ways * sizeof *ways);
    for (size_t i = 0; status == FACET_OK && i < n_ways; i++) new_id[ways[i].frame] = 1;
    for (size_t i = frames.n; status == FACET_OK && i-- > 1;) {
        span s = ITEM(frames, span, i);
        for (uint32_t k = 0; new_id[i] && k < s.n; k++) new_id[ITEM(links, link, s.first + k).frame] = 1;
    }
    if (status == FACET_OK) status = begin(m);
    for (size_t i = 1; status == FACET_OK && i < frames.n; i++) {
        span s = ITEM(frames, span, i);
        size_t first = m->links.n;
        if (!new_id[i]) continue;
        status = reserve(m, &m->links, s.n, sizeof(link));
        for (uint32_t k = 0; status == FACET_OK && k < s.n; k++) {
            link to = ITEM(links, link, s.first + k);
            to.frame = to.frame ? new_id[to.frame] : 0;
            ITEM(m->links, link, m->links.n++) = to;
        }
        if (status == FACET_OK) status = intern_frame(m, first, &new_id[i]);
    }
    for (size_t i = 0; status == FACET_OK && i < n_ways; i++)
        ways[i].frame = ways[i].frame ? new_id[ways[i].frame] : 0;
    if (status == FACET_OK) n_ways = n_ways ? sort_unique(ways, n_ways, sizeof *ways, by_way) : 0;
    if (status == FACET_OK) status = intern_configuration(m, ways, n_ways, c.may_end, &m->at);
    if (status == FACET_OK) status = find_start(m);
    free(ways);
    free(new_id);
    free(links.items);
    free(frames.items);
    return status;
}

facet_status matcher_new(matcher **out, const grammar *g, const token_trie *trie, const vocab *v, facet_error *err) {
    *out = NULL;
    matcher *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    m->g = g;
    m->trie = trie;
    m->v = v;
    m->err = err;
    m->new_head = calloc(g->n_entries, sizeof *m->new_head);
    m->new_frame = calloc(g->n_entries, sizeof *m->new_frame);
    facet_status status = m->new_head && m->new_frame ? FACET_OK : error_memory(err, g->n_entries * sizeof(uint32_t));
    if (status == FACET_OK) status = begin(m);
    if (status == FACET_OK) status = find_start(m);
    m->at = m->start;
    if (status == FACET_OK)
        *out = m;
    else
        matcher_free(m);
    return status;
}

void matcher_reset(matcher *m) { m->at = m->start; }

void matcher_free(matcher *m) {
    if (!m) return;
    list *const lists[] = {
        &m->links, &m->frames, &m->frame_slots, &m->ways,  &m->steps,  &m->configurations, &m->configuration_slots,
        &m->stack, &m->met,    &m->met_used,    &m->found, &m->called, &m->new_links};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]->items);
    for (size_t i = 0; i < N_MASKS; i++) free(m->masks[i].bits);
    free(m->new_head);
    free(m->new_frame);
    buffer_free(&m->piece);
    free(m);
}
