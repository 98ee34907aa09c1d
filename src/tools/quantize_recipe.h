/* Which type each tensor gets. Private to src/tools. */
#ifndef FACET_TOOLS_QUANTIZE_RECIPE_H
#define FACET_TOOLS_QUANTIZE_RECIPE_H

#include <regex.h>

#include "base/error.h"
#include "gguf/gguf.h"

typedef struct quantize_recipe quantize_recipe;

/* "q4_k_m", any case. NULL: unknown. */
const quantize_recipe *recipe_find(const char *name);
const char *recipe_name(size_t i);                        /* NULL past the end */
uint32_t recipe_file_type(const quantize_recipe *recipe); /* the number of general.file_type */

/* RE=TYPE, compiled. */
typedef struct recipe_override {
    regex_t pattern;
    const quant_format *type;
} recipe_override;

typedef struct recipe_rules {
    const quantize_recipe *recipe; /* NULL: what is not overridden keeps its type */
    recipe_override *overrides;
    size_t n_overrides;
    uint32_t n_layers;  /* of the model */
    uint32_t *value_at; /* of each layer, its place among those with attn_v; UINT32_MAX: it has none */
    uint32_t n_values;
    bool has_output; /* there is a head of its own */
} recipe_rules;

/* Compiles the overrides; the names of all tensors tell the layers. */
facet_status recipe_rules_init(recipe_rules *rules, const char *recipe, const char *const *overrides,
                               size_t n_overrides, const gguf_string *names, size_t n_names, facet_error *error);
void recipe_rules_free(recipe_rules *rules);

/* The type of a tensor of weights of type `from`; `from` itself means that it is kept. */
facet_status recipe_choose(const recipe_rules *rules, gguf_string name, uint32_t n_dims, const uint64_t *ne,
                           const quant_format *from, const quant_format **to, facet_error *error);

#endif
