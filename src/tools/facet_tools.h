/* facet_tools: what the programs need beyond the library, and the library does not promise to anyone: looking into
 * any GGUF file, writing one, writing files that appear whole.
 *
 * A static library (facet_tools) on top of libfacet. The rules of facet.h hold here too: statuses and messages, *out
 * is NULL on failure, _free accepts NULL, nothing prints or exits. Objects have one caller at a time.
 */
#ifndef FACET_TOOLS_H
#define FACET_TOOLS_H

#include "facet.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ looking into a
 * file */

/* Any valid GGUF file, whatever its architecture. Immutable: any number of threads may read it. */
typedef struct facet_gguf facet_gguf;

/* For a split file name any of its parts. `header_only`: the file may end before its tensors' data (a partial
 * download), and the other parts of a split file are not looked for. */
facet_status facet_gguf_open(facet_gguf **out, const char *path, bool header_only, facet_error *error);
/* `data` must stay valid and unchanged until facet_gguf_free. */
facet_status facet_gguf_open_memory(facet_gguf **out, const void *data, size_t n_bytes, bool header_only,
                                    facet_error *error);
/* As facet_model_open_source: `source` is not kept. With header_only no more is read than the directory needs. */
facet_status facet_gguf_open_source(facet_gguf **out, const facet_source *source, bool header_only,
                                    facet_error *error);
void facet_gguf_free(facet_gguf *gguf);

uint32_t facet_gguf_version(const facet_gguf *gguf);
size_t facet_gguf_n_parts(const facet_gguf *gguf);
uint64_t facet_gguf_n_bytes(const facet_gguf *gguf); /* of all parts, as far as they are here */

/* Key-values, in the order of the file, i < n. Keys are the file's bytes: not terminated, any bytes. */
size_t facet_gguf_n_keys(const facet_gguf *gguf);
const char *facet_gguf_key(const facet_gguf *gguf, size_t i, size_t *n_bytes);
bool facet_gguf_find_key(const facet_gguf *gguf, const char *key, size_t *i);
/* "u32", "string", "f32[35]": at most 31 characters and the terminator. */
void facet_gguf_value_type(const facet_gguf *gguf, size_t i, char out[32]);
/* The value on one line of UTF-8: numbers in decimal, true or false, text with its control characters as \n, \t or
 * \u001b, arrays as [1, 2, ...]. What does not fit in out_bytes - 1 (at least 8) is cut and ends with "...". Returns
 * the length. */
size_t facet_gguf_value_text(const facet_gguf *gguf, size_t i, char *out, size_t out_bytes);
/* The bytes of a string value, not terminated; NULL when the value is no string. */
const char *facet_gguf_value_string(const facet_gguf *gguf, size_t i, size_t *n_bytes);

typedef struct facet_gguf_tensor {
    size_t size;
    const char *name; /* the file's bytes, not terminated */
    size_t name_bytes;
    char type[24]; /* "Q4_K", "I32", "type 99" */
    uint32_t n_dims;
    uint64_t ne[4]; /* contiguous axis first; unused axes are 1 */
    uint64_t n_weights;
    uint64_t n_bytes; /* 0 where the type's size is unknown */
    uint64_t offset;  /* in its part, from the start of the file */
    uint32_t part;
    bool readable; /* its data is here and of a type that facet can read */
} facet_gguf_tensor;
size_t facet_gguf_n_tensors(const facet_gguf *gguf);
/* i < n. Set tensor->size to sizeof *tensor before the call. */
facet_status facet_gguf_get_tensor(const facet_gguf *gguf, size_t i, facet_gguf_tensor *tensor);
bool facet_gguf_find_tensor(const facet_gguf *gguf, const char *name, size_t *i);

/* n floats, in the order of the tensor's elements; they live for the call. Return false to stop. */
typedef bool (*facet_floats_fn)(void *ctx, const float *x, size_t n);
/* A tensor as floats, piece by piece. Integers are converted. FACET_ERROR_CANCELLED when on_floats returned false. */
facet_status facet_gguf_read_floats(const facet_gguf *gguf, size_t i, facet_floats_fn on_floats, void *ctx,
                                    facet_error *error);

/* ------------------------------------------------------------------------------------------------ writing a file */

/* A file that appears whole or not at all: it is written beside its place and renamed at the end. Pipes and devices
 * are written directly. */
typedef struct facet_output facet_output;
facet_status facet_output_open(facet_output **out, const char *path, facet_error *error);
/* After a failure every later call fails too. */
facet_status facet_output_write(facet_output *output, const void *data, size_t n_bytes, facet_error *error);
facet_status facet_output_commit(facet_output *output, facet_error *error); /* frees `output` in any case */
void facet_output_discard(facet_output *output);                            /* leaves nothing behind; frees */

/* A GGUF file without tensors: a vocabulary. Keys and texts are copied. A failure in between is kept and comes out of
 * facet_gguf_writer_finish. */
typedef struct facet_gguf_writer facet_gguf_writer;
facet_status facet_gguf_writer_new(facet_gguf_writer **out, facet_error *error);
void facet_gguf_add_u32(facet_gguf_writer *writer, const char *key, uint32_t value);
void facet_gguf_add_f32(facet_gguf_writer *writer, const char *key, float value);
void facet_gguf_add_bool(facet_gguf_writer *writer, const char *key, bool value);
void facet_gguf_add_string(facet_gguf_writer *writer, const char *key, const char *text, size_t n_bytes);
void facet_gguf_add_i32_array(facet_gguf_writer *writer, const char *key, const int32_t *values, size_t n);
void facet_gguf_add_f32_array(facet_gguf_writer *writer, const char *key, const float *values, size_t n);
/* Announces n texts; exactly n calls of facet_gguf_add_item must follow. */
void facet_gguf_add_strings(facet_gguf_writer *writer, const char *key, size_t n);
void facet_gguf_add_item(facet_gguf_writer *writer, const char *text, size_t n_bytes);
/* Key i of another file, as it is. */
void facet_gguf_add_copy(facet_gguf_writer *writer, const facet_gguf *from, size_t i);
/* Writes the file. `writer` is freed in any case. */
facet_status facet_gguf_writer_finish(facet_gguf_writer *writer, const char *path, facet_error *error);
void facet_gguf_writer_free(facet_gguf_writer *writer);

/* ------------------------------------------------------------------------------------------- changing types of
 * weights */

/* Called now and then with bytes of weights; false stops the work with FACET_ERROR_CANCELLED. */
typedef bool (*facet_tools_progress_fn)(void *ctx, uint64_t done, uint64_t total);

/* An adapter that becomes part of the weights, `scale` times as strong as it was trained. */
typedef struct facet_merge {
    const char *path;
    float scale;
} facet_merge;

typedef struct facet_quantize_options {
    size_t size;
    const char *type; /* a name of facet_quantize_type; NULL: only tensor_types and merges change anything */
    /* "REGEX=TYPE": POSIX extended, matched anywhere in a tensor's name; the first that matches decides. TYPE is the
     * name of a block format. Vectors are never changed. */
    const char *const *tensor_types;
    size_t n_tensor_types;
    /* NULL, or a GGUF file of mean squares for each column of a matrix (tensors NAME.in_sum2 and NAME.counts, as the
     * imatrix program of llama.cpp writes them); the search then weighs errors with them. */
    const char *importance;
    int threads; /* 0: all this process may use; the file is the same for any number */
    facet_tools_progress_fn on_progress;
    void *ctx;
    /* Added before rounding. What they change keeps its type, if that can be written and nothing else is asked for.
     */
    const facet_merge *merges;
    size_t n_merges;
} facet_quantize_options;
void facet_quantize_options_defaults(facet_quantize_options *options);

typedef struct facet_quantize_result {
    size_t size;
    size_t n_tensors, n_changed, n_requantised; /* requantised: they were no floats before */
    uint64_t in_bytes, out_bytes;               /* of all tensors */
    size_t n_merged;
} facet_quantize_result;

/* Names that options.type takes ("q4_k_m"), i from 0; NULL past the end. */
const char *facet_quantize_type(size_t i);
/* Writes `out` as `in` with its matrices in other types. Needs little memory whatever the size; `out` appears whole
 * or not at all. `result` may be NULL. */
facet_status facet_quantize(const char *in, const char *out, const facet_quantize_options *options,
                            facet_quantize_result *result, facet_error *error);

/* ------------------------------------------------------------------------------------- importance of columns */

/* Sums of the squares of what every column of every matrix is multiplied with, for facet_quantize_options.importance.
 * It watches an engine's steps; nobody else may use the engine meanwhile. The engine must outlive it. */
typedef struct facet_importance facet_importance;
facet_status facet_importance_new(facet_importance **out, facet_engine *engine, facet_error *error);
void facet_importance_free(facet_importance *importance);
/* Adds n tokens that the session reads from its beginning. */
facet_status facet_importance_add(facet_importance *importance, facet_session *session, const int32_t *tokens,
                                  size_t n, facet_error *error);
/* Writes the file in llama.cpp's form. `text` is the name of what was read. What was never used has no tensor. */
facet_status facet_importance_write(const facet_importance *importance, const char *path, const char *text,
                                    facet_error *error);

/* -------------------------------------------------------------------------------------------------- adapters */

typedef struct facet_adapter_convert_options {
    size_t size;
    const char *type; /* F32, F16, BF16, Q8_0 in any case; NULL: those of the file */
    const char *base; /* NULL, or a GGUF model that everything is checked against; adapters of experts need it */
    const char *name; /* general.name; NULL: the folder's */
    int threads;      /* 0: all this process may use */
    facet_tools_progress_fn on_progress;
    void *ctx;
} facet_adapter_convert_options;
void facet_adapter_convert_options_defaults(facet_adapter_convert_options *options);

/* Writes a PEFT directory (adapter_config.json, adapter_model.safetensors) as a GGUF adapter. What facet cannot use
 * is refused by its name. `out` appears whole or not at all. `n_pairs` may be NULL. */
facet_status facet_adapter_convert(const char *dir, const char *out, const facet_adapter_convert_options *options,
                                   size_t *n_pairs, facet_error *error);

/* --------------------------------------------------------------------------------------------- from safetensors */

typedef struct facet_convert_options {
    size_t size;
    const char *type;                /* a name of facet_quantize_type; NULL: matrices keep the checkpoint's types */
    const char *const *tensor_types; /* as in facet_quantize_options */
    size_t n_tensor_types;
    const char *name; /* general.name; NULL: the folder's */
    int threads;      /* 0: all this process may use */
    facet_tools_progress_fn on_progress;
    void *ctx;
} facet_convert_options;
void facet_convert_options_defaults(facet_convert_options *options);

/* Writes a Gemma 4 model of a Hugging Face folder (config.json, tokenizer.json, model.safetensors or its shards, and
 * where they are there generation_config.json, tokenizer_config.json, chat_template.jinja) as GGUF: the text model,
 * of any kind. `out` appears whole or not at all. */
facet_status facet_convert(const char *dir, const char *out, const facet_convert_options *options,
                           facet_error *error);

/* ----------------------------------------------------------------------------------------------- to safetensors */

typedef struct facet_to_safetensors_options {
    size_t size;
    const char *type;     /* F32, F16 or BF16 in any case, for all; NULL: floats stay as they are, those of F32 that
                             bfloat16 holds exactly and everything quantised become BF16 */
    uint64_t shard_bytes; /* of a file's tensors at most, where one alone is not more; 0: 5 GB */
    int threads;          /* 0: all this process may use */
    facet_tools_progress_fn on_progress;
    void *ctx;
} facet_to_safetensors_options;
void facet_to_safetensors_options_defaults(facet_to_safetensors_options *options);

/* Writes the tensors of a Gemma 4 GGUF file into a folder, which is made where it is missing, under the names of the
 * published checkpoints: model.safetensors, or shards and their index. Each file appears whole. `n_files` may be
 * NULL. */
facet_status facet_to_safetensors(const char *in, const char *dir, const facet_to_safetensors_options *options,
                                  size_t *n_files, facet_error *error);

/* --------------------------------------------------------------------------------------------------- checksums */

/* SHA-256 of bytes that come piece by piece. */
typedef struct facet_sha256 {
    uint64_t state[14];
} facet_sha256;
void facet_sha256_begin(facet_sha256 *sum);
void facet_sha256_add(facet_sha256 *sum, const void *data, size_t n_bytes);
void facet_sha256_end(facet_sha256 *sum, uint8_t digest[32]);

/* ---------------------------------------------------------------------------------------------- speed of kernels */

typedef struct facet_kernel_bench_options {
    size_t size;
    int threads;              /* 1 to 64 */
    size_t megabytes;         /* of weights that one token reads: more than the last cache */
    size_t tokens;            /* of a product with many tokens */
    size_t columns;           /* of every matrix; formats whose blocks do not divide it are left out */
    uint32_t cpu_features;    /* FACET_CPU_ sets that may be used */
    bool thread_time;         /* count the threads' own time: for a machine that others use too */
    const char *const *names; /* formats, "attention", steps; n_names 0: all */
    size_t n_names;
} facet_kernel_bench_options;
void facet_kernel_bench_options_defaults(facet_kernel_bench_options *options);

/* What does not apply is 0. */
typedef struct facet_kernel_speed {
    const char *name;        /* valid during the call */
    size_t n_tokens;         /* of a product */
    double bytes_per_second; /* of weights, or keys and values, from memory */
    double macs_per_second;
    double seconds_per_number; /* of a step on one thread, in the cache */
} facet_kernel_speed;
/* The name of the first that is told: byte products that touch no memory, what the processor can do at most. */
#define FACET_KERNEL_PEAK "peak"
typedef void (*facet_kernel_speed_fn)(void *ctx, const facet_kernel_speed *speed);

/* Measures kernels one after another; each is told as soon as it is known, the best of some rounds. */
facet_status facet_kernel_bench(const facet_kernel_bench_options *options, facet_kernel_speed_fn fn, void *ctx,
                                facet_error *error);

#ifdef __cplusplus
}
#endif
#endif
