/* The pipeline behind flow.h. A batch of a tensor's weights is cut into units of UNIT weights, which the
 * threads take one by one: to floats, to blocks, into the batch's output. While a batch is computed the one before is
 * written. What a unit becomes depends on the unit alone, so the file does not depend on the number of threads. */
#include "flow.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "os/system.h"
#include "par/pool.h"
#include "quant/quantise.h"

enum {
    UNIT = 16384,            /* weights; a multiple of every block, 256 at the most */
    BATCH = 1 << 22,         /* weights; a multiple of UNIT */
    COPY_PIECE = 8 << 20,    /* bytes */
    BATCH_BYTES = BATCH * 4, /* no type takes more than a float */
    LATTICE_PROBES = 8       /* blocks of a unit that are looked at before all are */
};

enum fault { FAULT_NOT_FINITE = 1, FAULT_OVERFLOW = 2 };

/* Blocks that wait to be written. */
typedef struct piece {
    uint8_t *bytes;
    size_t n;
} piece;

typedef struct flow {
    const flow_job *job;
    os_output *file;
    pool *pool;
    float *scratch; /* two units for each thread: weights and their importance */
    piece full, filling;
    /* the batch that is computed */
    flow_tensor *tensor;
    uint64_t first; /* weight */
    size_t n_weights;
    atomic_int faults;
    facet_status written;
    facet_error *error;
    uint64_t done, total; /* bytes of input */
} flow;

uint64_t flow_bytes(const flow_tensor *t) {
    if (!t->to) return t->n_bytes;
    uint64_t n = quant_row_bytes(t->to, t->ne[0]);
    for (uint32_t i = 1; i < t->n_dims; i++) n *= t->ne[i];
    return n;
}

uint64_t flow_weights(const flow_tensor *t) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) n *= t->ne[i];
    return n;
}

uint32_t flow_type_id(const flow_tensor *t) { return t->to ? t->to->file_id : t->type_id; }

/* ---- GGUF files */

static facet_status write_file(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    return os_output_write(ctx, data, n_bytes, error);
}

static facet_status begin_gguf(void *ctx, const flow_tensor *tensors, size_t n, os_output *file, facet_error *error) {
    for (size_t i = 0; i < n; i++) {
        const flow_tensor *t = &tensors[i];
        gguf_add_tensor(ctx, t->name, flow_type_id(t), t->n_dims, t->ne, flow_bytes(t));
    }
    return gguf_writer_begin(ctx, write_file, file, error);
}

static facet_status put_gguf(void *ctx, const void *data, size_t n_bytes, facet_error *error) {
    return gguf_writer_data(ctx, data, n_bytes, error);
}

static facet_status end_gguf(void *ctx, facet_error *error) { return gguf_writer_end(ctx, error); }

flow_sink flow_gguf(gguf_writer *writer) { return (flow_sink){writer, begin_gguf, put_gguf, end_gguf}; }

/* ---- one unit */

static void importance_of(const flow_tensor *t, uint64_t first, size_t n, float *out) {
    uint64_t columns = t->ne[0], per_matrix = columns * t->ne[1], column = first % columns;
    for (size_t i = 0; i < n;) {
        uint64_t matrix = (first + i) / per_matrix;
        const float *from = t->importance.columns + (t->importance.n_matrices > 1 ? matrix : 0) * columns;
        size_t run = n - i < columns - column ? n - i : (size_t)(columns - column);
        memcpy(out + i, from + column, run * sizeof *out);
        i += run;
        column = 0;
    }
}

static bool any_lattice(const float *x, size_t n) {
    uint8_t block[18];
    for (size_t i = 0, probes = 0; i + 32 <= n && probes < LATTICE_PROBES; i += 32) {
        if (x[i] == 0.0f && x[i + 1] == 0.0f) continue;
        if (quant_q4_0_lattice(x + i, block)) return true;
        probes++;
    }
    return false;
}

static void put_blocks(const flow_tensor *t, const float *x, const float *weights, size_t n, uint8_t *out) {
    size_t n_blocks = n / t->to->block;
    quant_quantise_weighted(t->to, x, weights, out, n_blocks);
    if (t->to->type != QUANT_Q4_0 || !any_lattice(x, n)) return;
    for (size_t b = 0; b < n_blocks; b++) quant_q4_0_lattice(x + 32 * b, out + 18 * b);
}

static int faults_in(const flow_tensor *t, const float *x, size_t n) {
    int faults = 0;
    if (t->to->block > 1) {
        for (size_t i = 0; i < n; i++) faults |= isfinite(x[i]) ? 0 : FAULT_NOT_FINITE;
    } else if (t->to->type == QUANT_F16) {
        for (size_t i = 0; i < n; i++) faults |= fabsf(x[i]) >= 65520.0f && isfinite(x[i]) ? FAULT_OVERFLOW : 0;
    }
    return faults;
}

static void do_unit(flow *s, int thread, size_t unit) {
    const flow_tensor *t = s->tensor;
    size_t begin = unit * UNIT, n = s->n_weights - begin < UNIT ? s->n_weights - begin : UNIT;
    uint64_t first = s->first + begin;
    float *x = s->scratch + (size_t)thread * 2 * UNIT, *weights = NULL;
    if (t->read) {
        t->read(t, first, n, x);
    } else {
        t->from->dequantise(t->data + first / t->from->block * t->from->block_bytes, x, n / t->from->block);
    }
    int faults = faults_in(t, x, n);
    if (faults) atomic_fetch_or(&s->faults, faults);
    if (t->importance.columns) {
        weights = x + UNIT;
        importance_of(t, first, n, weights);
    }
    put_blocks(t, x, weights, n, s->filling.bytes + begin / t->to->block * t->to->block_bytes);
}

/* ---- batches */

static void write_full(flow *s) {
    if (!s->full.n || s->written != FACET_OK) return;
    s->written = s->job->sink.data(s->job->sink.ctx, s->full.bytes, s->full.n, s->error);
    s->full.n = 0;
}

static void work(const pool_worker *worker, void *ctx) {
    flow *s = ctx;
    size_t begin, end, n_units = (s->n_weights + UNIT - 1) / UNIT;
    if (worker->index == 0) write_full(s);
    while (pool_next(worker, n_units, 1, &begin, &end)) {
        for (; begin < end; begin++) do_unit(s, worker->index, begin);
    }
}

static facet_status report_progress(flow *s, uint64_t n_bytes) {
    s->done += n_bytes;
    if (s->job->on_progress && !s->job->on_progress(s->job->ctx, s->done, s->total)) {
        return error_set(s->error, FACET_ERROR_CANCELLED, "stopped");
    }
    return FACET_OK;
}

/* Gives the pages back, so that a model larger than memory passes through without pushing others out. */
static void let_go(const flow *s, const uint8_t *data, uint64_t n_bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + n_bytes) & ~(page - 1);
    if (s->job->mapped && end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static facet_status check_faults(const flow *s) {
    int faults = atomic_load(&s->faults);
    const char *name = s->tensor->name.data;
    int n = (int)(s->tensor->name.n < 100 ? s->tensor->name.n : 100);
    if (faults & FAULT_NOT_FINITE) {
        return error_set(s->error, FACET_ERROR_FORMAT,
                         "tensor '%.*s' holds values that are not finite: it cannot be "
                         "written as %s",
                         n, name, s->tensor->to->name);
    }
    if (faults & FAULT_OVERFLOW) {
        return error_set(s->error, FACET_ERROR_FORMAT,
                         "tensor '%.*s' holds values beyond the range of F16; BF16 has "
                         "the range of F32",
                         n, name);
    }
    return FACET_OK;
}

static facet_status do_batch(flow *s, uint64_t first, size_t n_weights) {
    const flow_tensor *t = s->tensor;
    s->first = first;
    s->n_weights = n_weights;
    pool_run(s->pool, work, s);
    if (s->written != FACET_OK) return s->written;
    FACET_TRY(check_faults(s));
    s->filling.n = n_weights / t->to->block * t->to->block_bytes;
    piece swap = s->full;
    s->full = s->filling;
    s->filling = swap;
    uint64_t in_bytes = n_weights / t->from->block * t->from->block_bytes;
    if (t->data) let_go(s, t->data + first / t->from->block * t->from->block_bytes, in_bytes);
    return report_progress(s, in_bytes);
}

static facet_status copy_tensor(flow *s) {
    const flow_tensor *t = s->tensor;
    write_full(s);
    if (s->written != FACET_OK) return s->written;
    for (uint64_t at = 0; at < t->n_bytes; at += COPY_PIECE) {
        size_t n = t->n_bytes - at < COPY_PIECE ? (size_t)(t->n_bytes - at) : COPY_PIECE;
        FACET_TRY(s->job->sink.data(s->job->sink.ctx, t->data + at, n, s->error));
        let_go(s, t->data + at, n);
        FACET_TRY(report_progress(s, n));
    }
    return FACET_OK;
}

static facet_status do_tensor(flow *s, flow_tensor *t) {
    s->tensor = t;
    if (!t->read && (!t->to || t->to == t->from)) return copy_tensor(s);
    if (t->prepare) FACET_TRY(t->prepare(t, s->error));
    uint64_t n = flow_weights(t);
    for (uint64_t at = 0; at < n; at += BATCH) FACET_TRY(do_batch(s, at, n - at < BATCH ? (size_t)(n - at) : BATCH));
    return FACET_OK;
}

static facet_status do_all(flow *s) {
    const flow_job *job = s->job;
    for (size_t i = 0; i < job->n; i++) s->total += job->tensors[i].n_bytes;
    FACET_TRY(job->sink.begin(job->sink.ctx, job->tensors, job->n, s->file, s->error));
    for (size_t i = 0; i < job->n; i++) FACET_TRY(do_tensor(s, &job->tensors[i]));
    write_full(s);
    if (s->written != FACET_OK) return s->written;
    return job->sink.end(job->sink.ctx, s->error);
}

static facet_status reserve(flow *s) {
    int threads = s->job->threads > 0 ? s->job->threads : os_usable_cpus();
    FACET_TRY(pool_new(&s->pool, threads, s->error));
    size_t scratch = (size_t)threads * 2 * UNIT * sizeof(float);
    s->scratch = malloc(scratch);
    s->full.bytes = malloc(BATCH_BYTES);
    s->filling.bytes = malloc(BATCH_BYTES);
    if (!s->scratch || !s->full.bytes || !s->filling.bytes)
        return error_memory(s->error, scratch + 2 * (size_t)BATCH_BYTES);
    return FACET_OK;
}

facet_status flow_run(const flow_job *job, facet_error *error) {
    flow s = {.job = job, .error = error};
    facet_status status = reserve(&s);
    if (status == FACET_OK) status = os_output_open(&s.file, job->path, error);
    if (status == FACET_OK) status = do_all(&s);
    if (status == FACET_OK) {
        status = os_output_commit(s.file, error);
    } else {
        os_output_discard(s.file);
    }
    pool_free(s.pool);
    free(s.scratch);
    free(s.full.bytes);
    free(s.filling.bytes);
    return status;
}
