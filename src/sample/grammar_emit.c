/* Characters as switches over bytes. See grammar_emit.h. A range of characters is cut where the bytes behind the
 * first are not all free (as in Thompson's grep and its heirs); what is left are sequences of byte ranges, whose
 * first ranges are equal or disjoint. */
#include "sample/grammar_emit.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_PATH = 6 }; /* the six bytes of \u001f */

typedef struct byte_path {
    uint8_t n;
    uint8_t lo[MAX_PATH], hi[MAX_PATH];
    uint32_t target;
} byte_path;

void emitter_free(grammar_emitter *e) {
    free(e->slots);
    free(e->paths);
    *e = (grammar_emitter){0};
}

static bool room(grammar_emitter *e, void **list, size_t n, size_t *capacity, size_t size) {
    if (n >= 4 * (size_t)GRAMMAR_MAX_NODES) e->too_large = true;
    if (emitter_failed(e)) return false;
    if (n < *capacity) return true;
    size_t more = *capacity ? *capacity * 2 : 64;
    void *bigger = realloc(*list, more * size);
    if (!bigger) {
        e->failed = true;
        return false;
    }
    *list = bigger;
    *capacity = more;
    return true;
}

uint32_t emit_node(grammar_emitter *e, grammar_node node) {
    grammar *g = e->g;
    if (g->n_nodes >= GRAMMAR_MAX_NODES) e->too_large = true;
    if (!room(e, (void **)&g->nodes, g->n_nodes, &g->nodes_capacity, sizeof *g->nodes)) return 0;
    g->nodes[g->n_nodes] = node;
    return (uint32_t)g->n_nodes++;
}

uint32_t emit_entry(grammar_emitter *e, grammar_entry entry) {
    grammar *g = e->g;
    if (!room(e, (void **)&g->entries, g->n_entries, &g->entries_capacity, sizeof *g->entries)) return 0;
    g->entries[g->n_entries] = entry;
    return (uint32_t)g->n_entries++;
}

/* ---- equal switches */

static bool same_edges(const grammar *g, const grammar_node *a, const grammar_node *b) {
    if (a->b != b->b) return false;
    for (uint32_t i = 0; i < a->b; i++) {
        const grammar_edge *x = &g->edges[a->a + i], *y = &g->edges[b->a + i];
        if (x->lo != y->lo || x->hi != y->hi || x->target != y->target) return false;
    }
    return true;
}

static size_t switch_slot(const grammar_emitter *e, const grammar_node *node) {
    const grammar *g = e->g;
    uint64_t h = node->b;
    for (uint32_t i = 0; i < node->b; i++) {
        const grammar_edge *edge = &g->edges[node->a + i];
        h = (h ^ edge->target ^ (uint64_t)edge->lo << 40 ^ (uint64_t)edge->hi << 48) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    size_t at = (size_t)(h >> 20) & (e->n_slots - 1);
    while (e->slots[at] && !same_edges(g, &g->nodes[e->slots[at] - 1], node)) at = (at + 1) & (e->n_slots - 1);
    return at;
}

static bool more_slots(grammar_emitter *e) {
    size_t n_old = e->n_slots, n = n_old ? n_old * 2 : 256;
    uint32_t *old = e->slots, *slots = calloc(n, sizeof *slots);
    if (!slots) {
        e->failed = true;
        return false;
    }
    e->slots = slots;
    e->n_slots = n;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i]) e->slots[switch_slot(e, &e->g->nodes[old[i] - 1])] = old[i];
    }
    free(old);
    return true;
}

/* The switch of the edges from `first` on, which are dropped where it is known. */
static uint32_t intern(grammar_emitter *e, size_t first) {
    grammar *g = e->g;
    grammar_node node = {.kind = NODE_SWITCH, .a = (uint32_t)first, .b = (uint32_t)(g->n_edges - first)};
    if (emitter_failed(e) || (2 * (e->n_known + 1) > e->n_slots && !more_slots(e))) return 0;
    size_t at = switch_slot(e, &node);
    if (e->slots[at]) {
        g->n_edges = first;
        return e->slots[at] - 1;
    }
    uint32_t id = emit_node(e, node);
    if (emitter_failed(e)) return 0;
    e->slots[at] = id + 1;
    e->n_known++;
    return id;
}

static void add_edge(grammar_emitter *e, size_t first, uint8_t lo, uint8_t hi, uint32_t target) {
    grammar *g = e->g;
    grammar_edge *last = g->n_edges > first ? &g->edges[g->n_edges - 1] : NULL;
    if (last && last->target == target && last->hi + 1 == lo) {
        last->hi = hi;
    } else if (room(e, (void **)&g->edges, g->n_edges, &g->edges_capacity, sizeof *g->edges)) {
        g->edges[g->n_edges++] = (grammar_edge){lo, hi, target};
    }
}

uint32_t emit_bytes(grammar_emitter *e, const char *text, size_t n, uint32_t next) {
    for (size_t i = n; i-- > 0 && !emitter_failed(e);) {
        size_t first = e->g->n_edges;
        add_edge(e, first, (uint8_t)text[i], (uint8_t)text[i], next);
        next = intern(e, first);
    }
    return next;
}

/* ---- characters */

static void add_path(grammar_emitter *e, byte_path path) {
    if (room(e, (void **)&e->paths, e->n_paths, &e->paths_capacity, sizeof *e->paths)) e->paths[e->n_paths++] = path;
}

/* A range of characters of equally many bytes. */
static void add_range(grammar_emitter *e, uint32_t lo, uint32_t hi, uint32_t target) {
    char from[4], to[4];
    size_t n = utf8_encode(lo, from);
    for (size_t i = 1; i < n; i++) {
        uint32_t low = ((uint32_t)1 << 6 * i) - 1;
        if ((lo & ~low) == (hi & ~low)) continue;
        uint32_t cut = lo & low ? lo | low : (hi & low) != low ? (hi & ~low) - 1 : 0;
        if (cut == 0) continue;
        add_range(e, lo, cut, target);
        add_range(e, cut + 1, hi, target);
        return;
    }
    utf8_encode(hi, to);
    byte_path path = {.n = (uint8_t)n, .target = target};
    memcpy(path.lo, from, n);
    memcpy(path.hi, to, n);
    add_path(e, path);
}

static void add_raw(grammar_emitter *e, uint32_t lo, uint32_t hi, uint32_t target) {
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, CODE_MAX};
    if (lo >= 0xd800 && lo <= 0xdfff) lo = 0xe000;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && lo <= hi; i++) {
        if (lo > ends[i]) continue;
        add_range(e, lo, hi < ends[i] ? hi : ends[i], target);
        lo = ends[i] + 1;
        if (lo == 0xd800) lo = 0xe000;
    }
}

static void add_spelling(grammar_emitter *e, const char *text, size_t n, uint32_t target) {
    byte_path path = {.n = (uint8_t)n, .target = target};
    memcpy(path.lo, text, n);
    memcpy(path.hi, text, n);
    add_path(e, path);
}

static void add_escape(grammar_emitter *e, uint32_t code, uint32_t target) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *at = code ? strchr(codes, (int)code) : NULL;
    char text[6] = {'\\', 'u', '0', '0', (char)('0' + (code >> 4)), 0};
    if (at) {
        text[1] = letters[at - codes];
        add_spelling(e, text, 2, target);
    } else if (code) {
        text[5] = "0123456789abcdef"[code & 15];
        add_spelling(e, text, 6, target);
        if ((code & 15) < 10) return;
        text[5] = "0123456789ABCDEF"[code & 15];
        add_spelling(e, text, 6, target);
    }
}

static bool is_escaped(uint32_t code) { return code < 0x20 || code == '"' || code == '\\'; }

void emit_characters(grammar_emitter *e, uint32_t lo, uint32_t hi, uint32_t target, bool in_json) {
    while (in_json && lo <= hi && lo <= '\\') {
        uint32_t end = lo;
        if (is_escaped(lo)) {
            add_escape(e, lo, target);
        } else {
            while (end < hi && !is_escaped(end + 1)) end++;
            add_raw(e, lo, end, target);
        }
        lo = end + 1;
    }
    if (lo <= hi) add_raw(e, lo, hi, target);
}

static int by_bytes(const void *a, const void *b) {
    const byte_path *x = a, *y = b;
    int order = memcmp(x->lo, y->lo, MAX_PATH);
    return order ? order : memcmp(x->hi, y->hi, MAX_PATH);
}

static bool same_step(const byte_path *a, const byte_path *b, size_t depth) {
    return a->lo[depth] == b->lo[depth] && a->hi[depth] == b->hi[depth];
}

static uint32_t make_switch(grammar_emitter *e, size_t first, size_t end, size_t depth);

/* The edges of paths that agree up to `depth` go to the end of the list, after those of their own switches. */
static size_t make_edges(grammar_emitter *e, size_t first, size_t end, size_t depth) {
    uint32_t targets[256];
    size_t n = 0, begins[256];
    for (size_t i = first, next; i < end && n < 256; i = next) {
        next = i + 1;
        while (next < end && same_step(&e->paths[i], &e->paths[next], depth)) next++;
        begins[n] = i;
        targets[n++] = e->paths[i].n == depth + 1 ? e->paths[i].target : make_switch(e, i, next, depth + 1);
        if (emitter_failed(e)) return 0;
    }
    size_t edges = e->g->n_edges;
    for (size_t i = 0; i < n; i++) {
        const byte_path *p = &e->paths[begins[i]];
        add_edge(e, edges, p->lo[depth], p->hi[depth], targets[i]);
    }
    return edges;
}

static uint32_t make_switch(grammar_emitter *e, size_t first, size_t end, size_t depth) {
    return intern(e, make_edges(e, first, end, depth));
}

uint32_t emit_switch(grammar_emitter *e) {
    if (e->n_paths > 1) qsort(e->paths, e->n_paths, sizeof *e->paths, by_bytes);
    uint32_t node = make_switch(e, 0, e->n_paths, 0);
    e->n_paths = 0;
    return node;
}

void emit_switch_at(grammar_emitter *e, uint32_t head) {
    if (e->n_paths > 1) qsort(e->paths, e->n_paths, sizeof *e->paths, by_bytes);
    size_t edges = make_edges(e, 0, e->n_paths, 0);
    e->n_paths = 0;
    if (emitter_failed(e)) return;
    e->g->nodes[head].a = (uint32_t)edges;
    e->g->nodes[head].b = (uint32_t)(e->g->n_edges - edges);
}
