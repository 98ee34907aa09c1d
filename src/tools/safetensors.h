/* Safetensors files: eight bytes of length, a JSON header, then the tensors' bytes. Owns: the directory of one file
 * or of all files of a model's folder. Borrows nothing: the files stay mapped. Private to src/tools. Format:
 * https://github.com/huggingface/safetensors (README, "Format"). */
#ifndef FACET_TOOLS_SAFETENSORS_H
#define FACET_TOOLS_SAFETENSORS_H

#include <jansson.h>

#include "base/error.h"
#include "os/map.h"
#include "quant/format.h"

enum { SAFETENSORS_MAX_DIMS = 8 };

typedef struct safetensor {
    char *name;
    const quant_format *format; /* F32, F16, BF16; NULL: dtype is something else */
    char dtype[12];
    uint32_t n_dims;
    uint64_t shape[SAFETENSORS_MAX_DIMS]; /* contiguous axis last */
    const uint8_t *data;
    uint64_t n_bytes;
} safetensor;

typedef struct safetensors {
    safetensor *tensors; /* sorted by name once all are read */
    size_t n, capacity;
    os_map *maps;
    size_t n_maps;
} safetensors;

/* Adds the tensors of a file image, which must outlive them. Names that are there already are refused. */
facet_status safetensors_parse(safetensors *s, const uint8_t *data, size_t n_bytes, facet_error *error);
/* Every shard that DIR/STEM.safetensors.index.json names, or DIR/STEM.safetensors ("model"). On failure nothing is
 * left. */
facet_status safetensors_open(safetensors *s, const char *dir, const char *stem, facet_error *error);
const safetensor *safetensors_find(const safetensors *s, const char *name); /* NULL: absent */
void safetensors_free(safetensors *s);

/* A JSON file of at most `limit` bytes, as a tree that json_decref frees. A missing file is FACET_ERROR_IO. */
facet_status json_file(json_t **out, const char *dir, const char *name, size_t limit, facet_error *error);
/* JSON text; `what` stands in the message. */
facet_status json_text(json_t **out, const char *text, size_t n_bytes, const char *what, facet_error *error);

#endif
