/* Forming and computing a step. See batch.h. */
#include "engine/batch.h"

#include <stdlib.h>
#include <string.h>

#include "os/system.h"

facet_status batch_open(batch *b, backend *on, forward *f, kv_cache *kv, size_t ubatch, size_t n_vocab, size_t n_embd,
                        facet_error *err) {
    *b = (batch){.backend = on, .forward = f, .kv = kv, .ubatch = ubatch, .n_vocab = n_vocab, .n_embd = n_embd};
    b->logits_bytes = FORWARD_HEAD_ROWS * n_vocab * sizeof *b->logits;
    b->logits = os_pages_new(b->logits_bytes);
    b->segments = malloc(ubatch * sizeof *b->segments);
    b->tokens = malloc(ubatch * sizeof(request *));
    return b->logits && b->segments && b->tokens ? FACET_OK : error_memory(err, b->logits_bytes);
}

void batch_close(batch *b) {
    os_pages_free(b->logits, b->logits_bytes);
    free(b->segments);
    free(b->tokens);
}

/* ---- who takes part */

/* Moves the requests that `take` wants from one list to the end of another; the order stays. */
typedef bool (*request_test)(const request *r);
static request *take_matching(request **queue, request_test take) {
    request *taken = NULL, **end = &taken;
    while (*queue) {
        request *r = *queue;
        if (!take(r)) {
            queue = &r->next;
            continue;
        }
        *queue = r->next;
        r->next = NULL;
        *end = r;
        end = &r->next;
    }
    return taken;
}

static bool is_cancelled(const request *r) { return r->cancelled && atomic_load(r->cancelled); }
static bool is_head(const request *r) { return r->kv == NULL; }
static bool is_granted(const request *r) { return r->n_granted > 0; }

static request *take_cancelled(request **queue) {
    request *list = take_matching(queue, is_cancelled);
    for (request *r = list; r; r = r->next) {
        atomic_store(r->cancelled, false);
        r->done = true;
        r->status = error_set(r->err, FACET_ERROR_CANCELLED, "cancelled");
    }
    return list;
}

/* A prompt beside decoding sessions takes a part of the ubatch only: they wait for the whole step. */
static size_t prompt_room(size_t ubatch, size_t n_short) {
    size_t part = ubatch / 4 > 32 ? ubatch / 4 : 32, room = ubatch - n_short;
    return n_short && room > part ? part : room;
}

/* One token, or that and a few guessed ones: what decoding sessions ask for. */
static bool is_short(const request *r) { return r->tentative || request_left(r) == 1; }

static size_t count_prompts(const request *queue) {
    size_t n = 0;
    for (; queue; queue = queue->next) n += !is_short(queue);
    return n;
}

/* What decoding sessions need; where there are prompts they keep room for one token at least. */
static size_t grant_short(request *queue, size_t room) {
    size_t n = 0;
    for (request *r = queue; r && n < room; r = r->next) {
        if (!is_short(r)) continue;
        r->n_granted = request_left(r) < room - n ? request_left(r) : room - n;
        n += r->n_granted;
    }
    return n;
}

static void grant_prompts(request *queue, size_t n_prompts, size_t room) {
    for (request *r = queue; r && room; r = r->next) {
        size_t left = request_left(r), share = room / (n_prompts ? n_prompts : 1);
        if (is_short(r)) continue;
        if (share == 0) share = 1;
        r->n_granted = left < share ? left : share;
        room -= r->n_granted;
        n_prompts--;
    }
    for (request *r = queue; r && room; r = r->next) { /* what short prompts did not need */
        if (r->n_granted == 0) continue;
        size_t left = request_left(r) - r->n_granted, more = left < room ? left : room;
        r->n_granted += more;
        room -= more;
    }
}

static void grant(const batch *b, request *queue) {
    size_t n_prompts = count_prompts(queue);
    size_t n_short = grant_short(queue, n_prompts ? b->ubatch - 1 : b->ubatch);
    if (n_prompts) grant_prompts(queue, n_prompts, prompt_room(b->ubatch, n_short));
}

/* ---- forming */

static bool wants_rows(const request *r) { return r->hidden && r->hidden_from < r->end; }

/* The logits after its last token and no other row. */
static bool wants_logits(const request *r) { return r->logits && r->n_granted == request_left(r) && !wants_rows(r); }

static void add_segment(batch *b, request *r, size_t at) {
    size_t wanted = r->n_granted;
    if (r->hidden) wanted = r->hidden_from > at ? r->hidden_from - at : 0;
    if (r->logits && at + r->n_granted == r->end && !wants_rows(r)) wanted = r->n_granted - 1;
    if (wanted > r->n_granted) wanted = r->n_granted;
    r->n_hidden = wants_rows(r) ? r->n_granted - wanted : 0;
    b->tokens[b->n_tokens] = r;
    b->segments[b->n_tokens++] = (forward_segment){.kv = r->kv,
                                                   .tokens = r->tokens + at,
                                                   .n = r->n_granted,
                                                   .position = at,
                                                   .wanted_from = wanted,
                                                   .adapters = r->adapters};
    b->n_rows += r->n_granted;
}

/* Adds those of the list that want logits, or the others: hidden states come in the order of segments, and what the
 * head reads has to lie side by side. The refused go to `failed`. */
static void add_segments(batch *b, request **list, bool logits, request **failed) {
    while (*list) {
        request *r = *list;
        size_t at = kv_sequence_length(r->kv);
        if (wants_logits(r) != logits) {
            list = &r->next;
            continue;
        }
        *list = r->next;
        r->status = kv_sequence_extend(r->kv, r->n_granted, r->err);
        if (r->status == FACET_OK) {
            add_segment(b, r, at);
            continue;
        }
        r->done = true;
        r->next = *failed;
        *failed = r;
    }
}

request *batch_form(batch *b, request **queue) {
    b->n_tokens = b->n_rows = 0;
    request *over = take_cancelled(queue);
    b->heads = take_matching(queue, is_head);
    grant(b, *queue);
    request *list = take_matching(queue, is_granted);
    add_segments(b, &list, true, &over);
    b->n_logits = b->n_tokens;
    add_segments(b, &list, false, &over);
    kv_copy copies[KV_MAX_COPIES];
    size_t n_copies = kv_cache_take_copies(b->kv, copies);
    backend_take_pages(b->backend, copies, n_copies, b->segments, b->n_tokens);
    return over;
}

/* ---- waiting for the model */

bool batch_has_cancelled(const batch *b, const request *queue) {
    for (size_t i = 0; i < b->n_tokens; i++) {
        if (is_cancelled(b->tokens[i])) return true;
    }
    for (const request *r = b->heads; r; r = r->next) {
        if (is_cancelled(r)) return true;
    }
    for (; queue; queue = queue->next) {
        if (is_cancelled(queue)) return true;
    }
    return false;
}

static bool await_stage(batch *b, uint32_t stage) {
    if (b->missed == FACET_OK) b->missed = arrival_wait(b->arrival, stage, b->stop, b->stop_ctx, b->missed_err);
    return b->missed == FACET_OK;
}

static bool batch_gate(void *ctx, uint32_t layer) { return await_stage(ctx, WEIGHTS_STAGE_LAYER + layer); }

void batch_await(batch *b, arrival *a, const hparams *h, stream_stop_fn stop, void *ctx) {
    b->arrival = a;
    b->head_stage = weights_stage_head(h);
    b->stop = stop;
    b->stop_ctx = ctx;
    forward_set_gate(b->forward, a ? batch_gate : NULL, b);
}

/* ---- computing */

static bool wants_head(const request *r) { return r->logits && request_left(r) == 0; }

static bool needs_head(const batch *b) {
    bool needs = b->heads != NULL;
    for (size_t i = 0; i < b->n_tokens; i++) needs |= wants_head(b->tokens[i]);
    return needs;
}

/* One session's logits go straight to it; those of several are computed together and handed out. */
static facet_status compute_logits(batch *b, const float *hidden, facet_error *err) {
    for (size_t i = 0; i < b->n_logits;) {
        size_t n = b->n_logits - i < FORWARD_HEAD_ROWS ? b->n_logits - i : FORWARD_HEAD_ROWS;
        float *out = n == 1 ? b->tokens[i]->logits : b->logits;
        FACET_TRY(backend_head(b->backend, hidden + i * b->n_embd, n, out, err));
        for (size_t k = 0; k < n && n > 1; k++) {
            memcpy(b->tokens[i + k]->logits, b->logits + k * b->n_vocab, b->n_vocab * sizeof *out);
        }
        i += n;
    }
    return FACET_OK;
}

/* Behind the rows of those who want logits alone; who wants both has its logits of the last of its rows. */
static facet_status hand_out_rows(batch *b, const float *hidden, facet_error *err) {
    if (b->n_tokens == b->n_logits) return FACET_OK;
    const float *rows = hidden + b->n_logits * b->n_embd;
    for (size_t i = b->n_logits; i < b->n_tokens; i++) {
        request *r = b->tokens[i];
        if (r->n_hidden == 0) continue;
        memcpy(r->hidden, rows, r->n_hidden * b->n_embd * sizeof *rows);
        rows += r->n_hidden * b->n_embd;
        if (wants_head(r)) FACET_TRY(backend_head(b->backend, rows - b->n_embd, 1, r->logits, err));
    }
    return FACET_OK;
}

static facet_status compute_heads(batch *b, facet_error *err) {
    for (request *r = b->heads; r; r = r->next) {
        const float *rows = backend_recall(b->backend, r->hidden, r->n_hidden, r->adapters);
        FACET_TRY(backend_head(b->backend, rows, r->n_hidden, r->logits, err));
    }
    return FACET_OK;
}

static facet_status compute(batch *b, facet_error *err) {
    const float *hidden = NULL;
    size_t n_hidden;
    b->missed = FACET_OK;
    b->missed_err = err;
    if (!await_stage(b, WEIGHTS_STAGE_STEP)) return b->missed;
    if (b->n_tokens) FACET_TRY(backend_step(b->backend, b->segments, b->n_tokens, &hidden, &n_hidden, err));
    if (needs_head(b) && !await_stage(b, b->head_stage)) return b->missed;
    if (b->missed != FACET_OK) return b->missed;
    FACET_TRY(compute_logits(b, hidden, err));
    FACET_TRY(hand_out_rows(b, hidden, err));
    return compute_heads(b, err);
}

facet_status batch_compute(batch *b, facet_error *err) {
    facet_status status = compute(b, err);
    b->lost = status != FACET_OK && b->missed == FACET_OK;
    return status;
}

/* Positions that were taken and not computed are given back; their pages stay. */
request *batch_undo(batch *b) {
    request *list = b->heads;
    for (size_t i = b->n_tokens; i-- > 0;) {
        request *r = b->tokens[i];
        kv_sequence_shorten(r->kv, b->segments[i].position);
        r->n_granted = 0;
        r->n_hidden = 0;
        r->next = list;
        list = r;
    }
    b->n_tokens = b->n_logits = b->n_rows = 0;
    b->heads = NULL;
    return list;
}
