/* The life of an engine, and what it will need. See engine.h. */
#include "engine/engine.h"

#include <stdlib.h>

#include "os/system.h"

enum { MAX_THREADS = 256, MAX_UBATCH = 4096, DEFAULT_CONTEXT = 8192, DEFAULT_UBATCH = 512 };

void facet_engine_options_defaults(facet_engine_options *o) {
    *o = (facet_engine_options){
        .size = sizeof *o, .ubatch = DEFAULT_UBATCH, .cpu_features = FACET_CPU_ALL, .n_device_layers = -1};
}

static facet_status out_of_range(facet_error *err, const char *field, long long value, long long low,
                                 long long high) {
    return error_set(err, FACET_ERROR_ARGUMENT, "facet_engine_options.%s is %lld, expected %lld to %lld", field,
                     value, low, high);
}

/* Checks the options and replaces what is left to choose. */
static facet_status choose_options(const facet_model *m, const facet_engine_options *in, facet_engine_options *o,
                                   facet_error *err) {
    facet_engine_options_defaults(o);
    if (in) {
        FACET_TRY(options_check("facet_engine_options", in->size, sizeof *in, err));
        *o = *in;
    }
    if (!m->has_shape) return error_set(err, FACET_ERROR_STATE, "the model has a vocabulary only, no weights");
    int32_t most = (int32_t)m->hparams.n_context;
    if (o->n_threads < 0 || o->n_threads > MAX_THREADS) {
        return out_of_range(err, "n_threads", o->n_threads, 0, MAX_THREADS);
    }
    if (o->max_context < 0 || o->max_context > most) return out_of_range(err, "max_context", o->max_context, 0, most);
    if (o->ubatch < 1 || o->ubatch > MAX_UBATCH) return out_of_range(err, "ubatch", o->ubatch, 1, MAX_UBATCH);
    if (o->kv_type < FACET_KV_F16 || o->kv_type > FACET_KV_F32) {
        return out_of_range(err, "kv_type", o->kv_type, FACET_KV_F16, FACET_KV_F32);
    }
    if (o->n_device_layers < -1) return out_of_range(err, "n_device_layers", o->n_device_layers, -1, INT32_MAX);
    if (!backend_knows(o->device)) {
        return error_set(err, FACET_ERROR_ARGUMENT, "facet_engine_options.device: there is no '%.40s'", o->device);
    }
    if (o->n_threads == 0) o->n_threads = os_usable_cpus();
    if (o->n_threads > MAX_THREADS) o->n_threads = MAX_THREADS;
    if (o->max_context == 0) o->max_context = most < DEFAULT_CONTEXT ? most : DEFAULT_CONTEXT;
    if (o->ubatch > o->max_context) o->ubatch = o->max_context;
    return FACET_OK;
}

/* ---- what it takes */

/* Beside the counted buffers: the program itself, stacks, the allocator's own, each session's sampler and timeline.
 */
static uint64_t uncounted_bytes(const facet_engine_options *o, size_t n_vocab) {
    return (6u << 20) + (uint64_t)o->n_threads * (256u << 10) + (uint64_t)n_vocab * 24 + (uint64_t)o->max_context * 8;
}

static uint64_t kv_growth(const hparams *h, facet_kv_type type) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < h->n_own; i++) {
        const layer_hparams *l = &h->layers[i];
        if (!l->sliding) bytes += 2 * (uint64_t)l->n_head_kv * cpu_kv_row_bytes(type, l->head_dim);
    }
    return bytes;
}

static facet_status fit_with(const facet_model *m, const facet_engine_options *o, facet_fit *fit, facet_error *err) {
    kv_need need;
    size_t scratch = 0;
    uint32_t used;
    cpu_table *cpu;
    FACET_TRY(kv_plan(&m->hparams, o->kv_type, (size_t)o->max_context, (size_t)o->ubatch, &need, err));
    FACET_TRY(cpu_table_new(&cpu, o->cpu_features, &used, err));
    facet_status status = forward_plan(&m->hparams, &m->weights, cpu, (size_t)o->ubatch, o->n_threads, &scratch, err);
    cpu_table_free(cpu);
    FACET_TRY(status);
    uint64_t n_vocab = m->hparams.n_vocab;
    fit->weight_bytes = m->weight_bytes;
    fit->kv_bytes = o->kv_bytes ? o->kv_bytes : kv_need_bytes(&need);
    fit->kv_bytes_per_token = kv_growth(&m->hparams, o->kv_type);
    /* a session's logits; those of rows that are scored, and their hidden states */
    fit->scratch_bytes = scratch + (FORWARD_HEAD_ROWS + 1) * n_vocab * sizeof(float) +
                         (uint64_t)o->ubatch * m->hparams.n_embd * sizeof(float);
    fit->vocabulary_bytes = vocab_memory_bytes(m->vocab);
    fit->anonymous_bytes = fit->kv_bytes + fit->scratch_bytes + fit->vocabulary_bytes + uncounted_bytes(o, n_vocab);
    return FACET_OK;
}

facet_status facet_fit_compute(const facet_model *m, const facet_engine_options *options, facet_fit *fit,
                               facet_error *err) {
    error_clear(err);
    facet_engine_options o;
    FACET_TRY(options_check("facet_fit", fit->size, sizeof *fit, err));
    FACET_TRY(choose_options(m, options, &o, err));
    *fit = (facet_fit){.size = sizeof *fit};
    return fit_with(m, &o, fit, err);
}

/* ---- life */

static facet_status open_kv(facet_engine *e, facet_error *err) {
    const facet_engine_options *o = &e->options;
    const hparams *h = &e->model->hparams;
    kv_need need;
    FACET_TRY(kv_plan(h, o->kv_type, (size_t)o->max_context, (size_t)o->ubatch, &need, err));
    return kv_cache_new(&e->kv, h, o->kv_type, &need, o->kv_bytes ? o->kv_bytes : kv_need_bytes(&need), err);
}

/* A device takes all weights at once, so they must have arrived. */
static facet_status open_backend(facet_engine *e, facet_error *err) {
    const facet_model *m = e->model;
    const facet_engine_options *o = &e->options;
    backend_options options = {.device = o->device,
                               .n_layers = o->n_device_layers,
                               .ubatch = (size_t)o->ubatch,
                               .max_context = (size_t)o->max_context,
                               .cache = o->kernel_cache,
                               .log = o->log,
                               .log_ctx = o->log_ctx,
                               .progress = o->upload_progress,
                               .progress_ctx = o->upload_ctx};
    if (o->device) FACET_TRY(arrival_wait(m->arrival, weights_stage_head(&m->hparams), NULL, NULL, err));
    FACET_TRY(
        backend_open(&e->backend, e->forward, &m->hparams, &m->weights, e->cpu, e->threads, e->kv, &options, err));
    e->options.device = e->options.kernel_cache = NULL; /* the caller's */
    return FACET_OK;
}

static facet_status open_parts(facet_engine *e, facet_error *err) {
    const facet_model *m = e->model;
    size_t ubatch = (size_t)e->options.ubatch, scratch;
    FACET_TRY(cpu_table_new(&e->cpu, e->options.cpu_features, &e->cpu_features, err));
    FACET_TRY(pool_new(&e->threads, e->options.n_threads, err));
    FACET_TRY(forward_plan(&m->hparams, &m->weights, e->cpu, ubatch, e->options.n_threads, &scratch, err));
    FACET_TRY(forward_new(&e->forward, &m->hparams, &m->weights, e->cpu, e->threads, ubatch, err));
    FACET_TRY(open_kv(e, err));
    FACET_TRY(open_backend(e, err));
    e->scratch_bytes = scratch + FORWARD_HEAD_ROWS * (uint64_t)m->hparams.n_vocab * sizeof(float);
    FACET_TRY(scheduler_open(&e->scheduler, e->backend, e->forward, e->kv, ubatch, m->hparams.n_vocab,
                             m->hparams.n_embd, err));
    if (m->arrival) scheduler_await(&e->scheduler, m->arrival, &m->hparams);
    return FACET_OK;
}

facet_status facet_engine_new(facet_engine **out, facet_model *model, const facet_engine_options *options,
                              facet_error *err) {
    *out = NULL;
    error_clear(err);
    facet_engine_options chosen;
    FACET_TRY(choose_options(model, options, &chosen, err));
    if (!model->has_weights) return error_set(err, FACET_ERROR_STATE, "the model was opened without its weights");
    FACET_TRY(arrival_wait(model->arrival, WEIGHTS_STAGE_ENGINE, NULL, NULL, err));
    facet_engine *e = calloc(1, sizeof *e);
    if (!e) return error_memory(err, sizeof *e);
    e->options = chosen;
    e->model = model_ref(model);
    atomic_init(&e->references, 1);
    facet_status status = open_parts(e, err);
    if (status != FACET_OK)
        facet_engine_free(e);
    else
        *out = e;
    return status;
}

facet_engine *engine_ref(facet_engine *e) {
    atomic_fetch_add(&e->references, 1);
    return e;
}

void facet_engine_free(facet_engine *e) {
    if (!e || atomic_fetch_sub(&e->references, 1) > 1) return;
    scheduler_close(&e->scheduler);
    backend_free(e->backend);
    kv_cache_free(e->kv);
    forward_free(e->forward);
    pool_free(e->threads);
    cpu_table_free(e->cpu);
    facet_model_free(e->model);
    free(e);
}

facet_status facet_engine_get_info(const facet_engine *e, facet_engine_info *info) {
    FACET_TRY(options_check("facet_engine_info", info->size, sizeof *info, NULL));
    *info = (facet_engine_info){.size = sizeof *info,
                                .n_threads = e->options.n_threads,
                                .max_context = e->options.max_context,
                                .ubatch = e->options.ubatch,
                                .kv_type = e->options.kv_type,
                                .cpu_features = e->cpu_features,
                                .kv_bytes = kv_cache_bytes(e->kv),
                                .scratch_bytes = e->scratch_bytes,
                                .device = backend_name(e->backend),
                                .n_device_layers = (int32_t)backend_device_layers(e->backend),
                                .device_bytes = backend_device_bytes(e->backend)};
    return FACET_OK;
}

void facet_device_list(facet_device_fn fn, void *ctx) { backend_list(fn, ctx); }
