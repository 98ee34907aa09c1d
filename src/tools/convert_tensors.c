/* A checkpoint's tensors as those of a GGUF file. Owns: which there must be, and their order. What a checkpoint holds
 * beside the text model (towers of images and sound, keys of layers that share) is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert_parts.h"

typedef struct listing {
    const convert_config *c;
    const char *prefix;
    const safetensors *s;
    flow_tensor *out;
    size_t n;
    facet_error *error;
} listing;

size_t convert_max_tensors(const convert_config *c) {
    return convert_n_model_names + 2 + (size_t)c->n_layers * convert_n_layer_names;
}

/* A new tensor with a name of its own; NULL: no memory. */
static flow_tensor *new_tensor(listing *l, const char *name) {
    flow_tensor *t = &l->out[l->n];
    char *copy = strdup(name);
    *t = (flow_tensor){0};
    if (!copy) {
        error_memory(l->error, strlen(name));
        return NULL;
    }
    t->name = (gguf_string){copy, strlen(copy)};
    for (int i = 0; i < GGUF_MAX_DIMS; i++) t->ne[i] = 1;
    l->n++;
    return t;
}

static facet_status add(listing *l, const char *name, const safetensor *from) {
    if (!from->format) {
        return error_set(l->error, FACET_ERROR_UNSUPPORTED, "tensor '%s' is %s: only F32, F16 and BF16 are converted",
                         from->name, from->dtype);
    }
    if (from->n_dims < 1 || from->n_dims > GGUF_MAX_DIMS || !from->n_bytes) {
        return error_set(l->error, FACET_ERROR_FORMAT, "tensor '%s' has %u axes and %llu bytes", from->name,
                         from->n_dims, (unsigned long long)from->n_bytes);
    }
    flow_tensor *t = new_tensor(l, name);
    if (!t) return FACET_ERROR_MEMORY;
    t->n_dims = from->n_dims;
    for (uint32_t i = 0; i < from->n_dims; i++) t->ne[i] = from->shape[from->n_dims - 1 - i];
    t->from = t->to = from->format;
    t->type_id = from->format->file_id;
    t->data = from->data;
    t->n_bytes = from->n_bytes;
    return FACET_OK;
}

static bool wanted(const convert_config *c, convert_presence when, uint32_t layer) {
    switch (when) {
    case CONVERT_PER_LAYER: return c->per_layer > 0;
    case CONVERT_OWNS_KV: return convert_owns_kv(c, layer);
    case CONVERT_OWNS_VALUES: return convert_owns_kv(c, layer);
    case CONVERT_EXPERTS: return c->experts > 0;
    default: return true;
    }
}

/* Values that are the keys' projection have no tensor; neither has what a checkpoint may leave out. */
static bool may_lack(const convert_config *c, convert_presence when, uint32_t layer) {
    return when == CONVERT_IF_THERE || (when == CONVERT_OWNS_VALUES && c->keys_are_values && c->full[layer]);
}

static facet_status add_named(listing *l, const convert_name *pair, const char *ours, const char *theirs,
                              uint32_t layer) {
    char name[160];
    if (!wanted(l->c, pair->when, layer)) return FACET_OK;
    snprintf(name, sizeof name, "%s%s%s", l->prefix, theirs, pair->theirs);
    const safetensor *from = safetensors_find(l->s, name);
    if (!from && may_lack(l->c, pair->when, layer)) return FACET_OK;
    if (!from) return error_set(l->error, FACET_ERROR_FORMAT, "the checkpoint has no tensor '%s'", name);
    snprintf(name, sizeof name, "%s%s", ours, pair->ours);
    return add(l, name, from);
}

/* Full layers rotate a part of each head; the other frequencies are divided away. */
static facet_status add_rope(listing *l) {
    uint32_t n = l->c->head_dim_full / 2, rotated = (uint32_t)((double)l->c->head_dim_full * l->c->rotated_part / 2);
    float *factors = malloc((n + 1) * sizeof *factors);
    flow_tensor *t = factors ? new_tensor(l, "rope_freqs.weight") : NULL;
    if (!t) {
        free(factors);
        return error_memory(l->error, n * sizeof *factors);
    }
    for (uint32_t i = 0; i < n; i++) factors[i] = i < rotated ? 1.0f : 1e30f;
    t->n_dims = 1;
    t->ne[0] = n;
    t->from = t->to = quant_format_of(QUANT_F32);
    t->data = (const uint8_t *)factors;
    t->n_bytes = n * sizeof *factors;
    return FACET_OK;
}

static facet_status add_head(listing *l) {
    const safetensor *head = safetensors_find(l->s, "lm_head.weight");
    const flow_tensor *embedding = &l->out[0];
    if (!head) head = safetensors_find(l->s, "language_model.lm_head.weight");
    if (!head || (head->n_bytes == embedding->n_bytes && !memcmp(head->data, embedding->data, head->n_bytes))) {
        return FACET_OK; /* tied */
    }
    return add(l, "output.weight", head);
}

/* A layer's KV heads: by its own projection, or by the config where it has none. */
static facet_status count_heads(listing *l, uint32_t layer, uint32_t *heads) {
    const convert_config *c = l->c;
    char name[160];
    uint32_t size = c->full[layer] ? c->head_dim_full : c->head_dim;
    *heads = c->full[layer] ? c->kv_heads_full : c->kv_heads;
    if (!convert_owns_kv(c, layer)) return FACET_OK;
    snprintf(name, sizeof name, "%slayers.%u.self_attn.k_proj.weight", l->prefix, layer);
    const safetensor *k = safetensors_find(l->s, name);
    if (k->n_dims != 2 || k->shape[0] != (uint64_t)*heads * size) {
        return error_set(l->error, FACET_ERROR_FORMAT, "tensor '%s' has %llu rows; config.json means %u", name,
                         (unsigned long long)k->shape[0], *heads * size);
    }
    return FACET_OK;
}

static facet_status add_layer(listing *l, uint32_t layer, uint32_t *heads) {
    char ours[32], theirs[32];
    snprintf(ours, sizeof ours, "blk.%u.", layer);
    snprintf(theirs, sizeof theirs, "layers.%u.", layer);
    for (size_t i = 0; i < convert_n_layer_names; i++)
        FACET_TRY(add_named(l, &convert_layer_names[i], ours, theirs, layer));
    return count_heads(l, layer, heads);
}

facet_status convert_list_tensors(const convert_config *c, const convert_names *names, const safetensors *s,
                                  flow_tensor *out, size_t *n, uint32_t *kv_heads, facet_error *error) {
    listing l = {.c = c, .prefix = names->prefix, .s = s, .out = out, .error = error};
    facet_status status = FACET_OK;
    for (size_t i = 0; i < convert_n_model_names && status == FACET_OK; i++)
        status = add_named(&l, &convert_model_names[i], "", "", 0);
    if (status == FACET_OK) status = add_head(&l);
    if (status == FACET_OK) status = add_rope(&l);
    for (uint32_t i = 0; i < c->n_layers && status == FACET_OK; i++) status = add_layer(&l, i, &kv_heads[i]);
    *n = l.n;
    return status;
}

void convert_free_tensors(flow_tensor *tensors, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].name.n == 17 && !memcmp(tensors[i].name.data, "rope_freqs.weight", 17)) {
            free((void *)(uintptr_t)tensors[i].data);
        }
        free((void *)(uintptr_t)tensors[i].name.data);
    }
    free(tensors);
}
