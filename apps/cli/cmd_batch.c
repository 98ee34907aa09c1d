/* facet batch: a file of requests, as OpenAI's batch API takes them, answered by the routes of the server. A line is
 * written whole when its answer is there, so whatever ends the program, the next run goes on where this one was. */
#include "app.h"
#include "batch_file.h"
#include "commands.h"
#include "local.h"
#include "serving.h"
#include "terminal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct batch {
    local_server *server;
    batch_file file;
    pthread_mutex_t lock; /* of the file and of what follows */
    size_t n_answered, n_refused;
    atomic_size_t n_done;
    atomic_bool failed; /* the file cannot be written, or there is no memory */
    atomic_int n_working;
} batch;

/* ---- one request */

/* What the line asks for, or why it is refused. */
static const char *check(const batch_request *r) {
    if (r->error) return r->error;
    if (!local_server_takes(r->url))
        return "url must be /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings";
    if (facet_value_is_true(facet_value_get(r->body, "stream"))) return "a batch has no streams";
    return NULL;
}

static bool ask(batch *b, const batch_request *r, batch_answer *answer, text *out) {
    size_t n;
    answer->error = check(r);
    if (answer->error) return true;
    char *body = facet_value_to_json(r->body, &n);
    if (body) answer->status = local_server_ask(b->server, r->url, body, n, out, answer->request_id);
    facet_free(body);
    answer->body = out;
    return answer->status != 0;
}

static void answer_one(batch *b, const batch_request *r) {
    text out = {0};
    batch_answer answer = {0};
    if (ask(b, r, &answer, &out)) {
        pthread_mutex_lock(&b->lock);
        if (!batch_file_write(&b->file, r, &answer)) atomic_store(&b->failed, true);
        *(answer.error || answer.status >= 400 ? &b->n_refused : &b->n_answered) += 1;
        pthread_mutex_unlock(&b->lock);
        atomic_fetch_add(&b->n_done, 1);
    } else {
        report_no_memory();
        atomic_store(&b->failed, true);
    }
    cli_text_free(&out);
}

static void *work(void *ctx) {
    batch *b = ctx;
    while (!atomic_load(&b->failed)) {
        batch_request r;
        pthread_mutex_lock(&b->lock);
        bool more = batch_file_next(&b->file, &r);
        if (b->file.failed) atomic_store(&b->failed, true);
        pthread_mutex_unlock(&b->lock);
        if (!more) break;
        answer_one(b, &r);
        batch_request_free(&r);
    }
    atomic_fetch_sub(&b->n_working, 1);
    return NULL;
}

/* ---- all of them */

static void watch(batch *b) {
    progress p;
    size_t total = b->file.n_lines - b->file.n_known;
    progress_begin(&p, "answering", "requests");
    while (atomic_load(&b->n_working)) {
        struct timespec moment = {0, 50000000};
        nanosleep(&moment, NULL);
        progress_update(&p, atomic_load(&b->n_done), total);
    }
    progress_end(&p);
}

static int run_all(batch *b, int n_parallel) {
    pthread_t *threads = calloc((size_t)n_parallel, sizeof *threads);
    int n = 0;
    while (threads && n < n_parallel) {
        atomic_fetch_add(&b->n_working, 1);
        if (pthread_create(&threads[n], NULL, work, b)) {
            atomic_fetch_sub(&b->n_working, 1);
            break;
        }
        n++;
    }
    if (n) watch(b);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    free(threads);
    if (!n) return report_no_memory();
    fprintf(stderr, "facet: %zu answered, %zu refused, %zu were there already\n", b->n_answered, b->n_refused,
            b->file.n_known);
    return atomic_load(&b->failed) ? EXIT_ERROR : EXIT_OK;
}

static int answer_file(app *a, batch *b) {
    const cli_options *o = a->options;
    char name[200];
    serving_name(a, name, sizeof name);
    server_options options = {.model_name = name,
                              .n_parallel = (int)o->parallel,
                              .max_tokens = (int32_t)o->max_tokens,
                              .context_shift = o->context_shift};
    server_adapter *adapters = NULL;
    facet_sampling_defaults(&options.sampling);
    app_sampling(&options.sampling, o);
    int status = serving_adapters(a, &adapters);
    options.adapters = adapters;
    options.n_adapters = a->adapters.n;
    if (!status) status = serving_engine(a);
    if (!status && !(b->server = local_server_new(&options, a->model, a->engine))) status = report_no_memory();
    if (!status) status = run_all(b, options.n_parallel);
    local_server_free(b->server);
    free(adapters);
    return status;
}

int cmd_batch(const cli_options *o) {
    app a = {0};
    batch b = {0};
    pthread_mutex_init(&b.lock, NULL);
    int status = batch_file_open(&b.file, o->arguments[0], o->arguments[1]);
    if (!status) status = app_open_model(&a, o, APP_WEIGHTS);
    if (!status) status = app_open_adapters(&a);
    if (!status) status = answer_file(&a, &b);
    batch_file_close(&b.file);
    app_close(&a);
    pthread_mutex_destroy(&b.lock);
    return status;
}
