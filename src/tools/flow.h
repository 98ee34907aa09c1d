/* Tensors on their way from mapped bytes to a new file, one after the other and piece by piece, so that memory stays
 * small whatever the model's size. Shared by all tools that write weights; private to src/tools. */
#ifndef FACET_TOOLS_FLOW_H
#define FACET_TOOLS_FLOW_H

#include "facet_tools.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"
#include "os/output.h"

/* How much the errors in each column of a matrix count. */
typedef struct flow_importance {
    const float *columns; /* [n_matrices, n_columns] */
    uint64_t n_columns, n_matrices;
} flow_importance;

typedef struct flow_tensor flow_tensor;

/* Floats that are not what dequantised data are: merged, or in another order. Any thread may call it. */
typedef void (*flow_read_fn)(const flow_tensor *t, uint64_t first, size_t n, float *out);

struct flow_tensor {
    gguf_string name;
    uint32_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS];
    uint32_t type_id;              /* of the data, for those that are copied as they are */
    const quant_format *from, *to; /* to NULL: copied */
    const uint8_t *data;
    uint64_t n_bytes;           /* of data */
    flow_importance importance; /* columns NULL: none */
    flow_read_fn read;          /* NULL: `data` is dequantised */
    void *source;               /* for `read` and `prepare`; without `data` all that there is */
    facet_status (*prepare)(flow_tensor *t, facet_error *error); /* NULL, or called before the first `read` */
};

/* The file that is written: its header when all tensors are known, then their bytes in order. */
typedef struct flow_sink {
    void *ctx;
    facet_status (*begin)(void *ctx, const flow_tensor *tensors, size_t n, os_output *file, facet_error *error);
    facet_status (*data)(void *ctx, const void *data, size_t n_bytes, facet_error *error);
    facet_status (*end)(void *ctx, facet_error *error);
} flow_sink;
flow_sink flow_gguf(gguf_writer *writer); /* which holds the key-values */

typedef struct flow_job {
    flow_tensor *tensors;
    size_t n;
    flow_sink sink;
    const char *path;
    bool mapped;                         /* the data are pages of files, which may be let go after use */
    int threads;                         /* 0: all this process may use */
    facet_tools_progress_fn on_progress; /* NULL: none */
    void *ctx;
} flow_job;

facet_status flow_run(const flow_job *job, facet_error *error);
uint64_t flow_bytes(const flow_tensor *t); /* in the new file */
uint32_t flow_type_id(const flow_tensor *t);
uint64_t flow_weights(const flow_tensor *t);

#endif
