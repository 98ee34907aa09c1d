/* The sampler chain: against a naive implementation in double precision, by examples worked by hand, by statistics.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sample/sampler.h"
#include "sample/weight.h"
#include "support.h"

static facet_sampling defaults(void) {
    facet_sampling s;
    facet_sampling_defaults(&s);
    return s;
}

static facet_sampling greedy(void) {
    facet_sampling s = defaults();
    s.temperature = 0;
    return s;
}

static sampler *make(size_t n_vocab, const int32_t *suppress, size_t n_suppress, const facet_sampling *settings) {
    facet_error error;
    sampler *s;
    assert_ok(sampler_new(&s, n_vocab, suppress, n_suppress, &error), &error);
    assert_ok(sampler_configure(s, settings, &error), &error);
    return s;
}

/* One choice by a sampler of its own. */
static int32_t choose(const float *logits, size_t n, const facet_sampling *settings, const int32_t *tokens,
                      size_t n_tokens, uint64_t position) {
    sampler *s = make(n, NULL, 0, settings);
    int32_t id = sampler_choose(s, logits, tokens, n_tokens, position);
    sampler_free(s);
    return id;
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
static double random_unit(uint32_t *state) { return next_random(state) / 16777216.0; }
/* Roughly normal. */
static float random_logit(uint32_t *state) {
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += random_unit(state);
    return (float)(3 * (sum - 6));
}

/* ---- the naive implementation */

typedef struct token_weight {
    double logit, weight;
    int32_t id;
} token_weight;

typedef struct naive {
    token_weight *list; /* the tokens that may be drawn, in the order of the draw */
    size_t n;
    bool close; /* a cut is so near to a token that rounding decides */
} naive;

static int best_first(const void *a, const void *b) {
    const token_weight *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static double naive_logit(double logit, int32_t id, const facet_sampling *o, const int32_t *tokens, size_t n_tokens) {
    size_t first = o->penalty_last < 0 || (size_t)o->penalty_last > n_tokens ? 0 : n_tokens - (size_t)o->penalty_last;
    double count = 0;
    for (size_t i = 0; i < o->n_bias; i++) {
        if (o->bias[i].token == id) logit += (double)o->bias[i].bias;
    }
    for (size_t i = first; i < n_tokens; i++) count += tokens[i] == id;
    if (count == 0) return logit;
    logit = logit > 0 ? logit / (double)o->repeat_penalty : logit * (double)o->repeat_penalty;
    return logit - (double)o->presence_penalty - count * (double)o->frequency_penalty;
}

static double weigh_all(naive *v, double max, double temperature) {
    double sum = 0;
    for (size_t i = 0; i < v->n; i++) sum += v->list[i].weight = exp((v->list[i].logit - max) / temperature);
    return sum;
}

static naive naive_chain(const float *logits, size_t n, const int32_t *suppress, size_t n_suppress,
                         const facet_sampling *o, const int32_t *tokens, size_t n_tokens) {
    naive v = {.list = calloc(n, sizeof(token_weight))};
    double max = -INFINITY, sum, reached = 0;
    for (size_t i = 0; i < n; i++) {
        bool drop = isnan(logits[i]);
        for (size_t k = 0; k < n_suppress; k++) drop = drop || suppress[k] == (int32_t)i;
        double logit = naive_logit((double)logits[i], (int32_t)i, o, tokens, n_tokens);
        if (drop || logit == -INFINITY) continue;
        max = fmax(max, logit);
        v.list[v.n++] = (token_weight){.logit = logit, .id = (int32_t)i};
    }
    if (o->top_k > 0 || o->top_p < 1) qsort(v.list, v.n, sizeof *v.list, best_first);
    if (o->top_k > 0 && (size_t)o->top_k < v.n) v.n = (size_t)o->top_k;
    sum = weigh_all(&v, max, (double)o->temperature);
    for (size_t i = 0; o->top_p < 1 && i < v.n; i++) {
        reached += v.list[i].weight;
        v.close |= fabs(reached / sum - (double)o->top_p) < 1e-5;
        if (reached >= (double)o->top_p * sum) v.n = i + 1;
    }
    size_t kept = 0;
    for (size_t i = 0; i < v.n; i++) {
        v.close |= fabs(v.list[i].weight - (double)o->min_p) < 1e-5 && o->min_p > 0;
        if (v.list[i].weight >= (double)o->min_p) v.list[kept++] = v.list[i];
    }
    v.n = kept;
    return v;
}

/* -1 where rounding decides. */
static int32_t naive_draw(const naive *v, double unit) {
    double sum = 0, reached = 0;
    for (size_t i = 0; i < v->n; i++) sum += v->list[i].weight;
    for (size_t i = 0; i < v->n; i++) {
        reached += v->list[i].weight;
        if (fabs(reached / sum - unit) < 1e-5 && i + 1 < v->n) return -1;
        if (reached > unit * sum) return v->list[i].id;
    }
    return v->n ? v->list[v->n - 1].id : -1;
}

static double naive_probability(const naive *v, int32_t id) {
    double sum = 0, of = 0;
    for (size_t i = 0; i < v->n; i++) {
        sum += v->list[i].weight;
        if (v->list[i].id == id) of = v->list[i].weight;
    }
    return of / sum;
}

/* ---- random settings against the naive implementation */

typedef struct material {
    float logits[300];
    int32_t suppress[20], tokens[100];
    facet_logit_bias bias[6];
    size_t n, n_suppress, n_tokens;
} material;

static facet_sampling random_material(uint32_t *seed, material *m) {
    facet_sampling o = defaults();
    bool steps = next_random(seed) % 4 == 0; /* many ties */
    m->n = 1 + next_random(seed) % 300;
    m->n_suppress = next_random(seed) % 20;
    m->n_tokens = next_random(seed) % 100;
    for (size_t i = 0; i < m->n; i++) {
        m->logits[i] = random_logit(seed);
        if (steps) m->logits[i] = floorf(m->logits[i]);
        if (next_random(seed) % 50 == 0) m->logits[i] = next_random(seed) % 2 ? NAN : -INFINITY;
    }
    for (size_t i = 0; i < m->n_suppress; i++) m->suppress[i] = (int32_t)(next_random(seed) % 400) - 50;
    for (size_t i = 0; i < m->n_tokens; i++) m->tokens[i] = (int32_t)(next_random(seed) % 400) - 50;
    if (next_random(seed) % 2) o.n_bias = next_random(seed) % 6;
    for (size_t i = 0; i < o.n_bias; i++) {
        m->bias[i].token = (int32_t)(next_random(seed) % m->n);
        m->bias[i].bias = next_random(seed) % 4 ? random_logit(seed) : -INFINITY;
    }
    o.bias = m->bias;
    o.temperature = (float)(0.1 + 2 * random_unit(seed));
    o.top_k = next_random(seed) % 2 ? (int32_t)(next_random(seed) % 100) : 0;
    o.top_p = next_random(seed) % 2 ? (float)random_unit(seed) : 1;
    o.min_p = next_random(seed) % 3 ? 0 : (float)(0.3 * random_unit(seed));
    if (!steps && next_random(seed) % 2) {
        o.repeat_penalty = (float)(0.5 + random_unit(seed));
        o.presence_penalty = (float)(2 * random_unit(seed) - 1);
        o.frequency_penalty = (float)(2 * random_unit(seed) - 1);
    }
    o.penalty_last = (int32_t)(next_random(seed) % 120) - 1;
    o.seed = next_random(seed);
    o.choice = next_random(seed);
    return o;
}

static void agrees_with_the_naive_chain(void **state) {
    (void)state;
    uint32_t seed = 777;
    size_t n_compared = 0, n_undecided = 0;
    for (int round = 0; round < 3000; round++) {
        material m;
        facet_sampling o = random_material(&seed, &m);
        sampler *s = make(m.n, m.suppress, m.n_suppress, &o);
        naive v = naive_chain(m.logits, m.n, m.suppress, m.n_suppress, &o, m.tokens, m.n_tokens);
        float before[300];
        memcpy(before, m.logits, sizeof before);
        for (uint64_t position = 0; v.n && position < 8; position++) {
            int32_t want = v.close ? -1 : naive_draw(&v, rng_unit(o.seed, o.choice, position));
            int32_t got = sampler_choose(s, m.logits, m.tokens, m.n_tokens, position);
            n_compared++;
            n_undecided += want < 0;
            if (want >= 0 && got != want) fail_msg("round %d: chose %d, expected %d", round, got, want);
        }
        assert_memory_equal(m.logits, before, m.n * sizeof *before); /* never modified */
        free(v.list);
        sampler_free(s);
    }
    assert_true(n_compared > 20000);
    assert_true(n_undecided < n_compared / 50);
}

/* Frequencies of many draws against the probabilities of the naive chain: chi-square of at most 29 degrees of
 * freedom, which passes 85 once in 10^7. */
static void frequencies_are_the_probabilities(void **state) {
    (void)state;
    enum { N = 40000, VOCAB = 30 };
    uint32_t seed = 4;
    for (int round = 0; round < 8; round++) {
        float logits[VOCAB];
        size_t seen[VOCAB] = {0};
        facet_sampling o = defaults();
        double chi = 0;
        o.temperature = round % 2 ? 1.0f : 2.5f;
        o.top_k = round & 2 ? 12 : 0;
        o.top_p = round & 4 ? 0.9f : 1.0f;
        o.seed = (uint64_t)round;
        for (int i = 0; i < VOCAB; i++) logits[i] = random_logit(&seed) / 3;
        naive v = naive_chain(logits, VOCAB, NULL, 0, &o, NULL, 0);
        sampler *s = make(VOCAB, NULL, 0, &o);
        for (uint64_t i = 0; i < N; i++) seen[sampler_choose(s, logits, NULL, 0, i)]++;
        for (int i = 0; i < VOCAB; i++) {
            double expected = N * naive_probability(&v, i);
            if (expected > 0) {
                chi += pow((double)seen[i] - expected, 2) / expected;
            } else {
                assert_int_equal(seen[i], 0);
            }
        }
        assert_true(v.n > 5 && chi < 85);
        sampler_free(s);
        free(v.list);
    }
}

/* ---- greedy */

static void greedy_takes_the_best(void **state) {
    (void)state;
    facet_sampling o = greedy();
    assert_int_equal(choose((float[]){1, 3, 2}, 3, &o, NULL, 0, 0), 1);
    assert_int_equal(choose((float[]){1, 3, 3}, 3, &o, NULL, 0, 0), 1); /* ties to the lower id */
    assert_int_equal(choose((float[]){-1, -0.0f, 0.0f}, 3, &o, NULL, 0, 0), 1);
    assert_int_equal(choose((float[]){NAN, -3, NAN, -2}, 4, &o, NULL, 0, 0), 3);
    assert_int_equal(choose((float[]){0, INFINITY, 5, INFINITY}, 4, &o, NULL, 0, 0), 1);
    sampler *s = make(6, (int32_t[]){4, 1, 4, -7, 99}, 5, &o);
    assert_int_equal(sampler_choose(s, (float[]){0, 9, 1, 2, 9, 2}, NULL, 0, 0), 3);
    sampler_free(s);
    s = make(3, (int32_t[]){2, 0}, 2, &o);
    assert_int_equal(sampler_choose(s, (float[]){5, -1, 5}, NULL, 0, 0), 1);
    sampler_free(s);
}

/* Every place of the maximum, in vocabularies around the width of the lanes, with a suppressed token anywhere. */
static void greedy_in_every_place(void **state) {
    (void)state;
    facet_sampling o = greedy();
    for (int32_t n = 1; n < 70; n += 3) {
        float logits[70];
        for (int32_t at = 0; at < n; at++) {
            int32_t suppressed = at * 7 % n;
            for (int32_t i = 0; i < n; i++) logits[i] = i == at ? 1.0f : i > at ? 0.5f : -0.5f;
            sampler *s = make((size_t)n, &suppressed, suppressed != at, &o);
            assert_int_equal(sampler_choose(s, logits, NULL, 0, 0), at);
            sampler_free(s);
        }
    }
}

static void nothing_left_is_the_lowest_permitted(void **state) {
    (void)state;
    facet_sampling modes[] = {greedy(), defaults(), defaults(), defaults()};
    modes[2].top_k = 0;
    modes[3].top_k = 0, modes[3].top_p = 1, modes[3].min_p = 0.1f;
    for (size_t i = 0; i < 4; i++) {
        facet_sampling o = modes[i];
        assert_int_equal(choose((float[]){NAN, NAN}, 2, &o, NULL, 0, 0), 0);
        assert_int_equal(choose((float[]){-INFINITY, NAN, -INFINITY}, 3, &o, NULL, 0, 0), 0);
        o.bias = &(facet_logit_bias){1, -INFINITY};
        o.n_bias = 1;
        sampler *s = make(4, (int32_t[]){0}, 1, &o);
        assert_int_equal(sampler_choose(s, (float[]){5, 5, NAN, NAN}, NULL, 0, 0), 2);
        sampler_free(s);
        s = make(2, (int32_t[]){0, 1}, 2, &o);
        assert_int_equal(sampler_choose(s, (float[]){5, 5}, NULL, 0, 0), 0);
        sampler_free(s);
    }
}

/* ---- extreme numbers */

static void extremes_stay_in_range(void **state) {
    (void)state;
    facet_sampling o = defaults();
    for (int mode = 0; mode < 4; mode++) {
        o.top_k = mode & 1 ? 2 : 0;
        o.top_p = mode & 2 ? 0.9f : 1;
        o.temperature = 1e-40f;
        assert_int_equal(choose((float[]){1, 1.0000001f, 0}, 3, &o, NULL, 0, 5), 1);
        o.temperature = 3e38f;
        assert_in_range(choose((float[]){1, -3e38f, 3e38f}, 3, &o, NULL, 0, 5), 0, 2);
        o.temperature = 1;
        assert_int_equal(choose((float[]){1, INFINITY, 0}, 3, &o, NULL, 0, 5), 1);
        assert_int_equal(choose((float[]){-3e38f, 3e38f, -3e38f}, 3, &o, NULL, 0, 5), 1);
        int32_t id = choose((float[]){INFINITY, 7, INFINITY}, 3, &o, NULL, 0, 5);
        assert_true(id == 0 || id == 2);
    }
    o.top_p = 0; /* the best alone */
    o.top_k = 0;
    for (uint64_t i = 0; i < 50; i++) assert_int_equal(choose((float[]){1, 1.01f, 1.01f}, 3, &o, NULL, 0, i), 1);
    o.top_p = 1;
    o.min_p = 1;
    for (uint64_t i = 0; i < 50; i++) assert_int_equal(choose((float[]){1, 1.01f, 1}, 3, &o, NULL, 0, i), 1);
}

/* ---- penalties and the order of the steps, worked by hand */

static void penalties_by_hand(void **state) {
    (void)state;
    facet_sampling o = greedy();
    const int32_t tokens[] = {0, 0, 0, 1, 2, 77, -3};
    o.repeat_penalty = 2;
    assert_int_equal(choose((float[]){2, 1, 1, 0.9f}, 4, &o, tokens, 1, 0), 0);     /* 2 / 2 = 1: a tie */
    assert_int_equal(choose((float[]){2, 1.01f, 1, 0}, 4, &o, tokens, 3, 0), 1);    /* thrice seen counts once */
    assert_int_equal(choose((float[]){-1, -1.9f, -3, -4}, 4, &o, tokens, 1, 0), 1); /* negative: multiplied */
    o.repeat_penalty = 1;
    o.presence_penalty = 1;
    assert_int_equal(choose((float[]){2, 1.01f, 0, 0}, 4, &o, tokens, 3, 0), 1); /* once, however often */
    assert_int_equal(choose((float[]){2, 0.99f, 0, 0}, 4, &o, tokens, 3, 0), 0);
    o.presence_penalty = 0;
    o.frequency_penalty = 1;
    assert_int_equal(choose((float[]){4, 0, 0, 0.99f}, 4, &o, tokens, 3, 0), 0); /* thrice: 4 - 3 */
    assert_int_equal(choose((float[]){4, 0, 0, 1.01f}, 4, &o, tokens, 3, 0), 3);
    o.penalty_last = 2; /* only the last two zeros */
    assert_int_equal(choose((float[]){4, 0, 0, 1.99f}, 4, &o, tokens, 3, 0), 0);
    assert_int_equal(choose((float[]){4, 0, 0, 2.01f}, 4, &o, tokens, 3, 0), 3);
    o.penalty_last = 0;
    assert_int_equal(choose((float[]){4, 0, 0, 3.99f}, 4, &o, tokens, 3, 0), 0);
    o.penalty_last = -1;
    assert_int_equal(choose((float[]){4, 0, 0, 1.01f}, 4, &o, tokens, 7, 0), 3);
    o.presence_penalty = -5; /* a reward */
    assert_int_equal(choose((float[]){0, 1, 0, 4}, 4, &o, tokens + 3, 4, 0), 1);
}

static void steps_come_in_order(void **state) {
    (void)state;
    const int32_t tokens[] = {0};
    facet_logit_bias bias[] = {{0, 2}, {0, 1}}; /* a token named twice gets both */
    facet_sampling o = greedy();
    o.bias = bias;
    o.n_bias = 2;
    assert_int_equal(choose((float[]){1, 3.9f}, 2, &o, NULL, 0, 0), 0);
    assert_int_equal(choose((float[]){1, 4.1f}, 2, &o, NULL, 0, 0), 1);
    o.repeat_penalty = 2; /* bias first: (1 + 3) / 2 = 2, not 1 / 2 + 3 */
    assert_int_equal(choose((float[]){1, 2.1f}, 2, &o, tokens, 1, 0), 1);
    o.repeat_penalty = 1;
    sampler *s = make(2, (int32_t[]){0}, 1, &o); /* no bias brings a suppressed token back */
    assert_int_equal(sampler_choose(s, (float[]){9, -9}, NULL, 0, 0), 1);
    sampler_free(s);
    o = defaults(); /* top-k before top-p: of {1, 1, 1, 1} two remain, and 0.5 of their mass is the first alone */
    o.top_k = 2;
    o.top_p = 0.5f;
    for (uint64_t i = 0; i < 50; i++) assert_int_equal(choose((float[]){1, 1, 1, 1}, 4, &o, NULL, 0, i), 0);
    o.top_k = 0; /* temperature before top-p: e^5 : 1 : 1 is 0.987 of the mass at 1, but 0.43 at 12 */
    o.top_p = 0.6f;
    size_t others = 0;
    for (uint64_t i = 0; i < 50; i++) others += choose((float[]){5, 0, 0}, 3, &o, NULL, 0, i) != 0;
    assert_int_equal(others, 0);
    o.temperature = 12;
    for (uint64_t i = 0; i < 50; i++) others += choose((float[]){5, 0, 0}, 3, &o, NULL, 0, i) != 0;
    assert_true(others > 5);
}

/* ---- determinism */

static void draws_depend_on_seed_choice_and_position(void **state) {
    (void)state;
    enum { N = 64 };
    float logits[100] = {0};
    facet_sampling o = defaults();
    o.top_k = 0;
    o.top_p = 1;
    size_t same[3] = {0};
    for (uint64_t i = 0; i < N; i++) {
        o.seed = o.choice = 0;
        int32_t first = choose(logits, 100, &o, NULL, 0, i);
        assert_int_equal(choose(logits, 100, &o, NULL, 0, i), first);
        same[0] += choose(logits, 100, &o, NULL, 0, i + 1) == first;
        o.choice = 1;
        same[1] += choose(logits, 100, &o, NULL, 0, i) == first;
        o.choice = 0;
        o.seed = (uint64_t)1 << 40;
        same[2] += choose(logits, 100, &o, NULL, 0, i) == first;
    }
    for (int i = 0; i < 3; i++) assert_true(same[i] < 8); /* of 64, 0.64 by chance */
}

/* A sampler that was used for other things, with penalties and bias, chooses as a fresh one does. */
static void no_memory_of_earlier_choices(void **state) {
    (void)state;
    uint32_t seed = 9;
    float logits[200];
    int32_t tokens[50];
    facet_logit_bias bias[] = {{3, 5}, {7, -INFINITY}};
    facet_sampling plain = defaults(), busy = defaults();
    busy.repeat_penalty = 1.3f, busy.frequency_penalty = 0.5f, busy.bias = bias, busy.n_bias = 2, busy.top_k = 0;
    sampler *s = make(200, NULL, 0, &plain);
    for (uint64_t i = 0; i < 100; i++) {
        for (int k = 0; k < 200; k++) logits[k] = random_logit(&seed);
        for (int k = 0; k < 50; k++) tokens[k] = (int32_t)(next_random(&seed) % 200);
        const facet_sampling *o = i % 2 ? &plain : &busy;
        assert_int_equal(sampler_configure(s, o, NULL), FACET_OK);
        assert_int_equal(sampler_choose(s, logits, tokens, 50, i), choose(logits, 200, o, tokens, 50, i));
    }
    sampler_free(s);
}

/* ---- a whole vocabulary */

static void a_whole_vocabulary(void **state) {
    (void)state;
    enum { N = 262144 };
    uint32_t seed = 31;
    float *logits = malloc(N * sizeof *logits);
    facet_sampling o = defaults();
    for (int shape = 0; shape < 4; shape++) {
        for (int i = 0; i < N; i++) {
            logits[i] = shape == 0 ? random_logit(&seed) : shape == 1 ? (float)i * 1e-4f : shape == 2 ? 1 : (float)-i;
        }
        for (int mode = 0; mode < 3; mode++) {
            o.top_k = mode == 0 ? 64 : mode == 1 ? 5000 : 0;
            naive v = naive_chain(logits, N, NULL, 0, &o, NULL, 0);
            sampler *s = make(N, NULL, 0, &o);
            for (uint64_t p = 0; p < 3; p++) {
                int32_t want = v.close ? -1 : naive_draw(&v, rng_unit(o.seed, o.choice, p));
                int32_t got = sampler_choose(s, logits, NULL, 0, p);
                if (want >= 0) assert_int_equal(got, want);
                assert_true(naive_probability(&v, got) > 0 || v.close);
            }
            free(v.list);
            sampler_free(s);
        }
    }
    free(logits);
}

static void logprob_is_the_log_softmax(void **state) {
    (void)state;
    enum { N = 5003 };
    uint32_t seed = 2;
    float *logits = malloc(N * sizeof *logits);
    double sum = 0, total = 0;
    for (int i = 0; i < N; i++) logits[i] = i % 100 == 99 ? NAN : random_logit(&seed) * 2;
    for (int i = 0; i < N; i++) sum += isnan(logits[i]) ? 0 : exp((double)logits[i]);
    for (int i = 0; i < N; i += 7) {
        float got = sampler_logprob(logits, N, i);
        if (isnan(logits[i])) {
            assert_true(got == -INFINITY);
        } else {
            assert_true(fabs((double)got - ((double)logits[i] - log(sum))) < 4e-6);
        }
    }
    for (int i = 0; i < N; i++) total += exp((double)sampler_logprob(logits, N, i));
    assert_true(fabs(total - 1) < 1e-5);
    free(logits);
    assert_true(sampler_logprob((float[]){5}, 1, 0) == 0);
    assert_true(fabs((double)sampler_logprob((float[]){INFINITY, 0, INFINITY}, 3, 2) - log(0.5)) < 1e-6);
    assert_true(sampler_logprob((float[]){-INFINITY, 0}, 2, 0) == -INFINITY);
    assert_true(sampler_logprob((float[]){NAN, -INFINITY}, 2, 1) == -INFINITY);
    assert_true(fabs((double)sampler_logprob((float[]){-3e38f, 3e38f}, 2, 1)) == 0);
}

static void top_logprobs_are_the_likeliest(void **state) {
    (void)state;
    const float logits[] = {1, NAN, 3, 3, -INFINITY, 2, 7, 1};
    const int32_t expected[] = {6, 2, 3, 5, 0, 7, 1, 4}; /* ties, and what has no logit, by the lower id */
    facet_token_logprob top[20];
    assert_int_equal(sampler_top_logprobs(logits, 8, top, 0), 0);
    for (size_t k = 1; k <= 20; k++) {
        assert_int_equal(sampler_top_logprobs(logits, 8, top, k), k < 8 ? k : 8);
        for (size_t i = 0; i < k && i < 8; i++) {
            float alone = sampler_logprob(logits, 8, top[i].id);
            assert_int_equal(top[i].id, expected[i]);
            assert_memory_equal(&top[i].logprob, &alone, sizeof alone);
        }
    }
}

static void weights_are_exponentials(void **state) {
    (void)state;
    double worst = 0;
    for (double x = 0; x > -699; x -= 0.00137) worst = fmax(worst, fabs(weight_exp(x) / exp(x) - 1));
    assert_true(worst < 3e-10);
    assert_true(weight_exp(0) == 1 && weight_exp(-701) == 0 && weight_exp(-INFINITY) == 0 && weight_exp(NAN) == 0);
}

/* ---- settings */

static void defaults_are_gemmas(void **state) {
    (void)state;
    facet_sampling o = defaults();
    assert_int_equal(o.size, sizeof o);
    assert_true(o.temperature == 1 && o.top_k == 64 && o.top_p == 0.95f && o.min_p == 0);
    assert_true(o.repeat_penalty == 1 && o.presence_penalty == 0 && o.frequency_penalty == 0 && o.penalty_last == 64);
    assert_true(o.seed == 0 && o.choice == 0 && o.bias == NULL && o.n_bias == 0);
}

static void refused(sampler *s, const facet_sampling *o, const char *field) {
    facet_error error = {0};
    assert_int_equal(sampler_configure(s, o, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(error.status, FACET_ERROR_ARGUMENT);
    if (!strstr(error.message, field)) fail_msg("'%s' does not name %s", error.message, field);
    assert_int_equal(sampler_configure(s, o, NULL), FACET_ERROR_ARGUMENT);
}

static void wrong_settings_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *field;
        size_t offset;
        float values[6]; /* up to a zero that is not the first */
    } floats[] = {
        {"temperature", offsetof(facet_sampling, temperature), {-0.1f, NAN, INFINITY, -INFINITY}},
        {"top_p", offsetof(facet_sampling, top_p), {-0.1f, 1.1f, NAN, INFINITY}},
        {"min_p", offsetof(facet_sampling, min_p), {-0.1f, 1.1f, NAN, INFINITY}},
        {"repeat_penalty", offsetof(facet_sampling, repeat_penalty), {0.0f, -1, NAN, INFINITY}},
        {"presence_penalty", offsetof(facet_sampling, presence_penalty), {NAN, INFINITY, -INFINITY}},
        {"frequency_penalty", offsetof(facet_sampling, frequency_penalty), {NAN, INFINITY, -INFINITY}},
    };
    facet_sampling o = greedy();
    sampler *s = make(4, NULL, 0, &o);
    for (size_t f = 0; f < sizeof floats / sizeof floats[0]; f++) {
        for (size_t i = 0; i == 0 || floats[f].values[i] != 0; i++) {
            o = defaults();
            memcpy((char *)&o + floats[f].offset, &floats[f].values[i], sizeof(float));
            refused(s, &o, floats[f].field);
        }
    }
    o = defaults(), o.top_k = -1, refused(s, &o, "top_k");
    o = defaults(), o.penalty_last = -2, refused(s, &o, "penalty_last");
    o = defaults(), o.size = 0, refused(s, &o, "size");
    o = defaults(), o.n_bias = 1, refused(s, &o, "bias");
    facet_logit_bias bad[] = {{4, 0}, {-1, 0}, {0, NAN}, {0, INFINITY}};
    for (size_t i = 0; i < 4; i++) {
        o = defaults(), o.bias = &bad[i], o.n_bias = 1;
        refused(s, &o, "bias");
    }
    assert_int_equal(sampler_choose(s, (float[]){0, 1, 2, 1}, NULL, 0, 0), 2); /* still greedy */
    assert_int_equal(sampler_configure(s, NULL, NULL), FACET_OK);
    sampler_free(s);
    sampler_free(NULL);
}

static void bias_is_copied(void **state) {
    (void)state;
    facet_logit_bias bias = {0, 100};
    facet_sampling o = greedy();
    o.bias = &bias;
    o.n_bias = 1;
    sampler *s = make(3, NULL, 0, &o);
    bias = (facet_logit_bias){2, 100};
    assert_int_equal(sampler_choose(s, (float[]){0, 1, 2}, NULL, 0, 0), 0);
    sampler_free(s);
}

static void impossible_vocabularies_are_refused(void **state) {
    (void)state;
    facet_error error;
    sampler *s = (sampler *)&error;
    assert_int_equal(sampler_new(&s, 0, NULL, 0, &error), FACET_ERROR_ARGUMENT);
    assert_null(s);
    assert_int_equal(sampler_new(&s, (size_t)1 << 32, NULL, 0, &error), FACET_ERROR_ARGUMENT);
    assert_null(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_gemmas),
        cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(bias_is_copied),
        cmocka_unit_test(impossible_vocabularies_are_refused),
        cmocka_unit_test(greedy_takes_the_best),
        cmocka_unit_test(greedy_in_every_place),
        cmocka_unit_test(nothing_left_is_the_lowest_permitted),
        cmocka_unit_test(extremes_stay_in_range),
        cmocka_unit_test(penalties_by_hand),
        cmocka_unit_test(steps_come_in_order),
        cmocka_unit_test(agrees_with_the_naive_chain),
        cmocka_unit_test(frequencies_are_the_probabilities),
        cmocka_unit_test(draws_depend_on_seed_choice_and_position),
        cmocka_unit_test(no_memory_of_earlier_choices),
        cmocka_unit_test(a_whole_vocabulary),
        cmocka_unit_test(weights_are_exponentials),
        cmocka_unit_test(logprob_is_the_log_softmax),
        cmocka_unit_test(top_logprobs_are_the_likeliest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
