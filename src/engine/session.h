/* struct facet_session: one timeline of tokens. Owns: its tokens, its place in the KV cache, the logits after its
 * last token, and what generation needs. One caller at a time, but for `cancelled`. */
#ifndef FACET_ENGINE_SESSION_H
#define FACET_ENGINE_SESSION_H

#include "engine/adapter.h"
#include "engine/engine.h"
#include "sample/sampler.h"
#include "token/decoder.h"

struct facet_session {
    facet_engine *engine;
    size_t max_context;
    kv_sequence *kv;
    int32_t *tokens; /* [max_context] the timeline; the first kv_sequence_length of them are in the KV cache */
    size_t n_tokens;
    float *logits;         /* [n_vocab] */
    bool has_logits;       /* they are those after the last token */
    adapter_set *adapters; /* NULL: none; the KV cache was computed with them */
    sampler *sampler;
    member member; /* its place with the scheduler */
    atomic_bool cancelled;
    double prompt_seconds; /* of the last sync */
    size_t prompt_tokens;
};

/* Around every call that computes, so that the steps of other sessions wait for this one's next token. */
void session_enter(facet_session *s);
void session_leave(facet_session *s);
/* One request of this session to the scheduler. Entered. */
facet_status session_run(facet_session *s, request *r, facet_error *err);
/* Computes what the KV cache lacks of the timeline, and the logits after its last token. Entered. */
facet_status session_catch_up(facet_session *s, facet_progress_fn progress, void *ctx, facet_error *err);
/* Takes over what is known of a new timeline, but `most` tokens at most. *keep gets how many that are. */
facet_status session_take_timeline(facet_session *s, const int32_t *tokens, size_t n, size_t most, size_t *keep,
                                   facet_error *err);
/* After a failure the timeline ends where the cache does. Returns `status`. */
facet_status session_settle(facet_session *s, facet_status status);
/* facet_session_shift for arguments that are right. No step of the session runs. */
facet_status session_shift(facet_session *s, size_t from, size_t n, facet_error *err);
/* Computes the timeline anew and hands over the final hidden states of all its tokens, [n_rows][n_embd] at a time, in
 * order. `on_rows` returns false to stop. Afterwards the logits of the last token are ready. */
typedef bool (*session_rows_fn)(void *ctx, const float *rows, size_t n_rows);
facet_status session_hidden(facet_session *s, const int32_t *tokens, size_t n, session_rows_fn on_rows, void *ctx,
                            facet_error *err);

#endif
