/* Stop strings in a text that arrives in pieces. See stop.h. Each string has an automaton whose state is the length
 * of its longest beginning that ends the text so far; the longest of these is what must be held back. */
#include "sample/stop.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/utf8.h"

typedef struct pattern {
    char *text;
    size_t n;
    size_t *border; /* [n + 1] of each beginning: the longest shorter beginning that also ends it */
    size_t state;   /* < n between bytes, unless matched */
} pattern;

struct stop_matcher {
    pattern *patterns;
    size_t n_patterns;
    buffer held;  /* from `start`: what is held back */
    size_t start; /* before it: released already, dropped when it is the larger part */
    buffer out;
    bool matched;
    size_t which; /* the string that matched */
};

/* ---- one string */

static void find_borders(pattern *p) {
    size_t k = 0;
    p->border[0] = p->border[1] = 0;
    for (size_t i = 1; i < p->n; i++) {
        while (k && p->text[i] != p->text[k]) k = p->border[k];
        if (p->text[i] == p->text[k]) k++;
        p->border[i + 1] = k;
    }
}

static inline void advance(pattern *p, char c) {
    while (p->state && p->text[p->state] != c) p->state = p->border[p->state];
    if (p->text[p->state] == c) p->state++;
}

static facet_status take_pattern(pattern *p, const char *text, size_t index, facet_error *err) {
    if (!text || !*text) return error_set(err, FACET_ERROR_ARGUMENT, "stop string %zu is empty", index);
    p->n = strlen(text);
    size_t bad = utf8_invalid(text, p->n);
    if (bad < p->n) {
        return error_at(err, FACET_ERROR_ENCODING, bad, "stop string %zu is not UTF-8 at byte %zu", index, bad);
    }
    p->text = malloc(p->n);
    p->border = calloc(p->n + 1, sizeof *p->border);
    if (!p->text || !p->border) return error_memory(err, (p->n + 1) * sizeof *p->border);
    memcpy(p->text, text, p->n);
    find_borders(p);
    return FACET_OK;
}

/* ---- all strings */

void stop_reset(stop_matcher *stop) {
    buffer_clear(&stop->held);
    buffer_clear(&stop->out);
    stop->start = 0;
    stop->matched = false;
    for (size_t i = 0; i < stop->n_patterns; i++) stop->patterns[i].state = 0;
}

/* Room for the first bytes, so that the text of an empty buffer is never NULL. */
static bool make_buffers(stop_matcher *stop) {
    return buffer_reserve(&stop->held, 0) && buffer_reserve(&stop->out, 0);
}

facet_status stop_new(stop_matcher **out, const char *const *strings, size_t n, facet_error *err) {
    facet_status status = FACET_OK;
    *out = NULL;
    stop_matcher *stop = calloc(1, sizeof *stop);
    if (!stop) return error_memory(err, sizeof *stop);
    stop->patterns = calloc(n ? n : 1, sizeof *stop->patterns);
    if (!stop->patterns) {
        status = error_memory(err, sizeof *stop->patterns);
        goto end;
    }
    for (; stop->n_patterns < n && status == FACET_OK; stop->n_patterns++) {
        status = take_pattern(&stop->patterns[stop->n_patterns], strings[stop->n_patterns], stop->n_patterns, err);
    }
    if (status == FACET_OK && !make_buffers(stop)) status = error_memory(err, 1);
end:
    if (status == FACET_OK) {
        stop_reset(stop);
        *out = stop;
    } else {
        stop_free(stop);
    }
    return status;
}

void stop_free(stop_matcher *stop) {
    if (!stop) return;
    for (size_t i = 0; i < stop->n_patterns; i++) {
        free(stop->patterns[i].text);
        free(stop->patterns[i].border);
    }
    free(stop->patterns);
    buffer_free(&stop->held);
    buffer_free(&stop->out);
    free(stop);
}

bool stop_matched(const stop_matcher *stop) { return stop->matched; }
size_t stop_which(const stop_matcher *stop) { return stop->which; }

/* How many of the last bytes must wait after byte c; a match makes it the length of the match. */
static size_t advance_all(stop_matcher *stop, char c) {
    size_t wait = 0, match = 0;
    for (size_t i = 0; i < stop->n_patterns; i++) {
        pattern *p = &stop->patterns[i];
        advance(p, c);
        if (p->state > wait) wait = p->state;
        if (p->state < p->n || p->n <= match) continue;
        match = p->n;
        stop->which = i;
    }
    stop->matched = match > 0;
    return match ? match : wait;
}

/* Moves the text before the last `wait` bytes from held to out. */
static bool release(stop_matcher *stop, size_t wait) {
    size_t n = stop->held.n - stop->start - wait;
    if (!buffer_append(&stop->out, stop->held.data + stop->start, n)) return false;
    stop->start += n;
    if (stop->start >= wait) {
        buffer_drop(&stop->held, stop->start);
        stop->start = 0;
    }
    return true;
}

facet_status stop_push(stop_matcher *stop, const char *text, size_t n_bytes, const char **out, size_t *n_out,
                       facet_error *err) {
    size_t taken = 0, wait = stop->held.n - stop->start;
    bool ok = true;
    buffer_clear(&stop->out);
    if (!stop->matched) {
        while (taken < n_bytes && !stop->matched) wait = advance_all(stop, text[taken++]);
        ok = buffer_append(&stop->held, text, taken) && release(stop, wait);
    }
    *out = ok ? stop->out.data : "";
    *n_out = ok ? stop->out.n : 0;
    return ok ? FACET_OK : error_memory(err, n_bytes);
}

/* The buffers change places, so that what was held back survives the reset and nothing is allocated. */
void stop_finish(stop_matcher *stop, const char **out, size_t *n_out) {
    size_t from = stop->matched ? stop->held.n : stop->start;
    buffer rest = stop->held;
    stop->held = stop->out;
    stop->out = (buffer){0};
    stop_reset(stop);
    stop->out = rest;
    *out = rest.data + from;
    *n_out = rest.n - from;
}
