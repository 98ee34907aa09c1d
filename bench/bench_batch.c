/* Sessions that decode together: tokens per second in all, for 1, 2, 4, ... sessions of one engine, and what that is
 * of one session's speed. Prompts first (unmeasured), then every session generates on a thread of its own.
 * The first line tells how long the model took to be there, on its device and checked.
 *   bench_batch MODEL.gguf [most sessions, 8] [tokens each, 64] [prompt tokens, 32] [threads, 0] [device, cpu] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "facet.h"

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(facet_status status, const facet_error *error) {
    if (status == FACET_OK) return;
    fprintf(stderr, "bench_batch: %s\n", error->message);
    exit(1);
}

typedef struct line {
    facet_session *session;
    int32_t n_tokens;
    pthread_t thread;
} line;

static void *generate(void *arg) {
    line *l = arg;
    facet_error error;
    facet_generation g;
    facet_generation_defaults(&g);
    g.max_tokens = l->n_tokens;
    g.ignore_end = true;
    check(facet_session_generate(l->session, &g, NULL, NULL, NULL, &error), &error);
    return NULL;
}

typedef struct times {
    double seconds, processor_seconds;
} times;

/* What n sessions take for their tokens. */
static times measure(facet_engine *engine, size_t n, int32_t n_prompt, int32_t n_tokens) {
    facet_error error;
    line *lines = calloc(n, sizeof *lines);
    int32_t *prompt = malloc((size_t)n_prompt * sizeof *prompt);
    for (size_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < n_prompt; k++) prompt[k] = 1000 + (int32_t)i * 97 + k;
        lines[i].n_tokens = n_tokens;
        check(facet_session_new(&lines[i].session, engine, NULL, &error), &error);
        check(facet_session_sync(lines[i].session, prompt, (size_t)n_prompt, NULL, NULL, NULL, &error), &error);
    }
    double begin = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < n; i++) pthread_create(&lines[i].thread, NULL, generate, &lines[i]);
    for (size_t i = 0; i < n; i++) pthread_join(lines[i].thread, NULL);
    times taken = {.seconds = now(CLOCK_MONOTONIC) - begin,
                   .processor_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - processor};
    for (size_t i = 0; i < n; i++) facet_session_free(lines[i].session);
    free(lines);
    free(prompt);
    return taken;
}

static int32_t argument(int argc, char **argv, int i, int32_t otherwise) {
    return argc > i ? (int32_t)strtol(argv[i], NULL, 10) : otherwise;
}

static void tell(void *ctx, const char *text) {
    (void)ctx;
    fprintf(stderr, "bench_batch: %s\n", text);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_batch MODEL.gguf [most sessions] [tokens each] [prompt tokens] [threads] "
                        "[device]\n");
        return 2;
    }
    size_t most = (size_t)argument(argc, argv, 2, 8);
    int32_t n_tokens = argument(argc, argv, 3, 64), n_prompt = argument(argc, argv, 4, 32);
    facet_error error;
    facet_model *model;
    facet_engine *engine;
    facet_engine_options o;
    facet_engine_options_defaults(&o);
    o.n_threads = argument(argc, argv, 5, 0);
    o.max_context = n_prompt + n_tokens + 8;
    o.device = argc > 6 ? argv[6] : NULL;
    o.n_device_layers = -1;
    o.log = tell;
    facet_fit fit = {.size = sizeof fit};
    facet_engine_info info = {.size = sizeof info};
    double begin = now(CLOCK_MONOTONIC);
    check(facet_model_open(&model, argv[1], NULL, &error), &error);
    check(facet_fit_compute(model, &o, &fit, &error), &error);
    o.kv_bytes = fit.kv_bytes * most * 2;
    check(facet_engine_new(&engine, model, &o, &error), &error);
    facet_engine_get_info(engine, &info);
    printf("ready after %.3f s: %s\n", now(CLOCK_MONOTONIC) - begin, info.device);
    measure(engine, 1, n_prompt, 4);
    double one = 0;
    for (size_t n = 1; n <= most; n *= 2) {
        facet_engine_stats before = {.size = sizeof before}, after = before;
        facet_engine_get_stats(engine, &before);
        times taken = measure(engine, n, n_prompt, n_tokens);
        double rate = (double)n * n_tokens / taken.seconds;
        facet_engine_get_stats(engine, &after);
        if (n == 1) one = rate;
        double sessions = (double)(after.n_tokens_single - before.n_tokens_single);
        printf("%2zu sessions: %7.2f tokens/s in all, %.2f x one; %.2f tokens a processor second; %.2f sessions a "
               "step\n",
               n, rate, rate / one, (double)n * n_tokens / taken.processor_seconds,
               sessions / (double)(after.n_steps - before.n_steps - n));
    }
    facet_engine_free(engine);
    facet_model_free(model);
    return 0;
}
