/* Regular languages as deterministic automata. See schema_lang.h. */
#include "sample/schema_lang.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

void lang_free(lang *l) {
    if (!l) return;
    free(l->starts);
    free(l->next);
    free(l->accept);
    free(l);
}

/* ---- characters */

static int by_start(const void *a, const void *b) {
    const code_range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

code_range *lang_normalise(const code_range *ranges, size_t n, bool negate, size_t *n_out) {
    code_range *out = malloc((n + 1) * sizeof *out);
    size_t kept = 0;
    if (!out) return NULL;
    if (n) memcpy(out, ranges, n * sizeof *out);
    if (n > 1) qsort(out, n, sizeof *out, by_start);
    for (size_t i = 0; i < n; i++) {
        if (kept && out[i].lo <= out[kept - 1].hi + 1) {
            if (out[i].hi > out[kept - 1].hi) out[kept - 1].hi = out[i].hi;
        } else {
            out[kept++] = out[i];
        }
    }
    *n_out = kept;
    if (!negate) return out;
    uint32_t from = 0;
    size_t holes = 0;
    for (size_t i = 0; i < kept; i++) { /* the hole before range i goes where range i - 1 was, or earlier */
        code_range r = out[i];
        if (r.lo > from) out[holes++] = (code_range){from, r.lo - 1};
        from = r.hi + 1;
    }
    if (from <= CODE_MAX) out[holes++] = (code_range){from, CODE_MAX};
    *n_out = holes;
    return out;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t sort_unique(uint32_t *list, size_t n) {
    size_t kept = 0;
    if (n > 1) qsort(list, n, sizeof *list, by_value);
    for (size_t i = 0; i < n; i++) {
        if (list[i] <= CODE_MAX && (kept == 0 || list[i] != list[kept - 1])) list[kept++] = list[i];
    }
    return kept;
}

uint32_t *lang_borders(const code_range *ranges, size_t n, size_t *n_out) {
    uint32_t *out = malloc((2 * n + 1) * sizeof *out);
    if (!out) return NULL;
    out[0] = 0;
    for (size_t i = 0; i < n; i++) {
        out[2 * i + 1] = ranges[i].lo;
        out[2 * i + 2] = ranges[i].hi + 1;
    }
    *n_out = sort_unique(out, 2 * n + 1);
    return out;
}

static size_t find_interval(const uint32_t *starts, size_t n, uint32_t code) {
    size_t lo = 0, hi = n;
    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;
        if (starts[middle] <= code)
            lo = middle;
        else
            hi = middle;
    }
    return lo;
}

size_t lang_interval(const lang *l, uint32_t code) { return find_interval(l->starts, l->n_intervals, code); }

bool lang_has(const lang *l, const char *text, size_t n) {
    uint32_t state = 0, code;
    if (l->n_states == 0) return false;
    for (size_t i = 0, step; i < n; i += step) {
        step = utf8_decode(text + i, n - i, &code);
        if (step == 0) return false;
        state = l->next[state * l->n_intervals + lang_interval(l, code)];
        if (state == LANG_DEAD) return false;
    }
    return l->accept[state];
}

/* ---- exploring */

typedef struct explorer {
    lang *l;
    size_t capacity;
    uint64_t *keys;  /* of the states */
    uint32_t *slots; /* 1 + state */
    size_t n_slots;
    facet_error *err;
} explorer;

static facet_status too_large(facet_error *err) {
    return error_set(err, FACET_ERROR_UNSUPPORTED, "needs an automaton of more than %d states", LANG_MAX_STATES);
}

static size_t key_slot(const explorer *e, uint64_t key) {
    uint64_t h = (key ^ key >> 31) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h >> 32) & (e->n_slots - 1);
    while (e->slots[at] && e->keys[e->slots[at] - 1] != key) at = (at + 1) & (e->n_slots - 1);
    return at;
}

static bool more_states(explorer *e) {
    size_t capacity = e->capacity ? e->capacity * 2 : 64;
    uint64_t *keys = realloc(e->keys, capacity * sizeof *keys);
    if (keys) e->keys = keys;
    uint32_t *next = realloc(e->l->next, capacity * e->l->n_intervals * sizeof *next);
    if (next) e->l->next = next;
    bool *accept = realloc(e->l->accept, capacity * sizeof *accept);
    if (accept) e->l->accept = accept;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!keys || !next || !accept || !slots) {
        free(slots);
        return false;
    }
    free(e->slots);
    e->slots = slots;
    e->n_slots = capacity * 2;
    e->capacity = capacity;
    for (size_t i = 0; i < e->l->n_states; i++) e->slots[key_slot(e, e->keys[i])] = (uint32_t)i + 1;
    return true;
}

static facet_status state_of(explorer *e, uint64_t key, uint32_t *state) {
    size_t at = e->n_slots ? key_slot(e, key) : 0;
    if (e->n_slots && e->slots[at]) {
        *state = e->slots[at] - 1;
        return FACET_OK;
    }
    if (e->l->n_states >= LANG_MAX_STATES || (e->l->n_states + 1) * e->l->n_intervals > LANG_MAX_CELLS)
        return too_large(e->err);
    if (e->l->n_states == e->capacity) {
        if (!more_states(e)) return error_memory(e->err, e->capacity * sizeof(uint64_t));
        at = key_slot(e, key);
    }
    *state = (uint32_t)e->l->n_states++;
    e->keys[*state] = key;
    e->slots[at] = *state + 1;
    return FACET_OK;
}

static facet_status explore_all(explorer *e, const lang_machine *m) {
    lang *l = e->l;
    uint32_t state;
    FACET_TRY(state_of(e, m->start, &state));
    for (size_t i = 0; i < l->n_states; i++) {
        uint64_t key = e->keys[i], to;
        l->accept[i] = m->accept(m->ctx, key);
        for (size_t c = 0; c < l->n_intervals; c++) {
            state = LANG_DEAD;
            if (m->step(m->ctx, key, c, &to)) FACET_TRY(state_of(e, to, &state));
            l->next[i * l->n_intervals + c] = state;
        }
    }
    return lang_trim(l, e->err);
}

facet_status lang_explore(lang **out, uint32_t *starts, size_t n_intervals, const lang_machine *machine,
                          facet_error *err) {
    *out = NULL;
    lang *l = starts ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        free(starts);
        return error_memory(err, sizeof *l);
    }
    l->starts = starts;
    l->n_intervals = n_intervals;
    explorer e = {.l = l, .err = err};
    facet_status status = explore_all(&e, machine);
    free(e.keys);
    free(e.slots);
    if (status == FACET_OK)
        *out = l;
    else
        lang_free(l);
    return status;
}

/* ---- trimming */

/* Marks the states from which an end is reached: backwards along the edges, which are sorted by where they lead. */
static bool mark_alive(const lang *l, bool *alive) {
    size_t n_cells = l->n_states * l->n_intervals, n_queue = 0;
    uint32_t *first = calloc(l->n_states + 2, sizeof *first), *from = malloc((n_cells + 1) * sizeof *from);
    uint32_t *queue = malloc((l->n_states + 1) * sizeof *queue);
    bool ok = first && from && queue;
    for (size_t i = 0; ok && i < n_cells; i++) {
        if (l->next[i] != LANG_DEAD) first[l->next[i] + 2]++;
    }
    for (size_t s = 2; ok && s < l->n_states + 2; s++) first[s] += first[s - 1];
    for (size_t i = 0; ok && i < n_cells; i++) {
        if (l->next[i] != LANG_DEAD) from[first[l->next[i] + 1]++] = (uint32_t)(i / l->n_intervals);
    }
    for (uint32_t s = 0; ok && s < l->n_states; s++) {
        if ((alive[s] = l->accept[s])) queue[n_queue++] = s;
    }
    for (size_t i = 0; ok && i < n_queue; i++) {
        for (uint32_t edge = first[queue[i]]; edge < first[queue[i] + 1]; edge++) {
            if (alive[from[edge]]) continue;
            alive[from[edge]] = true;
            queue[n_queue++] = from[edge];
        }
    }
    free(first);
    free(from);
    free(queue);
    return ok;
}

static void keep_alive(lang *l, const bool *alive, uint32_t *new_id) {
    size_t kept = 0, w = l->n_intervals;
    for (size_t s = 0; s < l->n_states; s++) new_id[s] = alive[s] ? (uint32_t)kept++ : LANG_DEAD;
    for (size_t s = 0; s < l->n_states; s++) {
        if (!alive[s]) continue;
        for (size_t c = 0; c < w; c++) {
            uint32_t to = l->next[s * w + c];
            l->next[new_id[s] * w + c] = to == LANG_DEAD ? LANG_DEAD : new_id[to];
        }
        l->accept[new_id[s]] = l->accept[s];
    }
    l->n_states = l->n_states && alive[0] ? kept : 0;
}

facet_status lang_trim(lang *l, facet_error *err) {
    bool *alive = calloc(l->n_states + 1, sizeof *alive);
    uint32_t *new_id = malloc((l->n_states + 1) * sizeof *new_id);
    bool ok = alive && new_id && mark_alive(l, alive);
    if (ok) keep_alive(l, alive, new_id);
    free(alive);
    free(new_id);
    return ok ? FACET_OK : error_memory(err, l->n_states * l->n_intervals * sizeof *l->next);
}

/* ---- two languages at once */

typedef struct pair {
    const lang *a, *b;
    const uint32_t *starts;
} pair;

static bool pair_step(const void *ctx, uint64_t state, size_t interval, uint64_t *next) {
    const pair *p = ctx;
    uint32_t code = p->starts[interval];
    uint32_t x = p->a->next[(state >> 32) * p->a->n_intervals + lang_interval(p->a, code)];
    uint32_t y = p->b->next[(state & UINT32_MAX) * p->b->n_intervals + lang_interval(p->b, code)];
    *next = (uint64_t)x << 32 | y;
    return x != LANG_DEAD && y != LANG_DEAD;
}

static bool pair_accept(const void *ctx, uint64_t state) {
    const pair *p = ctx;
    return p->a->accept[state >> 32] && p->b->accept[state & UINT32_MAX];
}

static bool no_step(const void *ctx, uint64_t state, size_t interval, uint64_t *next) {
    (void)ctx, (void)state, (void)interval;
    *next = 0;
    return false;
}

static bool no_accept(const void *ctx, uint64_t state) {
    (void)ctx, (void)state;
    return false;
}

facet_status lang_both(lang **out, const lang *a, const lang *b, facet_error *err) {
    *out = NULL;
    size_t n = a->n_intervals + b->n_intervals;
    uint32_t *starts = malloc(n * sizeof *starts);
    if (!starts) return error_memory(err, n * sizeof *starts);
    memcpy(starts, a->starts, a->n_intervals * sizeof *starts);
    memcpy(starts + a->n_intervals, b->starts, b->n_intervals * sizeof *starts);
    n = sort_unique(starts, n);
    pair p = {a, b, starts};
    lang_machine machine = {.ctx = &p, .step = pair_step, .accept = pair_accept};
    if (a->n_states == 0 || b->n_states == 0) machine = (lang_machine){.step = no_step, .accept = no_accept};
    return lang_explore(out, starts, n, &machine, err);
}

/* ---- lengths */

typedef struct lengths {
    uint32_t min, max;
} lengths;

static bool length_step(const void *ctx, uint64_t state, size_t interval, uint64_t *next) {
    const lengths *l = ctx;
    (void)interval;
    bool endless = l->max == UINT32_MAX && state >= l->min;
    *next = endless ? state : state + 1;
    return endless || state < l->max;
}

static bool length_accept(const void *ctx, uint64_t state) { return state >= ((const lengths *)ctx)->min; }

facet_status lang_lengths(lang **out, uint32_t min, uint32_t max, facet_error *err) {
    lengths l = {min, max};
    size_t n;
    uint32_t *starts = lang_borders(NULL, 0, &n);
    lang_machine machine = {.ctx = &l, .step = length_step, .accept = length_accept};
    return lang_explore(out, starts, 1, &machine, err);
}

/* ---- words */

/* The words, sorted. A state is a range of words and a depth in bytes: those of the range begin alike up to there. */
typedef struct words {
    const lang_word *list; /* sorted, without repeats */
    size_t n;
    const uint32_t *starts;
    bool others;
} words;

enum { WORD_BITS = 24 };
#define WORDS_NONE UINT64_MAX /* no word begins like this */

static uint64_t word_state(size_t first, size_t depth) { return (uint64_t)depth << WORD_BITS | first; }

static size_t word_prefix(const lang_word *a, const char *text, size_t n) {
    return a->n >= n && memcmp(a->text, text, n) == 0;
}

/* The words are sorted: those that begin like word `first` up to `depth` follow it. */
static bool word_step(const void *ctx, uint64_t state, size_t interval, uint64_t *next) {
    const words *w = ctx;
    char text[4];
    *next = WORDS_NONE;
    if (state == WORDS_NONE) return true;
    size_t first = state & ((1u << WORD_BITS) - 1), depth = (size_t)(state >> WORD_BITS);
    uint32_t code = w->starts[interval];
    if (code >= 0xd800 && code <= 0xdfff) return w->others;
    size_t n = utf8_encode(code, text);
    for (size_t i = first; i < w->n && word_prefix(&w->list[i], w->list[first].text, depth); i++) {
        if (!word_prefix(&w->list[i], w->list[first].text, depth) || w->list[i].n < depth + n) continue;
        if (memcmp(w->list[i].text + depth, text, n) != 0) continue;
        *next = word_state(i, depth + n);
        return true;
    }
    return w->others;
}

static bool word_accept(const void *ctx, uint64_t state) {
    const words *w = ctx;
    if (state == WORDS_NONE) return true;
    size_t first = state & ((1u << WORD_BITS) - 1);
    return (w->n && w->list[first].n == state >> WORD_BITS) != w->others;
}

static int by_text(const void *a, const void *b) {
    const lang_word *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = n ? memcmp(x->text, y->text, n) : 0;
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Every character of the words is an interval of its own. */
static code_range *word_characters(const lang_word *list, size_t n, size_t *n_out) {
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) n_bytes += list[i].n;
    code_range *out = malloc((n_bytes + 1) * sizeof *out);
    *n_out = 0;
    for (size_t i = 0; out && i < n; i++) {
        for (size_t at = 0, step; at < list[i].n; at += step) {
            uint32_t code = 0;
            step = utf8_decode(list[i].text + at, list[i].n - at, &code);
            if (step == 0) break;
            out[(*n_out)++] = (code_range){code, code};
        }
    }
    return out;
}

static facet_status explore_words(lang **out, words *w, facet_error *err) {
    size_t n, n_starts = 0;
    code_range *characters = word_characters(w->list, w->n, &n);
    uint32_t *starts = characters ? lang_borders(characters, n, &n_starts) : NULL;
    free(characters);
    w->starts = starts;
    lang_machine machine = {.ctx = w, .start = word_state(0, 0), .step = word_step, .accept = word_accept};
    if (w->n == 0 && w->others) machine.start = WORDS_NONE;
    return lang_explore(out, starts, n_starts, &machine, err);
}

facet_status lang_words(lang **out, const lang_word *list, size_t n, bool others, facet_error *err) {
    *out = NULL;
    if (n >= 1u << WORD_BITS) return too_large(err);
    lang_word *sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted) return error_memory(err, n * sizeof *sorted);
    if (n) memcpy(sorted, list, n * sizeof *sorted);
    if (n > 1) qsort(sorted, n, sizeof *sorted, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || by_text(&sorted[kept - 1], &sorted[i]) != 0) sorted[kept++] = sorted[i];
    }
    words w = {.list = sorted, .n = kept, .others = others};
    facet_status status = explore_words(out, &w, err);
    free(sorted);
    return status;
}
