/* Which token comes next. See sampler.h; the order of the steps is that of facet_sampling in facet.h. */
#include "sample/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/rng.h"
#include "sample/mask.h"
#include "sample/select.h"
#include "sample/weight.h"

struct sampler {
    facet_sampling settings; /* bias points to `bias` */
    facet_logit_bias *bias;
    size_t n_vocab;
    int32_t *suppress; /* ascending, without repeats */
    size_t n_suppress;
    float *adjusted;       /* [n_vocab] the logits after bias and penalties, where there are any */
    uint32_t *seen;        /* [n_vocab] occurrences in the window; all zero between calls */
    candidate *candidates; /* [n_vocab] */
    const uint64_t *mask;  /* of the permitted tokens, or NULL */
};

/* ---- life cycle */

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void take_suppressed(sampler *s, const int32_t *suppress, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (suppress[i] >= 0 && (size_t)suppress[i] < s->n_vocab) s->suppress[kept++] = suppress[i];
    }
    if (kept > 1) qsort(s->suppress, kept, sizeof *s->suppress, ascending);
    for (size_t i = 0; i < kept; i++) {
        if (s->n_suppress == 0 || s->suppress[i] != s->suppress[s->n_suppress - 1]) {
            s->suppress[s->n_suppress++] = s->suppress[i];
        }
    }
}

/* The workspace is touched only where a setting needs it: pages that nobody writes cost nothing. */
static bool allocate(sampler *s, size_t n_suppress) {
    s->suppress = calloc(n_suppress ? n_suppress : 1, sizeof *s->suppress);
    s->adjusted = calloc(s->n_vocab, sizeof *s->adjusted);
    s->seen = calloc(s->n_vocab, sizeof *s->seen);
    s->candidates = calloc(s->n_vocab, sizeof *s->candidates);
    return s->suppress && s->adjusted && s->seen && s->candidates;
}

facet_status sampler_new(sampler **out, size_t n_vocab, const int32_t *suppress, size_t n_suppress,
                         facet_error *err) {
    *out = NULL;
    if (n_vocab == 0 || n_vocab > INT32_MAX) {
        return error_set(err, FACET_ERROR_ARGUMENT, "a vocabulary of %zu tokens cannot be sampled", n_vocab);
    }
    sampler *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->n_vocab = n_vocab;
    if (!allocate(s, n_suppress)) {
        sampler_free(s);
        return error_memory(err, n_vocab * (sizeof *s->adjusted + sizeof *s->seen + sizeof *s->candidates));
    }
    take_suppressed(s, suppress, n_suppress);
    facet_sampling_defaults(&s->settings);
    *out = s;
    return FACET_OK;
}

void sampler_free(sampler *s) {
    if (!s) return;
    free(s->bias);
    free(s->suppress);
    free(s->adjusted);
    free(s->seen);
    free(s->candidates);
    free(s);
}

static facet_status copy_bias(facet_logit_bias **out, const facet_sampling *sampling, facet_error *err) {
    size_t n_bytes;
    *out = NULL;
    if (sampling->n_bias == 0) return FACET_OK;
    if (!checked_mul(sampling->n_bias, sizeof **out, &n_bytes)) return error_memory(err, SIZE_MAX);
    if (!(*out = malloc(n_bytes))) return error_memory(err, n_bytes);
    memcpy(*out, sampling->bias, n_bytes);
    return FACET_OK;
}

facet_status sampler_configure(sampler *s, const facet_sampling *sampling, facet_error *err) {
    facet_sampling defaults;
    facet_logit_bias *bias;
    if (!sampling) {
        facet_sampling_defaults(&defaults);
        sampling = &defaults;
    }
    FACET_TRY(sampler_check(sampling, s->n_vocab, err));
    FACET_TRY(copy_bias(&bias, sampling, err));
    free(s->bias);
    s->settings = *sampling;
    s->settings.bias = s->bias = bias;
    return FACET_OK;
}

/* ---- bias and penalties */

static float penalised(const facet_sampling *o, float logit, uint32_t count) {
    logit = logit > 0.0f ? logit / o->repeat_penalty : logit * o->repeat_penalty;
    return logit - o->presence_penalty - o->frequency_penalty * (float)count;
}

static void penalise(sampler *s, const int32_t *tokens, size_t n_tokens) {
    size_t n = n_tokens;
    if (s->settings.penalty_last >= 0 && (size_t)s->settings.penalty_last < n) n = (size_t)s->settings.penalty_last;
    const int32_t *window = n ? tokens + (n_tokens - n) : tokens;
    for (size_t i = 0; i < n; i++) {
        if (window[i] >= 0 && (size_t)window[i] < s->n_vocab) s->seen[window[i]]++;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t t = window[i];
        if (t < 0 || (size_t)t >= s->n_vocab || s->seen[t] == 0) continue;
        s->adjusted[t] = penalised(&s->settings, s->adjusted[t], s->seen[t]);
        s->seen[t] = 0;
    }
}

/* The caller's logits where nothing changes them, else a changed copy. */
static const float *adjust(sampler *s, const float *logits, const int32_t *tokens, size_t n_tokens) {
    const facet_sampling *o = &s->settings;
    bool penalties = n_tokens && o->penalty_last != 0 &&
                     (o->repeat_penalty != 1.0f || o->presence_penalty != 0.0f || o->frequency_penalty != 0.0f);
    if (!penalties && o->n_bias == 0 && !s->mask) return logits;
    memcpy(s->adjusted, logits, s->n_vocab * sizeof *logits);
    for (size_t i = 0; i < o->n_bias; i++) s->adjusted[o->bias[i].token] += o->bias[i].bias;
    if (penalties) penalise(s, tokens, n_tokens);
    if (s->mask) mask_forbid(s->mask, s->adjusted, s->n_vocab);
    return s->adjusted;
}

/* ---- probabilities */

/* Gives each of n >= 1 candidates exp((logit - max) / temperature); returns their sum, in order. */
static double weigh(candidate *c, size_t n, float temperature) {
    float max = c[0].logit;
    double sum = 0;
    for (size_t i = 1; i < n; i++) max = c[i].logit > max ? c[i].logit : max;
    for (size_t i = 0; i < n; i++) {
        /* an infinite maximum minus itself would be no number */
        c[i].weight = c[i].logit == max ? 1.0 : weight_exp(((double)c[i].logit - (double)max) / (double)temperature);
        sum += c[i].weight;
    }
    return sum;
}

/* top-p of candidates that are sorted: how many of the best it takes to hold `mass`. */
static size_t prefix_of_mass(const candidate *c, size_t n, double mass) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += c[i].weight;
        if (sum >= mass) return i + 1;
    }
    return n;
}

/* The same of candidates by id: they are sorted as far as it takes, to the end of the array, and returned from there,
 * best first. */
static candidate *sorted_prefix_of_mass(candidate *c, size_t *n, double mass) {
    size_t left = *n;
    double sum = 0;
    select_heap(c, left);
    do {
        select_pop(c, left--);
        sum += c[left].weight;
    } while (left && !(sum >= mass));
    for (candidate *a = c + left, *b = c + *n - 1; a < b; a++, b--) {
        candidate swap = *a;
        *a = *b;
        *b = swap;
    }
    *n -= left;
    return c + left;
}

/* The best has weight 1: the others are measured against it. */
static size_t keep_min_p(candidate *c, size_t n, float min_p) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (c[i].weight >= (double)min_p) c[kept++] = c[i];
    }
    return kept;
}

/* Walks the candidates in their order: best first after top-k or top-p, else by id. */
static int32_t draw(const candidate *c, size_t n, double unit) {
    double sum = 0, reached = 0;
    for (size_t i = 0; i < n; i++) sum += c[i].weight;
    for (size_t i = 0; i < n; i++) {
        reached += c[i].weight;
        if (reached > unit * sum) return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t choose_at_random(sampler *s, const logit_view *view, uint64_t position) {
    const facet_sampling *o = &s->settings;
    candidate *c = s->candidates;
    bool sorted = o->top_k > 0;
    size_t n = sorted ? select_top_k(view, (size_t)o->top_k, c) : select_all(view, c);
    if (n == 0) return -1;
    double sum = weigh(c, n, o->temperature);
    if (o->top_p < 1.0f) {
        double mass = (double)o->top_p * sum;
        if (sorted) {
            n = prefix_of_mass(c, n, mass);
        } else {
            c = sorted_prefix_of_mass(c, &n, mass);
        }
    }
    if (o->min_p > 0.0f) n = keep_min_p(c, n, o->min_p);
    return draw(c, n, rng_unit(o->seed, o->choice, position));
}

/* ---- the choice */

static bool forbidden(const sampler *s, int32_t id) {
    for (size_t i = 0; i < s->settings.n_bias; i++) {
        if (s->bias[i].token == id && s->bias[i].bias == -INFINITY) return true;
    }
    return false;
}

/* For logits that leave nothing: the lowest id that is permitted, 0 where none is. */
static int32_t lowest_permitted(const sampler *s) {
    size_t at = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (at < s->n_suppress && (size_t)s->suppress[at] == i) {
            at++;
        } else if (!forbidden(s, (int32_t)i) && (!s->mask || mask_has(s->mask, (int32_t)i))) {
            return (int32_t)i;
        }
    }
    return s->mask ? mask_lowest(s->mask, s->n_vocab) : 0;
}

void sampler_permit(sampler *s, const uint64_t *mask) { s->mask = mask; }

int32_t sampler_choose(sampler *s, const float *logits, const int32_t *tokens, size_t n_tokens, uint64_t position) {
    logit_view view = {.logits = adjust(s, logits, tokens, n_tokens),
                       .n_vocab = s->n_vocab,
                       .suppressed = s->suppress,
                       .n_suppressed = s->n_suppress};
    int32_t id = s->settings.temperature == 0.0f ? select_best(&view) : choose_at_random(s, &view, position);
    return id >= 0 ? id : lowest_permitted(s);
}
