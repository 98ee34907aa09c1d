/* What the reader's files share: the opened directory and the tables behind it. Private to src/gguf. */
#ifndef FACET_GGUF_FILE_H
#define FACET_GGUF_FILE_H

#include "base/bytes.h"
#include "gguf/gguf.h"
#include "gguf/index.h"

/* The key-values of one part, in the order of the file. */
typedef struct gguf_keys {
    gguf_kv *kv;
    size_t n, capacity;
    name_index index;
} gguf_keys;

struct gguf_file {
    uint32_t version;
    gguf_keys keys; /* of the first part */
    gguf_tensor *tensors;
    size_t n_tensors, tensor_capacity;
    name_index tensor_index;
    gguf_part *parts;
    size_t n_parts;
};

/* The part that is being read: its bytes, what is known so far, and where errors go. */
typedef struct gguf_reader {
    gguf_file *file;
    gguf_keys *keys;
    bytes in;
    uint32_t part;
    bool header_only;
    uint64_t n_tensors, n_kv; /* as the header announces them */
    size_t first_tensor;      /* of this part, in file->tensors */
    facet_error *err;
} gguf_reader;

/* A status with a message that begins with the part's number where there are several. */
__attribute__((format(printf, 4, 5))) facet_status gguf_fail(const gguf_reader *r, facet_status status,
                                                             uint64_t position, const char *fmt, ...);
/* The bytes end inside `what`, which begins at `position`. */
__attribute__((format(printf, 3, 4))) facet_status gguf_fail_truncated(const gguf_reader *r, uint64_t position,
                                                                       const char *fmt, ...);

/* A name as it can stand in a message: one line of UTF-8, cut where it is long. */
typedef struct gguf_quoted {
    char text[72];
} gguf_quoted;
gguf_quoted gguf_quote(gguf_string name);

/* A string with its length in front, of at most `limit` bytes. */
facet_status gguf_read_name(gguf_reader *r, const char *what, uint64_t index, gguf_string *out);

facet_status gguf_read_keys(gguf_reader *r);    /* the key-values; the cursor is then at the tensors */
facet_status gguf_read_tensors(gguf_reader *r); /* the tensor directory of the part */

bool gguf_keys_get_u64(const gguf_keys *keys, const char *key, const gguf_kv **kv, uint64_t *out);

#endif
