/* Opening and describing models. See model.h. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "chat/render.h"

void facet_model_options_defaults(facet_model_options *o) {
    *o = (facet_model_options){.size = sizeof *o, .use_mmap = true};
}

facet_status options_check(const char *what, size_t size, size_t expected, facet_error *err) {
    if (size == expected) return FACET_OK;
    return error_set(err, FACET_ERROR_ARGUMENT, "%s.size is %zu, expected %zu: fill it with %s_defaults", what, size,
                     expected, what);
}

facet_model *model_ref(facet_model *m) {
    atomic_fetch_add(&m->references, 1);
    return m;
}

/* Two threads may both make one: the second is dropped. */
facet_status model_trie(facet_model *m, const token_trie **out, facet_error *err) {
    token_trie *known = atomic_load(&m->trie), *made;
    if (!known) {
        FACET_TRY(trie_new(&made, m->vocab, err));
        if (atomic_compare_exchange_strong(&m->trie, &known, made))
            known = made;
        else
            trie_free(made);
    }
    *out = known;
    return FACET_OK;
}

void facet_model_free(facet_model *m) {
    if (!m || atomic_fetch_sub(&m->references, 1) > 1) return;
    arrival_free(m->arrival);
    if (m->has_shape) {
        weights_free(&m->weights);
        hparams_free(&m->hparams);
    }
    matcher_pool_close(&m->matchers);
    trie_free(atomic_load(&m->trie));
    vocab_free(m->vocab);
    gguf_free(m->file);
    source_free(m->source);
    free(m);
}

static void log_line(const facet_model_options *o, const char *message) {
    if (o->log) o->log(o->log_ctx, message);
}

static void read_name(facet_model *m) {
    gguf_string name;
    if (gguf_get_string(m->file, "general.name", &name, NULL) != FACET_OK) return;
    size_t n = name.n < sizeof m->name ? name.n : sizeof m->name - 1;
    n = utf8_complete(name.data, n);
    if (utf8_invalid(name.data, n) < n) return; /* a name that is not text is no name */
    memcpy(m->name, name.data, n);
}

static void read_template(facet_model *m, const facet_model_options *o) {
    gguf_string t = {NULL, 0};
    m->has_template = gguf_get_string(m->file, "tokenizer.chat_template", &t, NULL) == FACET_OK;
    m->chat_kind = chat_kind_detect(m->has_template ? t.data : NULL, t.n, m->has_shape && m->hparams.n_ple > 0,
                                    &m->template_is_gemma4);
    if (m->has_template && !m->template_is_gemma4) {
        log_line(o, "the file's chat template is not Gemma 4's: chats are rendered in Gemma 4's format all the same");
    }
}

static void count_bytes(facet_model *m) {
    for (size_t i = 0; i < gguf_n_tensors(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        m->weight_bytes += t->n_bytes;
        m->n_parameters += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
}

static facet_status check_vocabulary(const facet_model *m, facet_error *err) {
    if ((uint32_t)vocab_size(m->vocab) == m->hparams.n_vocab) return FACET_OK;
    return error_set(err, FACET_ERROR_FORMAT, "the vocabulary has %d tokens, tensor 'token_embd.weight' has %u rows",
                     (int)vocab_size(m->vocab), m->hparams.n_vocab);
}

/* A file without tensors has a vocabulary, and perhaps a shape, but nothing to compute with. */
static facet_status read_weights(facet_model *m, const facet_model_options *o, bool late, facet_error *err) {
    if (o->vocabulary_only && !gguf_tensor_find(m->file, "token_embd.weight")) return FACET_OK;
    FACET_TRY(hparams_read(&m->hparams, m->file, err));
    facet_status status = (late ? weights_bind_late : weights_bind)(&m->weights, &m->hparams, m->file, err);
    if (status != FACET_OK) {
        hparams_free(&m->hparams);
        return status;
    }
    m->has_shape = true;
    m->has_weights = !o->vocabulary_only;
    return check_vocabulary(m, err);
}

static facet_status read_all(facet_model *m, const facet_model_options *o, bool late, facet_error *err) {
    size_t n_parts;
    const gguf_part *parts = source_parts(m->source, &n_parts);
    FACET_TRY(gguf_open(&m->file, parts, n_parts, &(gguf_options){.header_only = o->vocabulary_only}, err));
    FACET_TRY(vocab_new(&m->vocab, m->file, err));
    FACET_TRY(read_weights(m, o, late, err));
    read_name(m);
    read_template(m, o);
    count_bytes(m);
    const matrix *table = &m->weights.per_layer_token_embd.m; /* a few rows a step */
    if (m->has_weights && table->data) source_sparse(m->source, table->data, table->n_rows * table->row_bytes);
    if (o->lock_memory && !source_lock(m->source)) log_line(o, "the system refused to lock the weights in memory");
    return FACET_OK;
}

/* Takes the source over, also on failure. `late`: its tensors may still be to come. */
static facet_status open_source(facet_model **out, source *src, const facet_model_options *o, bool late,
                                facet_error *err) {
    facet_model *m = calloc(1, sizeof *m);
    if (!m) {
        source_free(src);
        return error_memory(err, sizeof *m);
    }
    atomic_init(&m->references, 1);
    matcher_pool_open(&m->matchers);
    m->source = src;
    facet_status status = read_all(m, o, late, err);
    if (status != FACET_OK)
        facet_model_free(m);
    else
        *out = m;
    return status;
}

static facet_status use_options(const facet_model_options *in, facet_model_options *out, facet_error *err) {
    facet_model_options_defaults(out);
    if (!in) return FACET_OK;
    FACET_TRY(options_check("facet_model_options", in->size, sizeof *in, err));
    *out = *in;
    return FACET_OK;
}

facet_status facet_model_open(facet_model **out, const char *path, const facet_model_options *options,
                              facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_model_options o;
    source *src;
    FACET_TRY(use_options(options, &o, err));
    FACET_TRY(o.vocabulary_only ? source_open_one(&src, path, o.use_mmap, err)
                                : source_open_path(&src, path, o.use_mmap, err));
    facet_status status = open_source(out, src, &o, false, err);
    if (status != FACET_OK) source_blame(path, err);
    return status;
}

facet_status facet_model_open_memory(facet_model **out, const void *data, size_t n_bytes, facet_release_fn release,
                                     void *ctx, const facet_model_options *options, facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_model_options o;
    source *src;
    facet_status status = use_options(options, &o, err);
    if (status == FACET_OK && (uintptr_t)data % 32) {
        status = error_set(err, FACET_ERROR_ARGUMENT, "the model's memory is not aligned to 32 bytes");
    }
    if (status != FACET_OK) {
        if (release) release(ctx, data, n_bytes);
        return status;
    }
    FACET_TRY(source_open_memory(&src, data, n_bytes, release, ctx, err));
    return open_source(out, src, &o, false, err);
}

facet_status facet_model_open_source(facet_model **out, const facet_source *from, const facet_model_options *options,
                                     facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_model_options o;
    source *src;
    /* of another version's struct nothing is known, so nothing can be released */
    FACET_TRY(options_check("facet_source", from->size, sizeof *from, err));
    facet_status status = use_options(options, &o, err);
    if (status != FACET_OK) {
        if (from->release) from->release(from->ctx);
        return status;
    }
    FACET_TRY(source_open_read(&src, from, o.vocabulary_only, err));
    return open_source(out, src, &o, false, err);
}

facet_status model_open_stream(facet_model **out, stream *from, double timeout, const facet_model_options *options,
                               facet_error *err) {
    *out = NULL;
    source *src;
    facet_model *m;
    FACET_TRY(source_open_stream(&src, from, err));
    FACET_TRY(open_source(&m, src, options, true, err));
    facet_status status =
        m->has_weights ? arrival_new(&m->arrival, from, timeout, m->file, &m->weights, &m->hparams, err) : FACET_OK;
    if (status != FACET_OK)
        facet_model_free(m);
    else
        *out = m;
    return status;
}

facet_status facet_model_get_info(const facet_model *m, facet_model_info *info) {
    FACET_TRY(options_check("facet_model_info", info->size, sizeof *info, NULL));
    *info = (facet_model_info){.size = sizeof *info,
                               .name = m->name,
                               .architecture = "gemma4",
                               .n_parameters = m->n_parameters,
                               .weight_bytes = m->weight_bytes,
                               .n_vocab = vocab_size(m->vocab),
                               .has_weights = m->has_weights,
                               .has_template = m->has_template,
                               .template_is_gemma4 = m->template_is_gemma4,
                               .chat_kind = m->chat_kind};
    if (!m->has_shape) return FACET_OK;
    info->n_layer = (int32_t)m->hparams.n_layer;
    info->n_embd = (int32_t)m->hparams.n_embd;
    info->n_context = (int32_t)m->hparams.n_context;
    info->n_expert = (int32_t)m->hparams.n_expert;
    return FACET_OK;
}
