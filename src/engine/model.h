/* struct facet_model: everything that a GGUF file gives, immutable and reference counted. Owns: the source, the
 * directory, the bound weights, the vocabulary, what grammars keep between answers. Knows nothing of engines and
 * sessions. */
#ifndef FACET_ENGINE_MODEL_H
#define FACET_ENGINE_MODEL_H

#include <stdatomic.h>

#include "engine/arrival.h"
#include "engine/matchers.h"
#include "model/weights.h"
#include "sample/mask.h"
#include "source/source.h"
#include "token/vocab.h"

struct facet_model {
    atomic_int references;
    atomic_uint_fast64_t adapters_opened; /* for their serial numbers */
    source *source;
    gguf_file *file;
    vocab *vocab;
    _Atomic(token_trie *) trie; /* of the vocabulary, made when the first grammar is; see model_trie */
    matcher_pool matchers;      /* of its grammars */
    bool has_shape;             /* hparams and weights are filled */
    bool has_weights;           /* and the weights' bytes are there, or on their way: see arrival */
    arrival *arrival;           /* NULL: all are there */
    hparams hparams;
    weights weights;
    bool has_template, template_is_gemma4;
    facet_chat_kind chat_kind;
    char name[128];
    uint64_t n_parameters, weight_bytes;
};

facet_model *model_ref(facet_model *m);
/* The model of a stream of which at least the directory is there. Holds the stream. */
facet_status model_open_stream(facet_model **out, stream *from, double timeout, const facet_model_options *options,
                               facet_error *err);
/* The trie of the vocabulary, from any thread. It lives as long as the model. */
facet_status model_trie(facet_model *m, const token_trie **out, facet_error *err);

/* Options structs: FACET_ERROR_ARGUMENT unless `size` is that of this version. */
facet_status options_check(const char *what, size_t size, size_t expected, facet_error *err);

#endif
