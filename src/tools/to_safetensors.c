/* A GGUF file's tensors back into a Hugging Face folder. See facet_tools.h. Owns: the names' way back, the types, the
 * cut into shards, and the header of a safetensors file (format: see safetensors.h). What GGUF has beyond the
 * checkpoint (rope_freqs) is left out; experts' gate and up that GGUF may hold apart are one parameter again. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "convert_parts.h"
#include "gguf_view.h"

enum { MAX_NAME = 160 };
static const uint64_t default_shard = 5000000000;

typedef struct back_tensor {
    char name[MAX_NAME];
    const gguf_tensor *gate, *up; /* of experts held apart */
    size_t shard;
} back_tensor;

typedef struct back_work {
    facet_gguf *in;
    const char *dir;
    const quant_format *type; /* NULL: by the rule */
    flow_tensor *tensors;
    back_tensor *parts; /* of each tensor */
    size_t n, n_shards;
    uint64_t total;
    facet_tools_progress_fn on_progress;
    void *ctx;
    uint64_t done, all; /* bytes of input */
} back_work;

/* ---- experts held apart */

static void read_fused(const flow_tensor *t, uint64_t first, size_t n, float *out) {
    const back_tensor *p = t->source;
    uint64_t columns = t->ne[0], half = t->ne[1] / 2;
    for (size_t i = 0; i < n;) { /* units and rows begin with a block */
        uint64_t row = (first + i) / columns, column = (first + i) % columns, expert = row / (2 * half);
        size_t run = n - i < columns - column ? n - i : (size_t)(columns - column);
        const gguf_tensor *from = row % (2 * half) < half ? p->gate : p->up;
        uint64_t at = (expert * half + row % half) * columns + column;
        from->format->dequantise(from->data + at / from->format->block * from->format->block_bytes, out + i,
                                 run / from->format->block);
        i += run;
    }
}

/* ---- which tensors */

static bool is_bfloat16(const gguf_tensor *t) {
    for (uint64_t i = 0; i < t->n_bytes; i += 4) {
        if (t->data[i] || t->data[i + 1]) return false;
    }
    return true;
}

static const quant_format *type_of(const back_work *v, const gguf_tensor *t) {
    if (v->type) return v->type;
    bool keep = t->format->type == QUANT_F16 || (t->format->type == QUANT_F32 && !is_bfloat16(t));
    return keep ? t->format : quant_format_of(QUANT_BF16);
}

static facet_status fail_tensor(const gguf_tensor *t, const char *what, facet_error *error) {
    return error_set(error, FACET_ERROR_UNSUPPORTED, "tensor '%.*s' %s", (int)(t->name.n < 100 ? t->name.n : 100),
                     t->name.data, what);
}

static void put_tensor(back_work *v, const gguf_tensor *t) {
    flow_tensor *to = &v->tensors[v->n];
    back_tensor *part = &v->parts[v->n++];
    *to = (flow_tensor){.name = {part->name, strlen(part->name)},
                        .n_dims = t->n_dims,
                        .from = t->format,
                        .to = type_of(v, t),
                        .data = t->data,
                        .n_bytes = t->n_bytes};
    memcpy(to->ne, t->ne, sizeof to->ne);
}

static const gguf_tensor *other_half(const back_work *v, const char *name, const char *end, const char *other) {
    char text[MAX_NAME + 8];
    snprintf(text, sizeof text, "%.*s%s", (int)(strlen(name) - strlen(end)), name, other);
    return gguf_tensor_find(v->in->file, text);
}

static facet_status add_fused(back_work *v, const gguf_tensor *gate, const char *name, facet_error *error) {
    char merged[MAX_NAME + 8];
    int stem = (int)(strlen(name) - strlen("ffn_gate_exps.weight"));
    snprintf(merged, sizeof merged, "%.*sffn_gate_up_exps.weight", stem, name);
    const gguf_tensor *up = other_half(v, name, "ffn_gate_exps.weight", "ffn_up_exps.weight");
    if (!up || !up->format || memcmp(up->ne, gate->ne, sizeof up->ne) != 0 || up->n_dims != 3) {
        return fail_tensor(gate, "has no other half of the same shape", error);
    }
    back_tensor *part = &v->parts[v->n];
    if (!convert_their_name(merged, part->name, sizeof part->name)) return fail_tensor(gate, "has no name", error);
    part->gate = gate;
    part->up = up;
    put_tensor(v, gate);
    flow_tensor *t = &v->tensors[v->n - 1];
    t->ne[1] *= 2;
    t->n_bytes += up->n_bytes;
    t->data = NULL;
    t->read = read_fused;
    t->source = part;
    return FACET_OK;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static facet_status add_tensor(back_work *v, const gguf_tensor *t, facet_error *error) {
    char name[MAX_NAME];
    if (!t->format) return fail_tensor(t, "has a type that facet cannot read", error);
    if (t->name.n >= sizeof name) return fail_tensor(t, "has no name in a checkpoint", error);
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.data);
    if (!strcmp(name, "rope_freqs.weight")) return FACET_OK;
    if (ends_with(name, ".ffn_up_exps.weight") && other_half(v, name, "ffn_up_exps.weight", "ffn_gate_exps.weight")) {
        return FACET_OK; /* it comes with its gate */
    }
    if (ends_with(name, ".ffn_gate_exps.weight")) return add_fused(v, t, name, error);
    if (!convert_their_name(name, v->parts[v->n].name, MAX_NAME)) {
        return fail_tensor(t, "has no name in a checkpoint of Gemma 4", error);
    }
    put_tensor(v, t);
    return FACET_OK;
}

/* In the order of the file, each shard as full as it may be. */
static void cut(back_work *v, uint64_t limit) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < v->n; i++) {
        uint64_t n = flow_bytes(&v->tensors[i]);
        if (i == 0 || bytes + n > limit) {
            v->n_shards++;
            bytes = 0;
        }
        bytes += n;
        v->total += n;
        v->all += v->tensors[i].n_bytes;
        v->parts[i].shard = v->n_shards - 1;
    }
}

/* ---- one file */

static const char *dtype_of(const flow_tensor *t) { return t->to->name; } /* both call them F32, F16, BF16 */

static bool put_header(buffer *b, const flow_tensor *tensors, size_t n) {
    char text[400];
    uint64_t at = 0, length = 0;
    bool ok =
        buffer_append(b, &length, sizeof length) && buffer_append(b, "{\"__metadata__\":{\"format\":\"pt\"}", 31);
    for (size_t i = 0; ok && i < n; i++) {
        const flow_tensor *t = &tensors[i];
        uint64_t end = at + flow_bytes(t);
        int used = snprintf(text, sizeof text, ",\"%.*s\":{\"dtype\":\"%s\",\"shape\":[", (int)t->name.n,
                            t->name.data, dtype_of(t));
        for (uint32_t k = t->n_dims; k-- > 0;) {
            used += snprintf(text + used, sizeof text - (size_t)used, "%" PRIu64 "%s", t->ne[k], k ? "," : "");
        }
        used += snprintf(text + used, sizeof text - (size_t)used, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at,
                         end);
        ok = buffer_append(b, text, (size_t)used);
        at = end;
    }
    ok = ok && buffer_append(b, "}", 1);
    while (ok && b->n % 8) ok = buffer_append(b, " ", 1);
    for (size_t i = 0; ok && i < 8; i++) ((uint8_t *)b->data)[i] = (uint8_t)((uint64_t)(b->n - 8) >> (8 * i));
    return ok;
}

static facet_status begin_file(void *ctx, const flow_tensor *tensors, size_t n, os_output *file, facet_error *error) {
    buffer header = {0};
    bool ok = put_header(&header, tensors, n);
    facet_status status = ok ? os_output_write(file, header.data, header.n, error) : error_memory(error, header.n);
    *(os_output **)ctx = file;
    buffer_free(&header);
    return status;
}

static facet_status put_data(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    return os_output_write(*(os_output **)ctx, data, n_bytes, error);
}

static facet_status end_file(void *ctx, facet_error *error) {
    (void)ctx, (void)error;
    return FACET_OK;
}

static bool on_progress(void *ctx, uint64_t done, uint64_t total) {
    back_work *v = ctx;
    (void)total;
    return !v->on_progress || v->on_progress(v->ctx, v->done + done, v->all);
}

/* ---- the folder */

static void shard_name(const back_work *v, size_t shard, char out[64]) {
    if (v->n_shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, v->n_shards);
}

static facet_status folder_path(const back_work *v, const char *name, char out[4096], facet_error *error) {
    if (snprintf(out, 4096, "%s/%s", v->dir, name) < 4096) return FACET_OK;
    return error_set(error, FACET_ERROR_ARGUMENT, "the path '%.60s...' is too long", v->dir);
}

static facet_status write_shard(back_work *v, size_t shard, int threads, facet_error *error) {
    char name[64], path[4096];
    os_output *file;
    size_t first = 0, end;
    while (v->parts[first].shard < shard) first++;
    for (end = first; end < v->n && v->parts[end].shard == shard;) end++;
    shard_name(v, shard, name);
    FACET_TRY(folder_path(v, name, path, error));
    flow_job job = {.tensors = v->tensors + first,
                    .n = end - first,
                    .sink = {&file, begin_file, put_data, end_file},
                    .path = path,
                    .mapped = true,
                    .threads = threads,
                    .on_progress = on_progress,
                    .ctx = v};
    FACET_TRY(flow_run(&job, error));
    for (; first < end; first++) v->done += v->tensors[first].n_bytes;
    return FACET_OK;
}

static json_t *index_of(const back_work *v) {
    json_t *map = json_object(), *size = json_integer((json_int_t)v->total);
    bool ok = map && size;
    for (size_t i = 0; ok && i < v->n; i++) {
        char name[64];
        shard_name(v, v->parts[i].shard, name);
        ok = json_object_set_new(map, v->parts[i].name, json_string(name)) == 0;
    }
    if (!ok) {
        json_decref(map);
        json_decref(size);
        return NULL;
    }
    return json_pack("{s:{s:o},s:o}", "metadata", "total_size", size, "weight_map", map);
}

static facet_status write_index(const back_work *v, facet_error *error) {
    char path[4096];
    os_output *file = NULL;
    if (v->n_shards == 1) return FACET_OK;
    FACET_TRY(folder_path(v, "model.safetensors.index.json", path, error));
    json_t *index = index_of(v);
    char *text = index ? json_dumps(index, JSON_INDENT(2)) : NULL;
    facet_status status = text ? os_output_open(&file, path, error) : error_memory(error, 4096);
    if (status == FACET_OK) status = os_output_write(file, text, strlen(text), error);
    if (status == FACET_OK) {
        status = os_output_commit(file, error);
    } else {
        os_output_discard(file);
    }
    free(text);
    json_decref(index);
    return status;
}

/* A folder must not hold two models: neither ours nor the programs that read it would know which is meant. */
static facet_status make_folder(const back_work *v, facet_error *error) {
    const char *other = v->n_shards == 1 ? "model.safetensors.index.json" : "model.safetensors";
    char path[4096];
    if (mkdir(v->dir, 0777) != 0 && errno != EEXIST) {
        return error_set(error, FACET_ERROR_IO, "cannot make the folder '%s': %s", v->dir, strerror(errno));
    }
    FACET_TRY(folder_path(v, other, path, error));
    if (access(path, F_OK) != 0) return FACET_OK;
    return error_set(error, FACET_ERROR_ARGUMENT, "the folder holds another model already: '%s'", path);
}

/* ---- all of it */

static facet_status check_file(const back_work *v, facet_error *error) {
    gguf_string arch;
    FACET_TRY(gguf_get_string(v->in->file, "general.architecture", &arch, error));
    if (arch.n == 6 && !memcmp(arch.data, "gemma4", 6) && !gguf_find(v->in->file, "adapter.type")) return FACET_OK;
    return error_set(error, FACET_ERROR_UNSUPPORTED, "the file is no Gemma 4 model");
}

static facet_status choose_type(back_work *v, const char *type, facet_error *error) {
    if (!type) return FACET_OK;
    v->type = quant_format_by_name(type);
    if (v->type && v->type->block == 1) return FACET_OK;
    return error_set(error, FACET_ERROR_ARGUMENT, "safetensors hold f32, f16 or bf16, not '%.40s'", type);
}

static facet_status plan(back_work *v, const char *in, const facet_to_safetensors_options *o, facet_error *error) {
    FACET_TRY(choose_type(v, o->type, error));
    FACET_TRY(facet_gguf_open(&v->in, in, false, error));
    FACET_TRY(check_file(v, error));
    size_t n = gguf_n_tensors(v->in->file);
    v->tensors = calloc(n + 1, sizeof *v->tensors);
    v->parts = calloc(n + 1, sizeof *v->parts);
    if (!v->tensors || !v->parts) return error_memory(error, n * sizeof *v->tensors);
    for (size_t i = 0; i < n; i++) FACET_TRY(add_tensor(v, gguf_tensor_at(v->in->file, i), error));
    if (!v->n) return error_set(error, FACET_ERROR_FORMAT, "the file has no tensors");
    cut(v, o->shard_bytes ? o->shard_bytes : default_shard);
    return make_folder(v, error);
}

void facet_to_safetensors_options_defaults(facet_to_safetensors_options *options) {
    *options = (facet_to_safetensors_options){.size = sizeof *options};
}

facet_status facet_to_safetensors(const char *in, const char *dir, const facet_to_safetensors_options *o,
                                  size_t *n_files, facet_error *error) {
    back_work v = {.dir = dir, .on_progress = o->on_progress, .ctx = o->ctx};
    facet_status status = plan(&v, in, o, error);
    for (size_t i = 0; status == FACET_OK && i < v.n_shards; i++) status = write_shard(&v, i, o->threads, error);
    if (status == FACET_OK) status = write_index(&v, error);
    if (n_files) *n_files = v.n_shards;
    free(v.tensors);
    free(v.parts);
    facet_gguf_free(v.in);
    return status;
}
