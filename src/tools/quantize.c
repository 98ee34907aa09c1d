/* GGUF to GGUF in other types. See facet_tools.h. The types are chosen in quantize_recipe.c, the work is done in
 * flow.c; here are the key-values of the new file and the importance of columns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "gguf_view.h"
#include "merge.h"
#include "quantize_recipe.h"

void facet_quantize_options_defaults(facet_quantize_options *options) {
    *options = (facet_quantize_options){.size = sizeof *options};
}

const char *facet_quantize_type(size_t i) { return recipe_name(i); }

typedef struct quantize_work {
    facet_gguf *in, *importance;
    gguf_writer *writer;
    merge *merge; /* NULL: no adapters */
    recipe_rules rules;
    flow_tensor *tensors;
    float **columns; /* what was made of the importance file, one for each tensor or NULL */
    size_t n;
} quantize_work;

static bool is_key(gguf_string key, const char *text) {
    return key.n == strlen(text) && !memcmp(key.data, text, key.n);
}

static facet_status copy_keys(quantize_work *w, facet_error *error) {
    static const char *const own[] = {"general.file_type", "general.quantization_version", "split.no", "split.count",
                                      "split.tensors.count"};
    const gguf_file *file = w->in->file;
    FACET_TRY(gguf_writer_new(&w->writer, 0, error));
    for (size_t i = 0; i < gguf_n_kv(file); i++) {
        const gguf_kv *kv = gguf_kv_at(file, i);
        bool skip = false;
        for (size_t k = w->rules.recipe ? 0 : 1; k < sizeof own / sizeof own[0]; k++) skip |= is_key(kv->key, own[k]);
        if (!skip) gguf_add_copy(w->writer, kv);
    }
    gguf_add_u32(w->writer, "general.quantization_version", 2);
    if (w->rules.recipe) gguf_add_u32(w->writer, "general.file_type", recipe_file_type(w->rules.recipe));
    return FACET_OK;
}

static facet_status find_rules(quantize_work *w, const facet_quantize_options *o, facet_error *error) {
    gguf_string *names = malloc((w->n + 1) * sizeof *names);
    if (!names) return error_memory(error, w->n * sizeof *names);
    for (size_t i = 0; i < w->n; i++) names[i] = gguf_tensor_at(w->in->file, i)->name;
    facet_status status =
        recipe_rules_init(&w->rules, o->type, o->tensor_types, o->n_tensor_types, names, w->n, error);
    free(names);
    return status;
}

/* ---- importance */

/* Mean squares of what each column is multiplied with: in_sum2 / counts, as llama.cpp's imatrix writes them. NULL in
 * *out: the file says nothing of this tensor. */
static facet_status read_importance(const quantize_work *w, const flow_tensor *t, float **out, facet_error *error) {
    char name[300];
    *out = NULL;
    if (t->name.n > 250) return FACET_OK;
    snprintf(name, sizeof name, "%.*s.in_sum2", (int)t->name.n, t->name.data);
    const gguf_tensor *sums = gguf_tensor_find(w->importance->file, name);
    snprintf(name, sizeof name, "%.*s.counts", (int)t->name.n, t->name.data);
    const gguf_tensor *counts = gguf_tensor_find(w->importance->file, name);
    if (!sums || !counts) return FACET_OK;
    uint64_t n_matrices = sums->ne[1], n_columns = sums->ne[0];
    if (sums->type_id != 0 || counts->type_id != 0 || counts->n_bytes != 4 * n_matrices || n_columns != t->ne[0] ||
        sums->n_bytes != 4 * n_matrices * n_columns || (n_matrices != 1 && n_matrices != t->ne[2])) {
        return error_set(error, FACET_ERROR_FORMAT, "the importance of tensor '%.*s' has another shape",
                         (int)t->name.n, t->name.data);
    }
    float *columns = malloc((size_t)sums->n_bytes);
    if (!columns) return error_memory(error, (size_t)sums->n_bytes);
    memcpy(columns, sums->data, (size_t)sums->n_bytes);
    for (uint64_t m = 0; m < n_matrices; m++) {
        float count;
        memcpy(&count, counts->data + 4 * m, sizeof count);
        for (uint64_t i = 0; i < n_columns; i++) {
            float *c = &columns[m * n_columns + i], v = count > 0.0f ? *c / count : 1.0f;
            *c = v >= 0.0f && v < 1e30f ? v : 0.0f;
        }
    }
    *out = columns;
    return FACET_OK;
}

static facet_status use_importance(quantize_work *w, const char *path, facet_error *error) {
    FACET_TRY(facet_gguf_open(&w->importance, path, false, error));
    size_t n_found = 0;
    for (size_t i = 0; i < w->n; i++) {
        flow_tensor *t = &w->tensors[i];
        if (!t->to || t->to->block == 1 || (t->to == t->from && !t->read)) continue;
        FACET_TRY(read_importance(w, t, &w->columns[i], error));
        if (!w->columns[i]) continue;
        char name[300];
        snprintf(name, sizeof name, "%.*s.in_sum2", (int)t->name.n, t->name.data);
        uint64_t n_matrices = gguf_tensor_find(w->importance->file, name)->ne[1];
        t->importance = (flow_importance){w->columns[i], t->ne[0], n_matrices};
        n_found++;
    }
    if (n_found) return FACET_OK;
    return error_set(error, FACET_ERROR_FORMAT, "'%s' tells the importance of none of the tensors", path);
}

/* ---- tensors */

static facet_status merge_into(quantize_work *w, flow_tensor *t, facet_error *error) {
    if (!w->merge) return FACET_OK;
    FACET_TRY(merge_attach(w->merge, t, error));
    if (!t->read || t->to->quantise) return FACET_OK;
    return error_set(error, FACET_ERROR_UNSUPPORTED,
                     "tensor '%.*s' is %s, which can be read, but not written: name another type", (int)t->name.n,
                     t->name.data, t->to->name);
}

static facet_status plan_tensor(quantize_work *w, size_t i, facet_quantize_result *result, facet_error *error) {
    const gguf_tensor *from = gguf_tensor_at(w->in->file, i);
    flow_tensor *t = &w->tensors[i];
    if (!from->n_bytes) {
        return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.*s' has type %u, which facet cannot copy",
                         (int)from->name.n, from->name.data, from->type_id);
    }
    *t = (flow_tensor){.name = from->name,
                       .n_dims = from->n_dims,
                       .type_id = from->type_id,
                       .from = from->format,
                       .data = from->data,
                       .n_bytes = from->n_bytes};
    memcpy(t->ne, from->ne, sizeof t->ne);
    if (from->format) {
        FACET_TRY(recipe_choose(&w->rules, t->name, t->n_dims, t->ne, t->from, &t->to, error));
        FACET_TRY(merge_into(w, t, error));
        result->n_merged += t->read != NULL;
        result->n_changed += t->to != t->from;
        result->n_requantised += t->to != t->from && t->from->block > 1;
    }
    result->n_tensors++;
    result->in_bytes += t->n_bytes;
    result->out_bytes += flow_bytes(t);
    return FACET_OK;
}

static facet_status plan(quantize_work *w, const facet_quantize_options *o, facet_quantize_result *result,
                         facet_error *error) {
    w->n = gguf_n_tensors(w->in->file);
    w->tensors = calloc(w->n + 1, sizeof *w->tensors);
    w->columns = calloc(w->n + 1, sizeof *w->columns);
    if (!w->tensors || !w->columns) return error_memory(error, w->n * sizeof *w->tensors);
    FACET_TRY(find_rules(w, o, error));
    if (o->n_merges) FACET_TRY(merge_open(&w->merge, w->in->file, o->merges, o->n_merges, error));
    for (size_t i = 0; i < w->n; i++) FACET_TRY(plan_tensor(w, i, result, error));
    if (o->importance) FACET_TRY(use_importance(w, o->importance, error));
    return copy_keys(w, error);
}

static void free_work(quantize_work *w) {
    for (size_t i = 0; w->columns && i < w->n; i++) free(w->columns[i]);
    free(w->columns);
    free(w->tensors);
    recipe_rules_free(&w->rules);
    merge_free(w->merge);
    gguf_writer_free(w->writer);
    facet_gguf_free(w->importance);
    facet_gguf_free(w->in);
}

facet_status facet_quantize(const char *in, const char *out, const facet_quantize_options *o,
                            facet_quantize_result *result, facet_error *error) {
    quantize_work w = {0};
    facet_quantize_result ignored;
    if (!result) result = &ignored;
    *result = (facet_quantize_result){.size = sizeof *result};
    facet_status status = facet_gguf_open(&w.in, in, false, error);
    if (status == FACET_OK) status = plan(&w, o, result, error);
    if (status == FACET_OK) {
        flow_job job = {.tensors = w.tensors,
                        .n = w.n,
                        .sink = flow_gguf(w.writer),
                        .path = out,
                        .mapped = true,
                        .threads = o->threads,
                        .on_progress = o->on_progress,
                        .ctx = o->ctx};
        status = flow_run(&job, error);
    }
    free_work(&w);
    return status;
}
