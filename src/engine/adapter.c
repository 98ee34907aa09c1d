/* Opening adapters, and sets of them. See adapter.h. */
#include "engine/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 64 }; /* in a set */

static facet_status read_adapter(facet_adapter *a, facet_error *err) {
    size_t n_parts;
    const gguf_part *parts = source_parts(a->source, &n_parts);
    const facet_model *m = a->model;
    gguf_file *file;
    FACET_TRY(gguf_open(&file, parts, n_parts, NULL, err));
    facet_status status = lora_read(&a->lora, file, &m->weights, &m->hparams, err);
    gguf_free(file);
    return status;
}

/* Takes the source over, also on failure. */
static facet_status open_source(facet_adapter **out, facet_model *model, source *src, facet_error *err) {
    facet_adapter *a = calloc(1, sizeof *a);
    if (!a) {
        source_free(src);
        return error_memory(err, sizeof *a);
    }
    atomic_init(&a->references, 1);
    a->model = model_ref(model);
    a->lora.serial = a->serial = atomic_fetch_add(&model->adapters_opened, 1) + 1;
    a->source = src;
    facet_status status = read_adapter(a, err);
    if (status != FACET_OK)
        facet_adapter_free(a);
    else
        *out = a;
    return status;
}

static facet_status check_model(const facet_model *m, facet_error *err) {
    if (m->has_weights) return FACET_OK;
    return error_set(err, FACET_ERROR_STATE, "the model was opened without its weights");
}

facet_status facet_adapter_open(facet_adapter **out, facet_model *model, const char *path, facet_error *err) {
    *out = NULL;
    error_clear(err);
    source *src;
    FACET_TRY(check_model(model, err));
    FACET_TRY(source_open_path(&src, path, true, err));
    facet_status status = open_source(out, model, src, err);
    if (status != FACET_OK) source_blame(path, err);
    return status;
}

facet_status facet_adapter_open_memory(facet_adapter **out, facet_model *model, const void *data, size_t n_bytes,
                                       facet_release_fn release, void *ctx, facet_error *err) {
    *out = NULL;
    error_clear(err);
    source *src;
    facet_status status = check_model(model, err);
    if (status != FACET_OK) {
        if (release) release(ctx, data, n_bytes);
        return status;
    }
    FACET_TRY(source_open_memory(&src, data, n_bytes, release, ctx, err));
    return open_source(out, model, src, err);
}

void facet_adapter_free(facet_adapter *a) {
    if (!a || atomic_fetch_sub(&a->references, 1) > 1) return;
    lora_free(&a->lora);
    source_free(a->source);
    facet_model_free(a->model);
    free(a);
}

facet_status facet_adapter_get_info(const facet_adapter *a, facet_adapter_info *info) {
    FACET_TRY(options_check("facet_adapter_info", info->size, sizeof *info, NULL));
    *info = (facet_adapter_info){.size = sizeof *info,
                                 .name = a->lora.name,
                                 .rank = (int32_t)a->lora.rank,
                                 .alpha = a->lora.alpha,
                                 .n_tensors = a->lora.n_tensors,
                                 .n_bytes = a->lora.n_bytes};
    return FACET_OK;
}

/* ---- sets */

static facet_status check_use(const facet_model *model, const facet_adapter_use *use, size_t i, facet_error *err) {
    if (!use->adapter) return error_set(err, FACET_ERROR_ARGUMENT, "adapter %zu is NULL", i);
    if (use->adapter->model != model) {
        return error_set(err, FACET_ERROR_ARGUMENT, "adapter %zu was opened for another model", i);
    }
    if (isfinite(use->scale)) return FACET_OK;
    return error_set(err, FACET_ERROR_ARGUMENT, "the scale of adapter %zu is not a finite number", i);
}

facet_status adapter_set_new(adapter_set **out, const facet_model *model, const facet_adapter_use *uses, size_t n,
                             facet_error *err) {
    *out = NULL;
    if (n == 0) return FACET_OK;
    if (n > MAX_ADAPTERS) {
        return error_set(err, FACET_ERROR_ARGUMENT, "%zu adapters at once, the most is %d", n, MAX_ADAPTERS);
    }
    for (size_t i = 0; i < n; i++) FACET_TRY(check_use(model, &uses[i], i, err));
    adapter_set *set = calloc(1, sizeof *set + n * (sizeof *set->lora.uses + sizeof *set->held));
    if (!set) return error_memory(err, sizeof *set);
    set->held = (facet_adapter **)(set + 1);
    set->lora.uses = (lora_use *)(set->held + n);
    set->lora.n = n;
    for (size_t i = 0; i < n; i++) {
        atomic_fetch_add(&uses[i].adapter->references, 1);
        set->held[i] = uses[i].adapter;
        set->lora.uses[i] = (lora_use){.adapter = &uses[i].adapter->lora, .scale = uses[i].scale};
    }
    set->lora.rank = lora_set_rank(set->lora.uses, n);
    *out = set;
    return FACET_OK;
}

void adapter_set_free(adapter_set *set) {
    if (!set) return;
    for (size_t i = 0; i < set->lora.n; i++) facet_adapter_free(set->held[i]);
    free(set);
}

bool adapter_set_equal(const adapter_set *a, const adapter_set *b) {
    if (!a || !b) return a == b;
    if (a->lora.n != b->lora.n) return false;
    for (size_t i = 0; i < a->lora.n; i++) {
        if (a->held[i] != b->held[i] || a->lora.uses[i].scale != b->lora.uses[i].scale) return false;
    }
    return true;
}

/* The finalizer of splitmix64: every bit of x reaches every bit of the result. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t adapter_set_key(const adapter_set *set) {
    uint64_t key = 0;
    for (size_t i = 0; set && i < set->lora.n; i++) {
        uint32_t scale;
        memcpy(&scale, &set->lora.uses[i].scale, sizeof scale);
        key = mix(mix(key + set->held[i]->serial) + scale + 1);
    }
    return key;
}
