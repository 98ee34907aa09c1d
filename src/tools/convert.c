/* A Hugging Face folder to GGUF. See facet_tools.h. Owns: the folder's files, and the types of the new tensors: those
 * of the checkpoint or those of a recipe; vectors and routers become F32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert_parts.h"
#include "quantize_recipe.h"

enum { CONFIG_LIMIT = 16 << 20, TOKENIZER_LIMIT = 256 << 20 };

typedef struct conversion {
    const char *dir;
    safetensors files;
    json_t *config, *tokenizer, *generation, *tokenizer_config;
    convert_config c;
    convert_names names;
    recipe_rules rules;
    gguf_writer *writer;
    flow_tensor *tensors;
    uint32_t kv_heads[CONVERT_MAX_LAYERS];
    size_t n;
} conversion;

/* A file that may be missing. */
static facet_status optional_json(json_t **out, const char *dir, const char *name, facet_error *error) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && access(path, F_OK) != 0)
        return FACET_OK;
    return json_file(out, dir, name, CONFIG_LIMIT, error);
}

static facet_status read_folder(conversion *v, facet_error *error) {
    FACET_TRY(json_file(&v->config, v->dir, "config.json", CONFIG_LIMIT, error));
    FACET_TRY(convert_read_config(&v->c, v->config, error));
    FACET_TRY(json_file(&v->tokenizer, v->dir, "tokenizer.json", TOKENIZER_LIMIT, error));
    FACET_TRY(optional_json(&v->generation, v->dir, "generation_config.json", error));
    FACET_TRY(optional_json(&v->tokenizer_config, v->dir, "tokenizer_config.json", error));
    FACET_TRY(safetensors_open(&v->files, v->dir, "model", error));
    return convert_find_prefix(&v->names, &v->files, error);
}

/* chat_template.jinja, or the text in tokenizer_config.json. */
static facet_status add_template(const conversion *v, facet_error *error) {
    static const char key[] = "tokenizer.chat_template";
    char path[4096];
    os_map map;
    const json_t *text = json_object_get(v->tokenizer_config, "chat_template");
    if (snprintf(path, sizeof path, "%s/chat_template.jinja", v->dir) >= (int)sizeof path) return FACET_OK;
    if (access(path, F_OK) != 0) {
        if (json_is_string(text)) gguf_add_string(v->writer, key, json_string_value(text), json_string_length(text));
        return FACET_OK;
    }
    FACET_TRY(os_map_open(&map, path, true, error));
    bool fits = map.n_bytes <= CONFIG_LIMIT;
    if (fits) gguf_add_string(v->writer, key, map.n_bytes ? (const char *)map.data : "", map.n_bytes);
    os_map_close(&map);
    return fits ? FACET_OK : error_set(error, FACET_ERROR_FORMAT, "%s: too long", path);
}

const char *convert_folder_name(const char *dir, char out[128]) {
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && dir[begin - 1] != '/') begin--;
    snprintf(out, 128, "%.*s", (int)(end - begin), dir + begin);
    return *out && strcmp(out, ".") != 0 ? out : "Gemma 4";
}

static facet_status add_keys(conversion *v, const facet_convert_options *o, facet_error *error) {
    char name[128];
    FACET_TRY(gguf_writer_new(&v->writer, 0, error));
    convert_add_config(v->writer, &v->c, o->name ? o->name : convert_folder_name(v->dir, name), v->kv_heads);
    FACET_TRY(convert_add_vocabulary(v->writer, &v->c, v->tokenizer, v->generation, error));
    FACET_TRY(add_template(v, error));
    if (!v->rules.recipe) return FACET_OK;
    gguf_add_u32(v->writer, "general.quantization_version", 2);
    gguf_add_u32(v->writer, "general.file_type", recipe_file_type(v->rules.recipe));
    return FACET_OK;
}

static bool stays_float32(const flow_tensor *t) {
    static const char router[] = "ffn_gate_inp.weight";
    size_t n = sizeof router - 1;
    return t->n_dims < 2 || (t->name.n > n && !memcmp(t->name.data + t->name.n - n, router, n));
}

static facet_status choose_types(conversion *v, const facet_convert_options *o, facet_error *error) {
    gguf_string *names = malloc((v->n + 1) * sizeof *names);
    if (!names) return error_memory(error, v->n * sizeof *names);
    for (size_t i = 0; i < v->n; i++) names[i] = v->tensors[i].name;
    facet_status status =
        recipe_rules_init(&v->rules, o->type, o->tensor_types, o->n_tensor_types, names, v->n, error);
    free(names);
    for (size_t i = 0; i < v->n && status == FACET_OK; i++) {
        flow_tensor *t = &v->tensors[i];
        status = recipe_choose(&v->rules, t->name, t->n_dims, t->ne, t->from, &t->to, error);
        if (stays_float32(t)) t->to = quant_format_of(QUANT_F32);
    }
    return status;
}

static facet_status plan(conversion *v, const facet_convert_options *o, facet_error *error) {
    FACET_TRY(read_folder(v, error));
    v->tensors = calloc(convert_max_tensors(&v->c), sizeof *v->tensors);
    if (!v->tensors) return error_memory(error, convert_max_tensors(&v->c) * sizeof *v->tensors);
    FACET_TRY(convert_list_tensors(&v->c, &v->names, &v->files, v->tensors, &v->n, v->kv_heads, error));
    FACET_TRY(choose_types(v, o, error));
    return add_keys(v, o, error);
}

static void free_conversion(conversion *v) {
    convert_free_tensors(v->tensors, v->n);
    recipe_rules_free(&v->rules);
    gguf_writer_free(v->writer);
    safetensors_free(&v->files);
    json_decref(v->config);
    json_decref(v->tokenizer);
    json_decref(v->generation);
    json_decref(v->tokenizer_config);
    free(v);
}

void facet_convert_options_defaults(facet_convert_options *options) {
    *options = (facet_convert_options){.size = sizeof *options};
}

facet_status facet_convert(const char *dir, const char *out, const facet_convert_options *o, facet_error *error) {
    conversion *v = calloc(1, sizeof *v);
    if (!v) return error_memory(error, sizeof *v);
    v->dir = dir;
    facet_status status = plan(v, o, error);
    if (status == FACET_OK) {
        flow_job job = {.tensors = v->tensors,
                        .n = v->n,
                        .sink = flow_gguf(v->writer),
                        .path = out,
                        .threads = o->threads,
                        .on_progress = o->on_progress,
                        .ctx = o->ctx};
        status = flow_run(&job, error);
    }
    free_conversion(v);
    return status;
}
