/* The sampling settings of the public interface: their defaults (Gemma's own) and their ranges. */
#include <math.h>

#include "sample/sampler.h"

void facet_sampling_defaults(facet_sampling *sampling) {
    *sampling = (facet_sampling){
        .size = sizeof *sampling,
        .temperature = 1.0f,
        .top_k = 64,
        .top_p = 0.95f,
        .repeat_penalty = 1.0f,
        .penalty_last = 64,
    };
}

/* Also false for a NaN. */
static bool within(float x, float low, float high) { return x >= low && x <= high; }

static facet_status refuse(facet_error *err, const char *field, double value, const char *expected) {
    return error_set(err, FACET_ERROR_ARGUMENT, "sampling.%s is %g, expected %s", field, value, expected);
}

static facet_status check_bias(const facet_sampling *s, size_t n_vocab, facet_error *err) {
    if (s->n_bias && !s->bias) return error_set(err, FACET_ERROR_ARGUMENT, "sampling.bias is NULL, n_bias is not 0");
    for (size_t i = 0; i < s->n_bias; i++) {
        const facet_logit_bias *b = &s->bias[i];
        if (b->token < 0 || (size_t)b->token >= n_vocab) {
            return error_set(err, FACET_ERROR_ARGUMENT, "sampling.bias: token %d is not in the vocabulary of %zu",
                             (int)b->token, n_vocab);
        }
        if (!(b->bias < INFINITY)) {
            return error_set(err, FACET_ERROR_ARGUMENT, "sampling.bias of token %d is %g, expected a number",
                             (int)b->token, (double)b->bias);
        }
    }
    return FACET_OK;
}

facet_status sampler_check(const facet_sampling *s, size_t n_vocab, facet_error *err) {
    if (s->size < sizeof *s) {
        return error_set(err, FACET_ERROR_ARGUMENT, "sampling.size is %zu, expected %zu", s->size, sizeof *s);
    }
    if (!within(s->temperature, 0, MAXFLOAT)) return refuse(err, "temperature", s->temperature, "0 or more");
    if (s->top_k < 0) return refuse(err, "top_k", s->top_k, "0 or more");
    if (!within(s->top_p, 0, 1)) return refuse(err, "top_p", s->top_p, "0 to 1");
    if (!within(s->min_p, 0, 1)) return refuse(err, "min_p", s->min_p, "0 to 1");
    if (!within(s->repeat_penalty, 0, MAXFLOAT) || s->repeat_penalty == 0) {
        return refuse(err, "repeat_penalty", s->repeat_penalty, "more than 0");
    }
    if (!isfinite(s->presence_penalty)) return refuse(err, "presence_penalty", s->presence_penalty, "a number");
    if (!isfinite(s->frequency_penalty)) return refuse(err, "frequency_penalty", s->frequency_penalty, "a number");
    if (s->penalty_last < -1) return refuse(err, "penalty_last", s->penalty_last, "-1 or more");
    return check_bias(s, n_vocab, err);
}
