/* Reading safetensors. See safetensors.h. Everything in a header is checked before it is believed: sizes against
 * shapes, places against the file, names against each other. */
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

enum { HEADER_LIMIT = 16 << 20, INDEX_LIMIT = 32 << 20, MAX_SHARDS = 4096 };

static const struct {
    const char *name;
    uint32_t bytes;
    quant_type type; /* QUANT_N_TYPES: known, but no weights */
} dtypes[] = {
    {"F32", 4, QUANT_F32},      {"F16", 2, QUANT_F16},         {"BF16", 2, QUANT_BF16},
    {"F64", 8, QUANT_N_TYPES},  {"I64", 8, QUANT_N_TYPES},     {"I32", 4, QUANT_N_TYPES},
    {"I16", 2, QUANT_N_TYPES},  {"I8", 1, QUANT_N_TYPES},      {"U64", 8, QUANT_N_TYPES},
    {"U32", 4, QUANT_N_TYPES},  {"U16", 2, QUANT_N_TYPES},     {"U8", 1, QUANT_N_TYPES},
    {"BOOL", 1, QUANT_N_TYPES}, {"F8_E4M3", 1, QUANT_N_TYPES}, {"F8_E5M2", 1, QUANT_N_TYPES},
};

/* ---- JSON */

facet_status json_text(json_t **out, const char *text, size_t n_bytes, const char *what, facet_error *error) {
    json_error_t why;
    *out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (*out) return FACET_OK;
    if (json_error_code(&why) == json_error_out_of_memory) return error_memory(error, n_bytes);
    return error_set(error, FACET_ERROR_FORMAT, "%s: no valid JSON: %.80s (line %d)", what, why.text, why.line);
}

facet_status json_file(json_t **out, const char *dir, const char *name, size_t limit, facet_error *error) {
    char path[4096];
    os_map map;
    *out = NULL;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return error_set(error, FACET_ERROR_ARGUMENT, "the path '%.60s...' is too long", dir);
    }
    FACET_TRY(os_map_open(&map, path, true, error));
    facet_status status = map.n_bytes <= limit
                              ? json_text(out, map.n_bytes ? (const char *)map.data : "", map.n_bytes, path, error)
                              : error_set(error, FACET_ERROR_FORMAT, "%s: more than %zu bytes", path, limit);
    os_map_close(&map);
    return status;
}

/* ---- one tensor */

static facet_status fail_tensor(facet_error *error, const char *name, const char *what) {
    return error_set(error, FACET_ERROR_FORMAT, "tensor '%.100s' %s", name, what);
}

static bool read_u64(const json_t *v, uint64_t *out) {
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static facet_status read_type(safetensor *t, const json_t *entry, uint32_t *size, facet_error *error) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || strlen(dtype) >= sizeof t->dtype) return fail_tensor(error, t->name, "has no dtype");
    strcpy(t->dtype, dtype);
    *size = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, dtype) != 0) continue;
        *size = dtypes[i].bytes;
        if (dtypes[i].type != QUANT_N_TYPES) t->format = quant_format_of(dtypes[i].type);
    }
    return FACET_OK;
}

/* `size` 0: of an unknown dtype, whose bytes cannot be checked. */
static facet_status read_shape(safetensor *t, const json_t *entry, uint32_t size, facet_error *error) {
    const json_t *shape = json_object_get(entry, "shape");
    uint64_t n = size ? size : 1;
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_MAX_DIMS) {
        return fail_tensor(error, t->name, "has no shape of at most 8 axes");
    }
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (!read_u64(json_array_get(shape, i), &t->shape[i]) || !checked_mul_u64(n, t->shape[i], &n)) {
            return fail_tensor(error, t->name, "has a shape that is no list of sizes");
        }
    }
    if (size && n != t->n_bytes) return fail_tensor(error, t->name, "has other bytes than its shape and dtype make");
    return FACET_OK;
}

static facet_status read_place(safetensor *t, const json_t *entry, const uint8_t *data, size_t n_bytes,
                               facet_error *error) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin, end;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !read_u64(json_array_get(offsets, 0), &begin) ||
        !read_u64(json_array_get(offsets, 1), &end)) {
        return fail_tensor(error, t->name, "has no data_offsets");
    }
    if (begin > end || end > n_bytes) return fail_tensor(error, t->name, "lies outside of the file");
    t->data = data + begin;
    t->n_bytes = end - begin;
    return FACET_OK;
}

static facet_status add_tensor(safetensors *s, const char *name, const json_t *entry, const uint8_t *data,
                               size_t n_bytes, facet_error *error) {
    safetensor t = {0};
    uint32_t size = 0;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        safetensor *larger = realloc(s->tensors, capacity * sizeof *larger);
        if (!larger) return error_memory(error, capacity * sizeof *larger);
        s->tensors = larger;
        s->capacity = capacity;
    }
    t.name = strdup(name);
    if (!t.name) return error_memory(error, strlen(name));
    s->tensors[s->n++] = t;
    safetensor *in = &s->tensors[s->n - 1];
    FACET_TRY(read_place(in, entry, data, n_bytes, error));
    FACET_TRY(read_type(in, entry, &size, error));
    return read_shape(in, entry, size, error);
}

/* ---- one file */

static int by_name(const void *a, const void *b) {
    return strcmp(((const safetensor *)a)->name, ((const safetensor *)b)->name);
}

static facet_status sort(safetensors *s, facet_error *error) {
    if (s->n) qsort(s->tensors, s->n, sizeof *s->tensors, by_name);
    for (size_t i = 1; i < s->n; i++) {
        if (by_name(&s->tensors[i - 1], &s->tensors[i]) == 0) {
            return fail_tensor(error, s->tensors[i].name, "is there twice");
        }
    }
    return FACET_OK;
}

static facet_status read_header(safetensors *s, json_t *header, const uint8_t *data, size_t n, facet_error *error) {
    const char *name;
    json_t *entry;
    if (!json_is_object(header)) return error_set(error, FACET_ERROR_FORMAT, "the header is no JSON object");
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") != 0) FACET_TRY(add_tensor(s, name, entry, data, n, error));
    }
    return sort(s, error);
}

facet_status safetensors_parse(safetensors *s, const uint8_t *data, size_t n_bytes, facet_error *error) {
    bytes in = bytes_of(data, n_bytes);
    uint64_t length = bytes_u64(&in);
    json_t *header;
    if (in.failed) return error_set(error, FACET_ERROR_TRUNCATED, "the file has %zu bytes: no safetensors", n_bytes);
    if (length > HEADER_LIMIT) {
        return error_set(error, FACET_ERROR_FORMAT, "the header would be %llu bytes long: no safetensors file",
                         (unsigned long long)length);
    }
    const uint8_t *text = bytes_take(&in, (size_t)length);
    if (!text) return error_set(error, FACET_ERROR_TRUNCATED, "the file ends inside its header");
    FACET_TRY(json_text(&header, (const char *)text, (size_t)length, "header", error));
    facet_status status = read_header(s, header, data + in.at, bytes_left(&in), error);
    json_decref(header);
    return status;
}

/* ---- a folder */

static facet_status open_shard(safetensors *s, const char *dir, const char *name, facet_error *error) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return error_set(error, FACET_ERROR_ARGUMENT, "the path '%.60s...' is too long", dir);
    }
    os_map *larger = realloc(s->maps, (s->n_maps + 1) * sizeof *larger);
    if (!larger) return error_memory(error, (s->n_maps + 1) * sizeof *larger);
    s->maps = larger;
    FACET_TRY(os_map_open(&s->maps[s->n_maps], path, true, error));
    const os_map *map = &s->maps[s->n_maps++];
    facet_error inner = {0};
    facet_status status = safetensors_parse(s, map->data, map->n_bytes, &inner);
    return status == FACET_OK ? status : error_set(error, status, "%s: %s", path, inner.message);
}

/* The names of an index, each once. Only names inside the folder. */
static facet_status open_indexed(safetensors *s, const char *dir, const json_t *index, facet_error *error) {
    json_t *map = json_object_get(index, "weight_map"), *seen = json_object(), *file;
    const char *tensor;
    facet_status status = FACET_OK;
    if (!seen) return error_memory(error, 64);
    if (!json_is_object(map)) status = error_set(error, FACET_ERROR_FORMAT, "%s: the index has no weight_map", dir);
    json_object_foreach(map, tensor, file) {
        const char *name = json_string_value(file);
        if (status != FACET_OK) break;
        if (!name || !*name || *name == '.' || strchr(name, '/')) {
            status = error_set(error, FACET_ERROR_FORMAT, "%s: the index names no file of the folder for '%.100s'",
                               dir, tensor);
        } else if (json_object_size(seen) >= MAX_SHARDS) {
            status = error_set(error, FACET_ERROR_FORMAT, "%s: more than %d shards", dir, MAX_SHARDS);
        } else if (!json_object_get(seen, name)) {
            if (json_object_set_new(seen, name, json_true()) != 0) status = error_memory(error, 64);
            if (status == FACET_OK) status = open_shard(s, dir, name, error);
        }
    }
    json_decref(seen);
    return status;
}

facet_status safetensors_open(safetensors *s, const char *dir, const char *stem, facet_error *error) {
    json_t *index = NULL;
    facet_error missing = {0};
    char name[64];
    *s = (safetensors){0};
    snprintf(name, sizeof name, "%s.safetensors.index.json", stem);
    facet_status status = json_file(&index, dir, name, INDEX_LIMIT, &missing);
    if (status == FACET_OK) {
        status = open_indexed(s, dir, index, error);
    } else if (status == FACET_ERROR_IO) {
        snprintf(name, sizeof name, "%s.safetensors", stem);
        status = open_shard(s, dir, name, error);
    } else if (error) {
        *error = missing;
    }
    json_decref(index);
    if (status != FACET_OK) safetensors_free(s);
    return status;
}

const safetensor *safetensors_find(const safetensors *s, const char *name) {
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(s->tensors[middle].name, name);
        if (order == 0) return &s->tensors[middle];
        if (order < 0) low = middle + 1;
        if (order > 0) high = middle;
    }
    return NULL;
}

void safetensors_free(safetensors *s) {
    for (size_t i = 0; i < s->n; i++) free(s->tensors[i].name);
    free(s->tensors);
    for (size_t i = 0; i < s->n_maps; i++) os_map_close(&s->maps[i]);
    free(s->maps);
    *s = (safetensors){0};
}
