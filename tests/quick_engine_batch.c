/* Sessions on many threads share steps: every logit is the same bits as alone, whoever joins, leaves or is cancelled
 * meanwhile. Run it under ThreadSanitizer too. Then how a step is shared out, and what happens when memory ends. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/session.h"
#include "support.h"

static const char *const kinds[] = {"ple-shared", "ple-gqa", "dense-keqv", "moe-keqv"};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };
enum { N_SCRIPTS = 6, LENGTH = 230, SHARED = 90, CONTEXT = 256 };

static facet_model *model_open(const char *kind) {
    facet_model *model;
    facet_error error;
    char path[512];
    snprintf(path, sizeof path, FACET_TEST_DATA "/models/%s.gguf", kind);
    assert_ok(facet_model_open(&model, path, NULL, &error), &error);
    return model;
}

/* `sessions`: the memory of how many of them. */
static facet_engine *engine_open(facet_model *model, int32_t threads, int32_t ubatch, double sessions) {
    facet_engine_options o;
    facet_engine *engine;
    facet_error error;
    facet_engine_options_defaults(&o);
    o.n_threads = threads;
    o.ubatch = ubatch;
    o.max_context = CONTEXT;
    facet_fit fit = {.size = sizeof fit};
    assert_ok(facet_fit_compute(model, &o, &fit, &error), &error);
    o.kv_bytes = (uint64_t)((double)fit.kv_bytes * sessions);
    assert_ok(facet_engine_new(&engine, model, &o, &error), &error);
    return engine;
}

static facet_session *session_open(facet_engine *engine, bool share, uint64_t salt) {
    facet_session_options o;
    facet_session *session;
    facet_error error;
    facet_session_options_defaults(&o);
    o.share_prefix = share;
    o.cache_salt = salt;
    assert_ok(facet_session_new(&session, engine, &o, &error), &error);
    return session;
}

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- the truth: each script computed alone */

typedef struct script {
    int32_t tokens[LENGTH];
    float *logits; /* [LENGTH][n_vocab] */
} script;

typedef struct world {
    facet_model *model;
    facet_engine *engine;
    size_t n_vocab;
    script scripts[N_SCRIPTS];
} world;

static bool keep_row(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    memcpy((float *)ctx + row * n_vocab, logits, n_vocab * sizeof *logits);
    return true;
}

/* Scripts begin alike in pairs. */
static void write_scripts(world *w) {
    uint32_t seed = 5;
    for (int i = 0; i < N_SCRIPTS; i++) {
        script *s = &w->scripts[i];
        for (size_t k = 0; k < LENGTH; k++) s->tokens[k] = (int32_t)(next_random(&seed) % w->n_vocab);
        if (i % 2) memcpy(s->tokens, w->scripts[i - 1].tokens, SHARED * sizeof *s->tokens);
        s->logits = malloc(LENGTH * w->n_vocab * sizeof *s->logits);
    }
}

static void world_open(world *w, const char *kind, int32_t threads, int32_t ubatch, double sessions) {
    facet_error error;
    *w = (world){.model = model_open(kind)};
    w->n_vocab = w->model->hparams.n_vocab;
    write_scripts(w);
    facet_engine *alone = engine_open(w->model, 1, 64, 1);
    for (int i = 0; i < N_SCRIPTS; i++) {
        facet_session *s = session_open(alone, false, 0);
        assert_ok(facet_session_score(s, w->scripts[i].tokens, LENGTH, 0, keep_row, w->scripts[i].logits, &error),
                  &error);
        facet_session_free(s);
    }
    facet_engine_free(alone);
    w->engine = engine_open(w->model, threads, ubatch, sessions);
}

static void world_close(world *w) {
    for (int i = 0; i < N_SCRIPTS; i++) free(w->scripts[i].logits);
    facet_engine_free(w->engine);
    facet_model_free(w->model);
}

/* ---- many threads */

/* Threads cannot fail a test: they keep what went wrong. */
typedef struct worker {
    world *w;
    uint32_t seed;
    int rounds;
    facet_session *session;
    bool cancels;
    size_t n_cancelled, n_refused, n_checked;
    char failure[300];
} worker;

static void note(worker *x, const char *what, const facet_error *error) {
    if (!x->failure[0]) snprintf(x->failure, sizeof x->failure, "%s: %s", what, error ? error->message : "");
}

/* True when the call did its work. */
static bool went_well(worker *x, facet_status status, const facet_error *error, const char *what) {
    if (status == FACET_ERROR_CANCELLED && x->cancels)
        x->n_cancelled++;
    else if (status == FACET_ERROR_BUDGET)
        x->n_refused++;
    else if (status != FACET_OK)
        note(x, what, error);
    return status == FACET_OK;
}

static void check_row(worker *x, const script *s, size_t row, const float *logits, const char *what) {
    size_t bytes = x->w->n_vocab * sizeof *logits;
    x->n_checked++;
    if (!logits || memcmp(logits, s->logits + row * x->w->n_vocab, bytes)) note(x, what, NULL);
}

/* A prompt, then token after token. */
static void read_along(worker *x, const script *s) {
    facet_error error;
    size_t n = 1 + next_random(&x->seed) % (LENGTH - 20), end = n + next_random(&x->seed) % 20;
    for (; n <= end; n++) {
        facet_status status = facet_session_sync(x->session, s->tokens, n, NULL, NULL, NULL, &error);
        if (went_well(x, status, &error, "sync")) check_row(x, s, n - 1, facet_session_logits(x->session), "sync");
    }
}

typedef struct scoring {
    worker *x;
    const script *s;
} scoring;

static bool check_scored(void *ctx, size_t row, const float *logits, size_t n_vocab) {
    (void)n_vocab;
    scoring *j = ctx;
    check_row(j->x, j->s, row, logits, "score");
    return true;
}

static void score_some(worker *x, const script *s) {
    facet_error error;
    size_t n = 2 + next_random(&x->seed) % 100, first = next_random(&x->seed) % n;
    facet_status status =
        facet_session_score(x->session, s->tokens, n, first, check_scored, &(scoring){x, s}, &error);
    went_well(x, status, &error, "score");
}

static int32_t largest(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return (int32_t)best;
}

typedef struct telling {
    int32_t ids[8];
    size_t n;
} telling;

static bool take_token(void *ctx, const facet_token *token) {
    telling *t = ctx;
    if (token->id >= 0) t->ids[t->n++] = token->id;
    return true;
}

/* The first token is the best of the known logits; the timeline that comes out is computed again by a session that
 * shares nothing and decides token by token. */
static void generate_some(worker *x, const script *s) {
    facet_error error;
    facet_generation g;
    facet_generation_result result = {.size = sizeof result};
    telling t = {0};
    facet_generation_defaults(&g);
    g.sampling.temperature = 0;
    g.sampling.top_k = 0;
    g.max_tokens = 6;
    g.ignore_end = true;
    size_t n = 1 + next_random(&x->seed) % 150;
    if (!went_well(x, facet_session_sync(x->session, s->tokens, n, NULL, NULL, NULL, &error), &error, "sync")) return;
    facet_status status = facet_session_generate(x->session, &g, take_token, &t, &result, &error);
    if (!went_well(x, status, &error, "generate")) return;
    if (result.stop_reason == FACET_STOP_CANCELLED) x->n_cancelled++;
    int32_t tokens[LENGTH];
    memcpy(tokens, s->tokens, n * sizeof *tokens);
    facet_session *alone = session_open(x->w->engine, false, 0);
    for (size_t i = 0; i < t.n; i++) {
        status = facet_session_sync(alone, tokens, n + i, NULL, NULL, NULL, &error);
        if (!went_well(x, status, &error, "alone")) break;
        const float *row = facet_session_logits(alone);
        size_t best = (size_t)largest(row, x->w->n_vocab);
        if (row[t.ids[i]] < row[best] && !vocab_is_end(x->w->model->vocab, (int32_t)best)) {
            size_t n_suppressed;
            const int32_t *suppressed = vocab_suppressed(x->w->model->vocab, &n_suppressed);
            bool known = false;
            for (size_t k = 0; k < n_suppressed; k++) known |= suppressed[k] == (int32_t)best;
            if (!known) note(x, "generate chose another token", NULL);
        }
        tokens[n + i] = t.ids[i];
    }
    facet_session_free(alone);
}

static void *work(void *arg) {
    worker *x = arg;
    for (int i = 0; i < x->rounds && !x->failure[0]; i++) {
        const script *s = &x->w->scripts[next_random(&x->seed) % N_SCRIPTS];
        switch (next_random(&x->seed) % 4) {
        case 0: score_some(x, s); break;
        case 1: generate_some(x, s); break;
        default: read_along(x, s); break;
        }
    }
    return NULL;
}

/* A thread that opens and closes a session again and again. */
static void *come_and_go(void *arg) {
    worker *x = arg;
    for (int i = 0; i < x->rounds && !x->failure[0]; i++) {
        x->session = session_open(x->w->engine, next_random(&x->seed) % 2, next_random(&x->seed) % 2);
        read_along(x, &x->w->scripts[next_random(&x->seed) % N_SCRIPTS]);
        facet_session_free(x->session);
    }
    return NULL;
}

static void check_worker(const worker *x) {
    if (x->failure[0]) fail_msg("seed %u: %s", x->seed, x->failure);
}

static void run_threads(world *w, bool cancels, bool may_refuse) {
    enum { N = 6 };
    pthread_t threads[N];
    worker workers[N];
    size_t n_checked = 0, n_cancelled = 0, n_refused = 0;
    uint32_t seed = 77;
    for (int i = 0; i < N; i++) {
        workers[i] = (worker){.w = w, .seed = (uint32_t)i * 31 + 7, .rounds = 4, .cancels = cancels && i < N - 1};
        bool stays = i < N - 1;
        if (stays) workers[i].session = session_open(w->engine, true, 0);
        assert_int_equal(pthread_create(&threads[i], NULL, stays ? work : come_and_go, &workers[i]), 0);
    }
    for (int i = 0; cancels && i < 40; i++) {
        struct timespec pause = {.tv_nsec = 500000};
        nanosleep(&pause, NULL);
        facet_session_cancel(workers[next_random(&seed) % (N - 1)].session);
    }
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < N; i++) {
        check_worker(&workers[i]);
        n_checked += workers[i].n_checked;
        n_cancelled += workers[i].n_cancelled;
        n_refused += workers[i].n_refused;
        if (i < N - 1) facet_session_free(workers[i].session);
    }
    facet_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(facet_engine_get_stats(w->engine, &stats), FACET_OK);
    print_message("%zu rows, %zu cancelled, %zu refused; %.2f sessions a step, at most %u\n", n_checked, n_cancelled,
                  n_refused, (double)stats.n_step_sessions / (double)stats.n_steps, stats.most_step_sessions);
    assert_true(n_checked > 50);
    assert_true(may_refuse || n_refused == 0);
    assert_true(stats.most_step_sessions > 1);
    assert_int_equal(stats.n_sessions, 0);
    assert_int_equal(stats.n_running, 0);
    assert_int_equal(stats.n_waiting, 0);
    assert_int_equal(stats.kv_used_bytes, 0);
    assert_true(stats.kv_cached_bytes <= stats.kv_bytes);
}

static void test_same_bits(void **state) {
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        world w;
        world_open(&w, kinds[k], 2, k % 2 ? 48 : 16, 12);
        run_threads(&w, k >= 2, false);
        world_close(&w);
    }
}

/* One token a step for all of them together. */
static void test_narrow_steps(void **state) {
    (void)state;
    world w;
    world_open(&w, kinds[0], 1, 2, 12);
    run_threads(&w, true, false);
    world_close(&w);
}

/* Less memory than they ask for: refused or right, and never stuck. */
static void test_little_memory(void **state) {
    (void)state;
    world w;
    world_open(&w, kinds[1], 2, 32, 1.5);
    run_threads(&w, true, true);
    world_close(&w);
}

/* ---- what is reused */

static size_t reuse(facet_session *s, const int32_t *tokens, size_t n) {
    facet_error error;
    size_t reused;
    assert_ok(facet_session_sync(s, tokens, n, NULL, NULL, &reused, &error), &error);
    return reused;
}

static void test_reuse(void **state) {
    (void)state;
    world w;
    world_open(&w, kinds[0], 1, 64, 8);
    const int32_t *tokens = w.scripts[0].tokens, *other = w.scripts[1].tokens;
    facet_session *a = session_open(w.engine, true, 0), *b = session_open(w.engine, true, 0);
    facet_session *salted = session_open(w.engine, true, 7), *own = session_open(w.engine, false, 0);
    assert_int_equal(reuse(a, tokens, 200), 0);
    assert_int_equal(reuse(a, tokens, 200), 200);
    assert_int_equal(reuse(b, tokens, 200), 199); /* while the first one lives */
    assert_int_equal(reuse(b, other, 150), SHARED);
    assert_int_equal(reuse(salted, tokens, 200), 0);
    assert_int_equal(reuse(own, tokens, 200), 0);
    assert_int_equal(reuse(own, other, 150), SHARED);
    facet_session_free(a);
    a = session_open(w.engine, true, 0);
    assert_int_equal(reuse(a, tokens, 200), 199); /* after it is gone */
    facet_engine_stats stats = {.size = sizeof stats};
    assert_int_equal(facet_engine_get_stats(w.engine, &stats), FACET_OK);
    assert_int_equal(stats.n_sessions, 4);
    assert_int_equal(stats.n_tokens_prompt + stats.n_tokens_single + stats.n_tokens_reused, 6 * 200 + 2 * 150 - 200);
    assert_int_equal(stats.n_tokens_reused, 199 + SHARED + SHARED + 199);
    facet_session_free(a);
    facet_session_free(b);
    facet_session_free(salted);
    facet_session_free(own);
    world_close(&w);
}

/* What was computed with other adapters, or another strength of them, is not taken for one's own. */
static void test_adapters(void **state) {
    (void)state;
    facet_error error;
    facet_model *model;
    facet_adapter *adapter, *again;
    static const char path[] = FACET_SOURCE_DIR "/models/tiny-pirate-lora.gguf";
    assert_ok(facet_model_open(&model, FACET_SOURCE_DIR "/models/tiny-q8_0.gguf", NULL, &error), &error);
    assert_ok(facet_adapter_open(&adapter, model, path, &error), &error);
    assert_ok(facet_adapter_open(&again, model, path, &error), &error);
    facet_engine *engine = engine_open(model, 2, 32, 8);
    int32_t tokens[100];
    for (int i = 0; i < 100; i++) tokens[i] = 300 + i;
    const struct {
        facet_adapter_use use;
        size_t n, reused;
    } cases[] = {{{0}, 0, 0},        {{adapter, 1}, 1, 0},  {{adapter, 0.5f}, 1, 0},
                 {{again, 1}, 1, 0}, {{adapter, 1}, 1, 99}, {{again, 1}, 1, 99},
                 {{0}, 0, 99}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        facet_session *s = session_open(engine, true, 0);
        assert_ok(facet_session_set_adapters(s, &cases[i].use, cases[i].n, &error), &error);
        assert_int_equal(reuse(s, tokens, 100), cases[i].reused);
        facet_session_free(s);
    }
    facet_adapter_free(adapter);
    facet_adapter_free(again);
    facet_engine_free(engine);
    facet_model_free(model);
}

/* ---- the end of the memory */

static void test_budget(void **state) {
    (void)state;
    facet_error error;
    facet_model *model = model_open(kinds[2]);
    facet_engine *engine = engine_open(model, 1, 32, 1);
    facet_session *a = session_open(engine, true, 0), *b = session_open(engine, true, 0);
    int32_t tokens[CONTEXT];
    for (int i = 0; i < CONTEXT; i++) tokens[i] = i;
    assert_int_equal(reuse(a, tokens, CONTEXT), 0);
    for (int i = 0; i < CONTEXT; i++) tokens[i] = i + 100;
    assert_int_equal(facet_session_sync(b, tokens, CONTEXT, NULL, NULL, NULL, &error), FACET_ERROR_BUDGET);
    assert_int_equal(facet_session_length(b), 0);
    assert_true(strlen(error.message) > 20);
    facet_session_free(a); /* its pages are cache now */
    assert_int_equal(reuse(b, tokens, 100), 0);
    a = session_open(engine, true, 0);
    for (int i = 0; i < CONTEXT; i++) tokens[i] = i + 50;
    assert_int_equal(reuse(a, tokens, 100), 0);
    facet_generation g;
    facet_generation_defaults(&g);
    g.ignore_end = true;
    facet_generation_result result = {.size = sizeof result};
    facet_status status = facet_session_generate(a, &g, NULL, NULL, &result, &error); /* b holds the rest */
    assert_int_equal(status, FACET_ERROR_BUDGET);
    size_t n = facet_session_length(a);
    assert_true(n > 100 && n < CONTEXT);
    facet_session_free(b);
    assert_ok(facet_session_generate(a, &g, NULL, NULL, &result, &error), &error);
    assert_int_equal(result.stop_reason, FACET_STOP_CONTEXT);
    assert_int_equal(facet_session_length(a), CONTEXT);
    facet_session_free(a);
    facet_engine_free(engine);
    facet_model_free(model);
}

/* ---- how a step is shared out */

typedef struct line {
    kv_sequence *kv;
    request request;
} line;

/* Forms one step for requests that need `left` more tokens each; writes what they get. Returns its rows. */
static size_t form(size_t ubatch, const size_t *left, size_t n, size_t *granted) {
    facet_error error;
    facet_model *model = model_open(kinds[0]);
    facet_engine *engine = engine_open(model, 1, (int32_t)ubatch, 20);
    line lines[16] = {0};
    int32_t tokens[CONTEXT] = {0};
    float logits;
    request *queue = NULL;
    for (size_t i = n; i-- > 0;) {
        assert_ok(kv_sequence_new(&lines[i].kv, engine->kv, CONTEXT, (kv_key){.owner = i + 1}, &error), &error);
        lines[i].request = (request){
            .kv = lines[i].kv, .tokens = tokens, .end = left[i], .logits = &logits, .err = &error, .next = queue};
        queue = &lines[i].request;
    }
    batch *b = &engine->scheduler.batch;
    assert_null(batch_form(b, &queue));
    size_t n_rows = b->n_rows;
    for (size_t i = 0; i < n; i++) granted[i] = lines[i].request.n_granted;
    for (size_t i = 0; i < n; i++) kv_sequence_free(lines[i].kv);
    facet_engine_free(engine);
    facet_model_free(model);
    return n_rows;
}

static void test_fair(void **state) {
    (void)state;
    size_t got[16];
    assert_int_equal(form(64, (size_t[]){200}, 1, got), 64); /* alone: all of it */
    assert_int_equal(form(128, (size_t[]){200, 1, 200, 1}, 4, got), 34);
    assert_int_equal(got[0], 16); /* beside single tokens prompts take a part, in equal shares */
    assert_int_equal(got[1], 1);
    assert_int_equal(got[2], 16);
    assert_int_equal(got[3], 1);
    assert_int_equal(form(64, (size_t[]){200, 10, 200}, 3, got), 64);
    assert_int_equal(got[1], 10); /* what a short prompt does not need goes to the others */
    assert_true(got[0] >= 21 && got[2] >= 21);
    assert_int_equal(form(4, (size_t[]){200, 1, 1, 1, 1, 1}, 6, got), 4);
    assert_int_equal(got[0], 1); /* not starved by many single tokens */
    assert_int_equal(form(2, (size_t[]){50, 50, 50}, 3, got), 2);
    assert_int_equal(got[0] + got[1], 2);
    assert_int_equal(got[2], 0); /* stays in front of the queue */
    assert_int_equal(form(4, (size_t[]){1, 1, 1, 1, 1, 1}, 6, got), 4);
    assert_int_equal(got[3], 1);
    assert_int_equal(got[4], 0);
}

/* Sessions come and go on many threads. */
static void *open_and_close(void *ctx) {
    for (int i = 0; i < 2000; i++) facet_session_free(session_open(ctx, i % 2, 0));
    return NULL;
}

static void test_come_and_go(void **state) {
    (void)state;
    world w;
    pthread_t threads[4];
    facet_engine_stats stats = {.size = sizeof stats};
    world_open(&w, kinds[0], 1, 64, 2);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, w.engine), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    facet_engine_get_stats(w.engine, &stats);
    assert_int_equal(stats.n_sessions, 0);
    world_close(&w);
}

/* Hidden states and the logits of the last token in one step, also beside others who want logits. */
static void test_rows_and_logits(void **state) {
    (void)state;
    world w;
    facet_error error;
    world_open(&w, kinds[0], 1, 64, 2);
    size_t n_embd = w.model->hparams.n_embd;
    float *alone = malloc(n_embd * sizeof *alone), *again = malloc(n_embd * sizeof *again);
    for (size_t n = 1; n <= LENGTH; n += 76) {
        facet_session *s = session_open(w.engine, false, 0);
        assert_ok(facet_session_embed(s, w.scripts[0].tokens, n, alone, &error), &error);
        assert_memory_equal(facet_session_logits(s), w.scripts[0].logits + (n - 1) * w.n_vocab,
                            w.n_vocab * sizeof(float));
        assert_ok(facet_session_embed(s, w.scripts[0].tokens, n, again, &error), &error);
        assert_memory_equal(alone, again, n_embd * sizeof *alone);
        facet_session_free(s);
    }
    free(alone);
    free(again);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_narrow_steps),
        cmocka_unit_test(test_little_memory), cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_adapters),      cmocka_unit_test(test_budget),
        cmocka_unit_test(test_fair),          cmocka_unit_test(test_rows_and_logits),
        cmocka_unit_test(test_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
