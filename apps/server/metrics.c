/* Counters: see metrics.h. The names with the prefix llamacpp are those that dashboards for llama.cpp's server read.
 */
#include "info.h"
#include "text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double bounds[METRICS_BUCKETS] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                               0.5,   1,     2.5,  5,     10,   30,  120};

void metrics_init(metrics *m) {
    *m = (metrics){0};
    pthread_mutex_init(&m->lock, NULL);
}

static void add(histogram *h, double x) {
    size_t i = 0;
    while (i < METRICS_BUCKETS && x > bounds[i]) i++;
    h->buckets[i]++;
    h->sum += x;
}

void metrics_observe(metrics *m, histogram *h, double seconds) {
    pthread_mutex_lock(&m->lock);
    add(h, seconds);
    pthread_mutex_unlock(&m->lock);
}

void metrics_add_answer(metrics *m, const metrics_answer *a) {
    pthread_mutex_lock(&m->lock);
    m->prompt_tokens += a->prompt_tokens;
    m->cached_tokens += a->cached_tokens;
    m->generated_tokens += a->generated_tokens;
    m->prompt_seconds += a->prompt_seconds;
    m->decode_seconds += a->decode_seconds;
    if (a->generated_tokens) add(&m->token_gap, a->decode_seconds / (double)a->generated_tokens);
    pthread_mutex_unlock(&m->lock);
}

void metrics_add_finish(metrics *m, int reason) {
    pthread_mutex_lock(&m->lock);
    m->finished[reason]++;
    pthread_mutex_unlock(&m->lock);
}

void metrics_add_request(metrics *m, int status, double seconds) {
    pthread_mutex_lock(&m->lock);
    m->requests[status / 100 % 6]++;
    if (status == 429) m->refused++;
    add(&m->duration, seconds);
    pthread_mutex_unlock(&m->lock);
}

/* ---- the page */

static void line(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(text *t, const char *format, ...) {
    char buffer[300];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    if (n > 0) (void)cli_text_append(t, buffer, (size_t)n); /* what is missing at the end is seen by the reader */
}

static void head(text *t, const char *name, const char *type, const char *help) {
    line(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void number(text *t, const char *name, const char *type, const char *help, double value) {
    head(t, name, type, help);
    line(t, "%s %.17g\n", name, value);
}

static void show_histogram(text *t, const char *name, const char *help, const histogram *h) {
    uint64_t total = 0;
    head(t, name, "histogram", help);
    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        total += h->buckets[i];
        line(t, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)total);
    }
    total += h->buckets[METRICS_BUCKETS];
    line(t, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)total);
    line(t, "%s_sum %.9g\n%s_count %llu\n", name, h->sum, name, (unsigned long long)total);
}

static void show_requests(text *t, const metrics *m) {
    static const char *const classes[] = {"left", "1xx", "2xx", "3xx", "4xx", "5xx"};
    static const char *const reasons[] = {"stop", "length", "tool_calls", "cancelled"};
    head(t, "facet_http_requests_total", "counter",
         "Requests by class of status; left: the client left before the end");
    for (int i = 0; i < 6; i++)
        line(t, "facet_http_requests_total{status=\"%s\"} %llu\n", classes[i], (unsigned long long)m->requests[i]);
    head(t, "facet_answers_total", "counter", "Generated answers by the reason of their end");
    for (int i = 0; i < 4; i++)
        line(t, "facet_answers_total{finish_reason=\"%s\"} %llu\n", reasons[i], (unsigned long long)m->finished[i]);
    number(t, "facet_requests_refused_total", "counter", "Requests refused since the queue was full",
           (double)m->refused);
}

static void show_tokens(text *t, const metrics *m) {
    number(t, "facet_prompt_tokens_total", "counter", "Tokens of prompts, cached ones too", (double)m->prompt_tokens);
    number(t, "facet_prompt_tokens_cached_total", "counter", "Tokens of prompts that were not computed again",
           (double)m->cached_tokens);
    number(t, "facet_generated_tokens_total", "counter", "Generated tokens", (double)m->generated_tokens);
    number(t, "facet_prompt_seconds_total", "counter", "Time spent on prompts", m->prompt_seconds);
    number(t, "facet_decode_seconds_total", "counter", "Time spent on generating", m->decode_seconds);
    number(t, "llamacpp:prompt_tokens_total", "counter", "Tokens of prompts that were computed",
           (double)(m->prompt_tokens - m->cached_tokens));
    number(t, "llamacpp:prompt_seconds_total", "counter", "Time spent on prompts", m->prompt_seconds);
    number(t, "llamacpp:tokens_predicted_total", "counter", "Generated tokens", (double)m->generated_tokens);
    number(t, "llamacpp:tokens_predicted_seconds_total", "counter", "Time spent on generating", m->decode_seconds);
}

static void show_times(text *t, const metrics *m) {
    show_histogram(t, "facet_request_duration_seconds", "From the head of a request to the end of its answer",
                   &m->duration);
    show_histogram(t, "facet_time_to_first_token_seconds", "From the head of a request to its first token",
                   &m->first_token);
    show_histogram(t, "facet_time_per_output_token_seconds", "Mean time for a token of an answer", &m->token_gap);
    show_histogram(t, "facet_queue_seconds", "Waiting for a free place", &m->queue_wait);
}

static void show_process(text *t, const server *s) {
    struct timespec cpu = {0};
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lu %lu", &pages, &resident) != 2) resident = 0;
    if (file) fclose(file);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    number(t, "process_start_time_seconds", "gauge", "When the server began", (double)s->started);
    number(t, "process_cpu_seconds_total", "counter", "Processor time",
           (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec);
    number(t, "process_resident_memory_bytes", "gauge", "Resident memory, the mapped model included",
           (double)resident * (double)sysconf(_SC_PAGESIZE));
}

static void show_engine(text *t, const server *s) {
    facet_engine_stats e = {.size = sizeof e};
    if (facet_engine_get_stats(s->engine, &e)) return;
    double used = (double)e.kv_used_bytes, most = (double)e.kv_bytes;
    number(t, "facet_kv_bytes", "gauge", "What keys and values may use at most", most);
    number(t, "facet_kv_used_bytes", "gauge", "Keys and values of running requests", used);
    number(t, "facet_kv_cached_bytes", "gauge", "Keys and values of prompts that may come again",
           (double)e.kv_cached_bytes);
    number(t, "llamacpp:kv_cache_usage_ratio", "gauge", "Part of the memory for keys and values that is in use",
           most > 0 ? used / most : 0);
    number(t, "facet_steps_total", "counter", "Steps of the engine", (double)e.n_steps);
    number(t, "facet_step_sessions_total", "counter", "Requests in all steps; divided by the steps: the mean batch",
           (double)e.n_step_sessions);
    number(t, "facet_busy_seconds_total", "counter", "Time spent in steps", e.busy_seconds);
}

void info_metrics(exchange *x) {
    server *s = x->server;
    text t = {0};
    size_t n_waiting, n_running;
    job_queue_counts(&s->slots, &n_waiting, &n_running);
    number(&t, "facet_requests_running", "gauge", "Requests that are being computed", (double)n_running);
    number(&t, "facet_requests_waiting", "gauge", "Requests that wait for a free place", (double)n_waiting);
    number(&t, "llamacpp:requests_processing", "gauge", "Requests that are being computed", (double)n_running);
    number(&t, "llamacpp:requests_deferred", "gauge", "Requests that wait for a free place", (double)n_waiting);
    pthread_mutex_lock(&s->metrics.lock);
    show_requests(&t, &s->metrics);
    show_tokens(&t, &s->metrics);
    show_times(&t, &s->metrics);
    pthread_mutex_unlock(&s->metrics.lock);
    show_process(&t, s);
    show_engine(&t, s);
    exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", cli_text_get(&t), t.n);
    cli_text_free(&t);
    exchange_release(x);
}
