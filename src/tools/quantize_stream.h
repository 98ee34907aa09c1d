/* Tensors on their way from mapped bytes to a new GGUF file, one after the other and piece by piece, so that memory
 * stays small whatever the model's size. Shared by quantize and convert; private to src/tools. */
#ifndef FACET_TOOLS_QUANTIZE_STREAM_H
#define FACET_TOOLS_QUANTIZE_STREAM_H

#include "facet_tools.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"

/* How much the errors in each column of a matrix count. */
typedef struct stream_importance {
    const float *columns; /* [n_matrices, n_columns] */
    uint64_t n_columns, n_matrices;
} stream_importance;

typedef struct stream_tensor {
    gguf_string name;
    uint32_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS];
    uint32_t type_id;              /* of the data, for those that are copied as they are */
    const quant_format *from, *to; /* to NULL: copied */
    const uint8_t *data;
    uint64_t n_bytes;             /* of data */
    stream_importance importance; /* columns NULL: none */
} stream_tensor;

typedef struct stream_job {
    const stream_tensor *tensors;
    size_t n;
    gguf_writer *writer; /* holds the key-values */
    const char *path;
    bool mapped;                         /* the data are pages of files, which may be let go after use */
    int threads;                         /* 0: all this process may use */
    facet_tools_progress_fn on_progress; /* NULL: none */
    void *ctx;
} stream_job;

facet_status stream_run(const stream_job *job, facet_error *error);
uint64_t stream_bytes(const stream_tensor *t); /* in the new file */

#endif
