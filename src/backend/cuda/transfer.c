/* Between the host's memory and a CUDA device's. Everything passes pieces of pinned memory, which the device copies
 * by itself: what is written is put there and copied in the order of the stream, while the caller goes on; what is
 * read comes piece by piece, one copied while the one before it is taken away. Where the driver pins nothing the
 * pieces are ordinary memory: slower, else the same. See parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/parts.h"

enum { UP_BYTES = 8 << 20, DOWN_BYTES = 2 << 20, PART_BYTES = 4 << 20, ALIGN = 64 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- pieces */

static void close_piece(cuda_device *c, cuda_piece *p) {
    if (p->done) c->cu.EventDestroy(p->done);
    if (p->pinned)
        c->cu.MemFreeHost(p->data);
    else
        free(p->data);
    *p = (cuda_piece){0};
}

static bool can_pin(const cuda_api *cu) {
    return cu->MemHostAlloc && cu->MemFreeHost && cu->EventCreate && cu->EventDestroy && cu->EventRecord &&
           cu->EventSynchronize;
}

static bool pin(cuda_device *c, cuda_piece *p, size_t n_bytes) {
    void *data = NULL;
    if (!can_pin(&c->cu) || c->cu.MemHostAlloc(&data, n_bytes, 0) != CUDA_SUCCESS) return false;
    *p = (cuda_piece){.data = data, .n_bytes = n_bytes, .pinned = true};
    if (c->cu.EventCreate(&p->done, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS) return true;
    p->done = NULL;
    close_piece(c, p);
    return false;
}

/* Makes sure of its size; nothing of it is kept. */
static facet_status open_piece(cuda_device *c, cuda_piece *p, size_t n_bytes, facet_error *err) {
    if (p->n_bytes >= n_bytes) return FACET_OK;
    close_piece(c, p);
    if (pin(c, p, n_bytes)) return FACET_OK;
    p->data = malloc(n_bytes);
    if (!p->data) return error_memory(err, n_bytes);
    p->n_bytes = n_bytes;
    return FACET_OK;
}

/* The copies from or to a piece have been asked for. The driver has taken what lies in ordinary memory when a copy
 * to the device returns. */
static CUresult mark(cuda_device *c, cuda_piece *p) {
    p->in_flight = p->pinned;
    return p->pinned ? c->cu.EventRecord(p->done, c->stream) : CUDA_SUCCESS;
}

static CUresult wait_for(cuda_device *c, cuda_piece *p) {
    if (!p->in_flight) return CUDA_SUCCESS;
    p->in_flight = false;
    return c->cu.EventSynchronize(p->done);
}

void cuda_stages_close(cuda_device *c) {
    for (int i = 0; i < 2; i++) {
        close_piece(c, &c->up.pieces[i]);
        close_piece(c, &c->down.pieces[i]);
    }
}

/* ---- to the device */

/* The other piece, once its copies are done. */
static facet_status turn(cuda_device *c, size_t n_bytes, facet_error *err) {
    cuda_stage *s = &c->up;
    CUresult code = s->used ? mark(c, &s->pieces[s->now]) : CUDA_SUCCESS;
    s->now = !s->now;
    s->used = 0;
    if (code == CUDA_SUCCESS) code = wait_for(c, &s->pieces[s->now]);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "a copy to the device", err);
    return open_piece(c, &s->pieces[s->now], n_bytes > UP_BYTES ? n_bytes : UP_BYTES, err);
}

facet_status cuda_stage_take(gpu_device *d, size_t n_bytes, void **out, facet_error *err) {
    cuda_device *c = cuda_own(d);
    cuda_stage *s = &c->up;
    *out = NULL;
    if (n_bytes > s->pieces[s->now].n_bytes - s->used) {
        CUresult code = cuda_enter(c);
        if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
        facet_status status = turn(c, n_bytes, err);
        cuda_leave(c);
        FACET_TRY(status);
    }
    cuda_piece *p = &s->pieces[s->now];
    s->at = s->used;
    s->last_bytes = n_bytes;
    s->used = least((s->used + n_bytes + ALIGN - 1) / ALIGN * ALIGN, p->n_bytes);
    *out = p->data + s->at;
    return FACET_OK;
}

facet_status cuda_stage_send(gpu_device *d, const gpu_buffer *to, uint64_t at, facet_error *err) {
    cuda_device *c = cuda_own(d);
    const cuda_stage *s = &c->up;
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemcpyHtoDAsync(cuda_address(to, at), s->pieces[s->now].data + s->at, s->last_bytes, c->stream);
    cuda_leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuMemcpyHtoDAsync", err);
}

facet_status cuda_write(gpu_device *d, const gpu_buffer *to, uint64_t at, const void *data, size_t n_bytes,
                        facet_error *err) {
    const char *from = data;
    for (size_t part; n_bytes > 0; from += part, at += part, n_bytes -= part) {
        void *stage;
        part = least(n_bytes, PART_BYTES);
        FACET_TRY(cuda_stage_take(d, part, &stage, err));
        memcpy(stage, from, part);
        FACET_TRY(cuda_stage_send(d, to, at, err));
    }
    return FACET_OK;
}

/* ---- from the device */

static CUresult ask(cuda_device *c, cuda_piece *p, CUdeviceptr from, size_t n_bytes) {
    CUresult code = c->cu.MemcpyDtoHAsync(p->data, from, n_bytes, c->stream);
    return code == CUDA_SUCCESS ? mark(c, p) : code;
}

static CUresult take(cuda_device *c, cuda_piece *p, char *to, size_t n_bytes) {
    CUresult code = wait_for(c, p);
    if (code == CUDA_SUCCESS) memcpy(to, p->data, n_bytes);
    return code;
}

static CUresult read_pieces(cuda_device *c, CUdeviceptr from, char *data, size_t n_bytes) {
    cuda_piece *pieces = c->down.pieces;
    CUresult code = CUDA_SUCCESS;
    size_t taken = 0, part;
    int now = 0;
    for (size_t at = 0; at < n_bytes && code == CUDA_SUCCESS; at += part, now = !now) {
        part = least(n_bytes - at, DOWN_BYTES);
        code = ask(c, &pieces[now], from + at, part);
        if (code != CUDA_SUCCESS || at == 0) continue;
        code = take(c, &pieces[!now], data + taken, at - taken);
        taken = at;
    }
    return code == CUDA_SUCCESS ? take(c, &pieces[!now], data + taken, n_bytes - taken) : code;
}

/* Without pinned memory: whatever happened, nothing writes to `data` afterwards. */
static CUresult read_directly(cuda_device *c, CUdeviceptr from, void *data, size_t n_bytes) {
    CUresult code = c->cu.MemcpyDtoHAsync(data, from, n_bytes, c->stream);
    CUresult end = c->cu.StreamSynchronize(c->stream);
    return code == CUDA_SUCCESS ? end : code;
}

static bool down_is_pinned(cuda_device *c) {
    for (int i = 0; i < 2; i++) {
        if (open_piece(c, &c->down.pieces[i], DOWN_BYTES, NULL) != FACET_OK || !c->down.pieces[i].pinned)
            return false;
    }
    return true;
}

facet_status cuda_read(gpu_device *d, const gpu_buffer *from, uint64_t at, void *data, size_t n_bytes,
                       facet_error *err) {
    cuda_device *c = cuda_own(d);
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = down_is_pinned(c) ? read_pieces(c, cuda_address(from, at), data, n_bytes)
                             : read_directly(c, cuda_address(from, at), data, n_bytes);
    cuda_leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "reading from the device", err);
}

/* ---- on the device */

facet_status cuda_copy(gpu_device *d, const gpu_buffer *to, uint64_t to_at, const gpu_buffer *from, uint64_t from_at,
                       uint64_t n_bytes, facet_error *err) {
    cuda_device *c = cuda_own(d);
    CUresult code = cuda_enter(c);
    if (code != CUDA_SUCCESS) return cuda_failed(c, code, "cuCtxPushCurrent", err);
    code = c->cu.MemcpyDtoDAsync(cuda_address(to, to_at), cuda_address(from, from_at), (size_t)n_bytes, c->stream);
    cuda_leave(c);
    return code == CUDA_SUCCESS ? FACET_OK : cuda_failed(c, code, "cuMemcpyDtoDAsync", err);
}
