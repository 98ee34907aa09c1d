/* The recipes: a type for most matrices, and others for those that matter more. Owns: these rules. They follow what
 * llama.cpp's quantiser does to Gemma 4 where it does something (q4_k_m, q5_k_m and their like): embeddings, which
 * are the head too, get six bits; attn_v and ffn_down get more bits in the first and last eighth of the layers and in
 * every third between. Vectors, routers and the per-layer projection stay as they are. Rows that are no multiple of
 * 256 get the nearest type with blocks of 32. */
#include "quantize_recipe.h"

#include <stdlib.h>
#include <string.h>

typedef enum when { NEVER, FIRST_FOUR, FIRST_EIGHTH, MORE, ALWAYS } when;

/* A type for some tensors in some layers. */
typedef struct boost {
    when when;
    quant_type type;
} boost;

struct quantize_recipe {
    const char *name;
    uint32_t file_type;
    quant_type base, embedding;
    boost value, down, output; /* attn_v, ffn_down, attn_output */
};

#define SAME(NAME, id, TYPE)                                                                                         \
    { .name = NAME, .file_type = id, .base = QUANT_##TYPE, .embedding = QUANT_##TYPE }
#define WITH_Q6(NAME, id, TYPE)                                                                                      \
    { .name = NAME, .file_type = id, .base = QUANT_##TYPE, .embedding = QUANT_Q6_K }

static const quantize_recipe recipes[] = {
    {"q4_k_m", 15, QUANT_Q4_K, QUANT_Q6_K, {MORE, QUANT_Q6_K}, {MORE, QUANT_Q6_K}, {0}},
    {"q4_k_s", 14, QUANT_Q4_K, QUANT_Q6_K, {FIRST_FOUR, QUANT_Q5_K}, {FIRST_EIGHTH, QUANT_Q5_K}, {0}},
    {"q5_k_m", 17, QUANT_Q5_K, QUANT_Q6_K, {MORE, QUANT_Q6_K}, {MORE, QUANT_Q6_K}, {0}},
    WITH_Q6("q5_k_s", 16, Q5_K),
    SAME("q6_k", 18, Q6_K),
    SAME("q8_0", 7, Q8_0),
    {"q3_k_l", 13, QUANT_Q3_K, QUANT_Q6_K, {ALWAYS, QUANT_Q5_K}, {ALWAYS, QUANT_Q5_K}, {ALWAYS, QUANT_Q5_K}},
    {"q3_k_m", 12, QUANT_Q3_K, QUANT_Q6_K, {ALWAYS, QUANT_Q4_K}, {ALWAYS, QUANT_Q4_K}, {ALWAYS, QUANT_Q4_K}},
    WITH_Q6("q3_k_s", 11, Q3_K),
    {"q2_k", 10, QUANT_Q2_K, QUANT_Q6_K, {ALWAYS, QUANT_Q4_K}, {ALWAYS, QUANT_Q3_K}, {ALWAYS, QUANT_Q3_K}},
    {"iq4_nl", 25, QUANT_IQ4_NL, QUANT_Q6_K, {ALWAYS, QUANT_Q5_K}, {FIRST_EIGHTH, QUANT_Q5_K}, {0}},
    {"iq4_xs", 30, QUANT_IQ4_XS, QUANT_Q6_K, {ALWAYS, QUANT_Q5_K}, {FIRST_EIGHTH, QUANT_Q5_K}, {0}},
    WITH_Q6("q4_0", 2, Q4_0),
    WITH_Q6("q4_1", 3, Q4_1),
    WITH_Q6("q5_0", 8, Q5_0),
    WITH_Q6("q5_1", 9, Q5_1),
    WITH_Q6("mxfp4", 38, MXFP4),
    WITH_Q6("nvfp4", 39, NVFP4),
    WITH_Q6("tq2_0", 37, TQ2_0),
    WITH_Q6("tq1_0", 36, TQ1_0),
    SAME("bf16", 32, BF16),
    SAME("f16", 1, F16),
    SAME("f32", 0, F32),
};
enum { N_RECIPES = sizeof recipes / sizeof recipes[0] };

static const struct {
    const char *alias, *name;
} aliases[] = {{"q2_k_m", "q2_k"}, {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};

const quantize_recipe *recipe_find(const char *name) {
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (quant_same_name(aliases[i].alias, name)) name = aliases[i].name;
    }
    for (size_t i = 0; i < N_RECIPES; i++) {
        if (quant_same_name(recipes[i].name, name)) return &recipes[i];
    }
    return NULL;
}

const char *recipe_name(size_t i) { return i < N_RECIPES ? recipes[i].name : NULL; }
uint32_t recipe_file_type(const quantize_recipe *recipe) { return recipe->file_type; }

/* ---- names */

static bool ends_with(gguf_string name, const char *end) {
    size_t n = strlen(end);
    return name.n >= n && memcmp(name.data + name.n - n, end, n) == 0;
}

static bool is(gguf_string name, const char *text) { return name.n == strlen(text) && ends_with(name, text); }

/* N of "blk.N.", false for other names. */
static bool layer_of(gguf_string name, uint32_t *layer) {
    uint32_t n = 0;
    size_t i = 4;
    if (name.n < 6 || memcmp(name.data, "blk.", 4) != 0) return false;
    for (; i < name.n && name.data[i] >= '0' && name.data[i] <= '9' && n < 100000; i++) {
        n = 10 * n + (uint32_t)(name.data[i] - '0');
    }
    *layer = n;
    return i > 4 && i < name.n && name.data[i] == '.' && n < 100000;
}

/* ---- rules */

static facet_status find_layers(recipe_rules *r, const gguf_string *names, size_t n, facet_error *error) {
    uint32_t layer;
    for (size_t i = 0; i < n; i++) {
        if (layer_of(names[i], &layer) && layer >= r->n_layers) r->n_layers = layer + 1;
        if (is(names[i], "output.weight")) r->has_output = true;
    }
    r->value_at = malloc((r->n_layers + 1) * sizeof *r->value_at);
    if (!r->value_at) return error_memory(error, r->n_layers * sizeof *r->value_at);
    memset(r->value_at, 0xff, (r->n_layers + 1) * sizeof *r->value_at);
    for (size_t i = 0; i < n; i++) {
        if (layer_of(names[i], &layer) && ends_with(names[i], ".attn_v.weight")) r->value_at[layer] = 0;
    }
    for (uint32_t l = 0; l < r->n_layers; l++) {
        if (r->value_at[l] == 0) r->value_at[l] = r->n_values++;
    }
    return FACET_OK;
}

static facet_status compile(recipe_override *o, const char *text, facet_error *error) {
    const char *equals = strrchr(text, '=');
    char pattern[512], why[160];
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof pattern) {
        return error_set(error, FACET_ERROR_ARGUMENT, "'%.100s' is not REGEX=TYPE", text);
    }
    o->type = quant_format_by_name(equals + 1);
    if (!o->type)
        return error_set(error, FACET_ERROR_ARGUMENT, "'%.100s': there is no type '%.40s'", text, equals + 1);
    if (!o->type->quantise) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "'%.100s': %s can be read, but not written", text,
                         o->type->name);
    }
    memcpy(pattern, text, (size_t)(equals - text));
    pattern[equals - text] = '\0';
    int code = regcomp(&o->pattern, pattern, REG_EXTENDED | REG_NOSUB);
    if (code == 0) return FACET_OK;
    regerror(code, &o->pattern, why, sizeof why);
    return error_set(error, FACET_ERROR_ARGUMENT, "'%.100s' is no regular expression: %s", pattern, why);
}

static facet_status compile_all(recipe_rules *r, const char *const *overrides, size_t n, facet_error *error) {
    r->overrides = calloc(n + 1, sizeof *r->overrides);
    if (!r->overrides) return error_memory(error, n * sizeof *r->overrides);
    for (size_t i = 0; i < n; i++) {
        FACET_TRY(compile(&r->overrides[i], overrides[i], error));
        r->n_overrides++;
    }
    return FACET_OK;
}

facet_status recipe_rules_init(recipe_rules *r, const char *recipe, const char *const *overrides, size_t n_overrides,
                               const gguf_string *names, size_t n_names, facet_error *error) {
    facet_status status = FACET_OK;
    *r = (recipe_rules){0};
    if (recipe && !(r->recipe = recipe_find(recipe))) {
        const quant_format *f = quant_format_by_name(recipe);
        status = f ? error_set(error, FACET_ERROR_UNSUPPORTED,
                               "%s can be read, but not written: it needs training data", f->name)
                   : error_set(error, FACET_ERROR_ARGUMENT, "there is no type '%.40s'", recipe);
    }
    if (status == FACET_OK) status = compile_all(r, overrides, n_overrides, error);
    if (status == FACET_OK) status = find_layers(r, names, n_names, error);
    if (status != FACET_OK) recipe_rules_free(r);
    return status;
}

void recipe_rules_free(recipe_rules *r) {
    for (size_t i = 0; i < r->n_overrides; i++) regfree(&r->overrides[i].pattern);
    free(r->overrides);
    free(r->value_at);
    *r = (recipe_rules){0};
}

/* ---- the choice */

static bool applies(when w, uint32_t i, uint32_t n) {
    uint32_t eighth = n / 8;
    switch (w) {
    case ALWAYS: return true;
    case FIRST_FOUR: return i < 4;
    case FIRST_EIGHTH: return i < eighth;
    case MORE: return i < eighth || i >= 7 * n / 8 || (i - eighth) % 3 == 2;
    default: return false;
    }
}

static quant_type recipe_type(const recipe_rules *r, gguf_string name) {
    const quantize_recipe *recipe = r->recipe;
    uint32_t layer;
    bool head = is(name, "output.weight");
    if (head || is(name, "per_layer_token_embd.weight") || (is(name, "token_embd.weight") && !r->has_output)) {
        return recipe->embedding;
    }
    if (!layer_of(name, &layer)) return recipe->base;
    if (ends_with(name, ".attn_v.weight") && applies(recipe->value.when, r->value_at[layer], r->n_values)) {
        return recipe->value.type;
    }
    if ((ends_with(name, ".ffn_down.weight") || ends_with(name, ".ffn_down_exps.weight")) &&
        applies(recipe->down.when, layer, r->n_layers)) {
        return recipe->down.type;
    }
    if (ends_with(name, ".attn_output.weight") && recipe->output.when == ALWAYS) return recipe->output.type;
    return recipe->base;
}

/* For rows that are no multiple of 256, then for those that are no multiple of 32. */
static const quant_format *fitting(quant_type type, uint64_t row) {
    static const quant_type smaller[QUANT_N_TYPES] = {
        [QUANT_Q2_K] = QUANT_IQ4_NL, [QUANT_Q3_K] = QUANT_IQ4_NL, [QUANT_Q4_K] = QUANT_Q5_0,
        [QUANT_Q5_K] = QUANT_Q5_1,   [QUANT_Q6_K] = QUANT_Q8_0,   [QUANT_IQ4_XS] = QUANT_IQ4_NL,
        [QUANT_NVFP4] = QUANT_MXFP4, [QUANT_TQ1_0] = QUANT_Q4_0,  [QUANT_TQ2_0] = QUANT_Q4_0,
    };
    const quant_format *f = quant_format_of(type);
    if (row % f->block && smaller[type]) f = quant_format_of(smaller[type]);
    return row % f->block ? quant_format_of(QUANT_F16) : f;
}

/* A terminated copy for the regular expressions. */
static bool matches(const recipe_override *o, gguf_string name) {
    char text[256];
    if (name.n >= sizeof text) return false;
    memcpy(text, name.data, name.n);
    text[name.n] = '\0';
    return regexec(&o->pattern, text, 0, NULL, 0) == 0;
}

/* Vectors and routers decide too much for what they weigh; the projection of the per-layer embeddings is applied to
 * every token's input and stays a float. */
static bool keeps_type(gguf_string name, uint32_t n_dims, const quant_format *to) {
    if (n_dims < 2 || !ends_with(name, ".weight") || ends_with(name, "ffn_gate_inp.weight")) return true;
    return is(name, "per_layer_model_proj.weight") && to->block > 1;
}

facet_status recipe_choose(const recipe_rules *r, gguf_string name, uint32_t n_dims, const uint64_t *ne,
                           const quant_format *from, const quant_format **to, facet_error *error) {
    *to = from;
    if (n_dims < 2) return FACET_OK;
    for (size_t i = 0; i < r->n_overrides; i++) {
        const quant_format *type = r->overrides[i].type;
        if (!matches(&r->overrides[i], name)) continue;
        if (ne[0] % type->block) {
            return error_set(
                error, FACET_ERROR_ARGUMENT, "tensor '%.*s' cannot be %s: its rows of %llu are no multiple of %u",
                (int)(name.n < 100 ? name.n : 100), name.data, type->name, (unsigned long long)ne[0], type->block);
        }
        *to = type;
        return FACET_OK;
    }
    if (!r->recipe) return FACET_OK;
    const quant_format *type = fitting(recipe_type(r, name), ne[0]);
    if (!keeps_type(name, n_dims, type)) *to = type;
    return FACET_OK;
}
