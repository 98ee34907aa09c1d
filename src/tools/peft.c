/* Reading PEFT directories. See peft.h. Source: PEFT's documentation of its checkpoint format (adapter_config.json,
 * names that begin with base_model.model.) and of LoraConfig: strengths alpha / rank or, rank stabilised, alpha /
 * sqrt(rank); alpha_pattern, regular expressions that match the end of a module's name. */
#include "peft.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert_parts.h"

enum {
    CONFIG_LIMIT = 1 << 20,
    MAX_STRENGTHS = 4096,
    MAX_CELLS = 1 << 24 /* of all patterns of alpha_pattern together */
};

/* ---- adapter_config.json */

static facet_status fail_key(facet_error *error, const char *key, const char *what) {
    return error_set(error, FACET_ERROR_UNSUPPORTED, "adapter_config.json: '%s' %s", key, what);
}

static bool is_empty(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0);
}

static facet_status read_config(peft_adapter *p, facet_error *error) {
    static const char *const none[] = {"use_dora",
                                       "fan_in_fan_out",
                                       "lora_bias",
                                       "modules_to_save",
                                       "use_qalora",
                                       "invocation_string",
                                       "layer_replication",
                                       "megatron_config",
                                       "alora_invocation_tokens",
                                       "trainable_token_indices"};
    const json_t *c = p->config, *alpha = json_object_get(c, "lora_alpha"), *kind = json_object_get(c, "peft_type");
    const char *bias = json_string_value(json_object_get(c, "bias"));
    if (!json_is_string(kind) || strcmp(json_string_value(kind), "LORA") != 0) {
        return fail_key(error, "peft_type", "is not LORA: facet has no other adapters");
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        if (!is_empty(json_object_get(c, none[i]))) return fail_key(error, none[i], "is set, which facet cannot use");
    }
    if (bias && strcmp(bias, "none") != 0) return fail_key(error, "bias", "is not none: facet has no biases");
    p->alpha = json_number_value(alpha);
    if (!json_is_number(alpha) || !isfinite((float)p->alpha) || p->alpha == 0) {
        return error_set(error, FACET_ERROR_FORMAT, "adapter_config.json: 'lora_alpha' is no number other than 0");
    }
    p->rank_stabilised = json_is_true(json_object_get(c, "use_rslora"));
    return FACET_OK;
}

/* A pattern as PEFT uses it: it matches a module's whole name, or its end behind a dot. */
static facet_status read_pattern(lang **out, const char *key, facet_error *error) {
    char pattern[1100];
    facet_error why = {0};
    facet_status status = FACET_ERROR_UNSUPPORTED;
    int n = snprintf(pattern, sizeof pattern, "^(.*\\.)?(%s)$", key);
    if (n < (int)sizeof pattern) status = lang_pattern(out, pattern, (size_t)n, &why);
    if (status == FACET_OK) return status;
    if (status == FACET_ERROR_MEMORY) return error_set(error, status, "%s", why.message);
    return error_set(error, status,
                     "adapter_config.json: alpha_pattern '%.100s' is a regular expression that facet cannot read",
                     key);
}

static facet_status add_strength(peft_adapter *p, const char *key, const json_t *value, size_t *n_cells,
                                 facet_error *error) {
    peft_strength *s = &p->strengths[p->n_strengths];
    s->alpha = json_number_value(value);
    if (!json_is_number(value) || !isfinite((float)s->alpha)) {
        return error_set(error, FACET_ERROR_FORMAT, "adapter_config.json: alpha_pattern '%.100s' is no number", key);
    }
    FACET_TRY(read_pattern(&s->modules, key, error));
    p->n_strengths++;
    *n_cells += s->modules->n_states * s->modules->n_intervals;
    return *n_cells <= MAX_CELLS ? FACET_OK : fail_key(error, "alpha_pattern", "is too large");
}

static facet_status read_strengths(peft_adapter *p, facet_error *error) {
    json_t *patterns = json_object_get(p->config, "alpha_pattern"), *value;
    size_t n = json_object_size(patterns), n_cells = 0;
    const char *key;
    if (n > MAX_STRENGTHS) return fail_key(error, "alpha_pattern", "has too many patterns");
    p->strengths = calloc(n + 1, sizeof *p->strengths);
    if (!p->strengths) return error_memory(error, (n + 1) * sizeof *p->strengths);
    json_object_foreach(patterns, key, value) FACET_TRY(add_strength(p, key, value, &n_cells, error));
    return FACET_OK;
}

/* alpha_pattern's first match, or the adapter's alpha. */
static double find_alpha(const peft_adapter *p, const char *module) {
    for (size_t i = 0; i < p->n_strengths; i++) {
        if (lang_has(p->strengths[i].modules, module, strlen(module))) return p->strengths[i].alpha;
    }
    return p->alpha;
}

/* ---- names */

static const char *const ends[][2] = {{".lora_A.weight", ".lora_B.weight"},
                                      {".lora_embedding_A", ".lora_embedding_B"}};

/* 0 or 1 for which half of a pair the name is, -1 for neither; *stem is the length before the end. */
static int half_of(const char *name, size_t *stem, int *form) {
    size_t n = strlen(name);
    for (*form = 0; *form < 2; ++*form) {
        for (int half = 0; half < 2; half++) {
            size_t end = strlen(ends[*form][half]);
            *stem = n - end;
            if (n > end && !strcmp(name + *stem, ends[*form][half])) return half;
        }
    }
    return -1;
}

static facet_status refuse(const char *name, facet_error *error) {
    const char *why = strstr(name, "lora_magnitude_vector") ? "it belongs to a DoRA, which facet cannot use"
                      : strstr(name, ".bias")               ? "facet has no biases"
                      : strstr(name, ".lora_")              ? "no half of a pair is called that"
                                                            : "a whole tensor, not a change of low rank";
    return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.150s' is none that facet can use: %s", name, why);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* "model.layers.3.experts" or, where two parameters are changed, ".base_layer" behind it: PEFT leaves out which. */
static bool experts_name(const char *module, char *out) {
    char name[300];
    size_t n = strlen(module);
    if (ends_with(module, ".base_layer")) n -= strlen(".base_layer");
    snprintf(name, sizeof name, "%.*s.down_proj", (int)n, module);
    if (n < 8 || strncmp(module + n - 8, ".experts", 8) != 0 || !convert_our_name(name, out, PEFT_MAX_NAME))
        return false;
    *strstr(out, "ffn_down_exps") = '\0';
    return true;
}

static bool find_name(peft_pair *pair, bool embedding) {
    char name[300];
    if (experts_name(pair->module, pair->name)) {
        pair->kind = PEFT_EXPERTS;
        return true;
    }
    snprintf(name, sizeof name, "%s.weight", pair->module);
    bool stacked = !convert_our_name(name, pair->name, sizeof pair->name);
    if (stacked && !convert_our_name(pair->module, pair->name, sizeof pair->name)) return false;
    pair->kind = embedding ? PEFT_EMBEDDING : stacked ? PEFT_STACKED : PEFT_LINEAR;
    bool rows = !strcmp(pair->name, "token_embd.weight") || !strcmp(pair->name, "per_layer_token_embd.weight");
    if (rows != embedding || stacked != (strstr(pair->name, "_exps.weight") != NULL)) return false;
    return ends_with(pair->name, ".weight") && !strstr(pair->name, "norm") && !strstr(pair->name, "output_scale");
}

void peft_settle(const peft_adapter *p, peft_pair *pair, bool is_down) {
    size_t n = strlen(pair->module), at = strlen(pair->name);
    if (ends_with(pair->module, ".base_layer")) n -= strlen(".base_layer");
    snprintf(pair->module + n, sizeof pair->module - n, is_down ? ".down_proj" : ".gate_up_proj");
    snprintf(pair->name + at, sizeof pair->name - at, is_down ? "ffn_down_exps.weight" : "ffn_gate_up_exps.weight");
    pair->alpha = find_alpha(p, pair->module);
}

/* ---- shapes */

static facet_status wrong_shape(const safetensor *t, facet_error *error) {
    return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' has a shape that does not fit its other half",
                     t->name);
}

static facet_status check_pair(peft_pair *pair, facet_error *error) {
    uint32_t n_dims = pair->kind == PEFT_STACKED ? 3 : 2;
    for (int i = 0; i < 2; i++) {
        const safetensor *t = i ? pair->b : pair->a;
        if (!t->format) {
            return error_set(error, FACET_ERROR_UNSUPPORTED,
                             "tensor '%.150s' is %s: only F32, F16 and BF16 are converted", t->name, t->dtype);
        }
        if (t->n_dims != n_dims || t->n_bytes == 0) return wrong_shape(t, error);
    }
    const uint64_t *a = pair->a->shape, *b = pair->b->shape;
    pair->rank = a[n_dims - 2];
    if (b[n_dims - 1] != pair->rank || (n_dims == 3 && a[0] != b[0])) return wrong_shape(pair->b, error);
    return FACET_OK;
}

/* ---- pairs */

static facet_status add_pair(peft_adapter *p, const safetensor *a, size_t stem, int form, facet_error *error) {
    static const char root[] = "base_model.model.";
    peft_pair *pair = &p->pairs[p->n];
    char other[400];
    size_t begin = strncmp(a->name, root, sizeof root - 1) ? 0 : sizeof root - 1;
    if (stem - begin >= sizeof pair->module) return refuse(a->name, error);
    snprintf(other, sizeof other, "%.*s%s", (int)stem, a->name, ends[form][1]);
    *pair = (peft_pair){.a = a, .b = safetensors_find(&p->files, other)};
    snprintf(pair->module, sizeof pair->module, "%.*s", (int)(stem - begin), a->name + begin);
    if (!pair->b) {
        return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' is missing beside '%.150s'", other, a->name);
    }
    if (!find_name(pair, form == 1)) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.150s' is for no matrix of the text model",
                         a->name);
    }
    p->n++;
    pair->alpha = find_alpha(p, pair->module);
    return check_pair(pair, error);
}

/* A name that ends as a second half must have its first. */
static facet_status check_second(const peft_adapter *p, const char *name, size_t stem, int form, facet_error *error) {
    char other[400];
    snprintf(other, sizeof other, "%.*s%s", (int)(stem < 350 ? stem : 350), name, ends[form][0]);
    if (safetensors_find(&p->files, other)) return FACET_OK;
    return error_set(error, FACET_ERROR_FORMAT, "tensor '%.150s' is missing beside '%.150s'", other, name);
}

static long layer_of(const char *name) { return strncmp(name, "blk.", 4) ? -1 : strtol(name + 4, NULL, 10); }

static int by_layer(const void *a, const void *b) {
    const peft_pair *x = a, *y = b;
    long i = layer_of(x->name), k = layer_of(y->name);
    if (i != k) return i < k ? -1 : 1;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->module, y->module);
}

static facet_status read_pairs(peft_adapter *p, facet_error *error) {
    if (!p->files.n) return error_set(error, FACET_ERROR_FORMAT, "the adapter has no tensors");
    p->pairs = calloc(p->files.n, sizeof *p->pairs);
    if (!p->pairs) return error_memory(error, p->files.n * sizeof *p->pairs);
    for (size_t i = 0; i < p->files.n; i++) {
        const safetensor *t = &p->files.tensors[i];
        size_t stem;
        int form, half = half_of(t->name, &stem, &form);
        if (half < 0) return refuse(t->name, error);
        if (half == 0) FACET_TRY(add_pair(p, t, stem, form, error));
        if (half == 1) FACET_TRY(check_second(p, t->name, stem, form, error));
    }
    qsort(p->pairs, p->n, sizeof *p->pairs, by_layer);
    return FACET_OK;
}

static facet_status open_all(peft_adapter *p, const char *dir, facet_error *error) {
    FACET_TRY(json_file(&p->config, dir, "adapter_config.json", CONFIG_LIMIT, error));
    FACET_TRY(read_config(p, error));
    FACET_TRY(read_strengths(p, error));
    FACET_TRY(safetensors_open(&p->files, dir, "adapter_model", error));
    return read_pairs(p, error);
}

facet_status peft_open(peft_adapter *p, const char *dir, facet_error *error) {
    *p = (peft_adapter){0};
    facet_status status = open_all(p, dir, error);
    if (status != FACET_OK) peft_close(p);
    return status;
}

void peft_close(peft_adapter *p) {
    for (size_t i = 0; i < p->n_strengths; i++) lang_free(p->strengths[i].modules);
    free(p->strengths);
    free(p->pairs);
    safetensors_free(&p->files);
    json_decref(p->config);
    *p = (peft_adapter){0};
}
