/* facet info: what a GGUF file holds and what running it takes. Any GGUF file is described, also one that ends after
 * its header; only --fit needs it to be a model that facet runs. */
#include "commands.h"
#include "inspect.h"
#include "json.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

enum { VALUE_SHOWN = 70, JSON_VALUE_BYTES = 4096 };

typedef struct type_sum {
    char name[24];
    size_t n;
    uint64_t n_bytes;
} type_sum;

typedef struct summary {
    type_sum types[64];
    size_t n_types;
    uint64_t n_weights, n_bytes;
    bool complete; /* the data of all tensors is here */
} summary;

static facet_gguf_tensor tensor_at(const facet_gguf *gguf, size_t i) {
    facet_gguf_tensor t = {.size = sizeof t};
    facet_gguf_get_tensor(gguf, i, &t);
    return t;
}

static void sum_up(const facet_gguf *gguf, summary *s) {
    uint64_t here = facet_gguf_n_bytes(gguf);
    *s = (summary){.complete = true};
    for (size_t i = 0; i < facet_gguf_n_tensors(gguf); i++) {
        facet_gguf_tensor t = tensor_at(gguf, i);
        size_t k = 0;
        while (k < s->n_types && strcmp(s->types[k].name, t.type) != 0) k++;
        if (k == sizeof s->types / sizeof s->types[0]) k--;
        if (k == s->n_types) memcpy(s->types[s->n_types++].name, t.type, sizeof t.type);
        s->types[k].n++;
        s->types[k].n_bytes += t.n_bytes;
        s->n_weights += t.n_weights;
        s->n_bytes += t.n_bytes;
        if (t.part >= facet_gguf_n_parts(gguf) || t.n_bytes > here || t.offset > here - t.n_bytes)
            s->complete = false;
    }
}

static void print_size(const char *what, uint64_t n) {
    double mib = (double)n / 1048576;
    if (mib >= 1024)
        printf("  %-24s %9.2f GiB\n", what, mib / 1024);
    else
        printf("  %-24s %9.2f MiB\n", what, mib);
}

/* A name of the file, whose bytes may be anything. */
static void print_name(const char *name, size_t n, int width) {
    int shown = 0;
    for (size_t i = 0; i < n; i++, shown++) putchar((unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i]);
    for (; shown < width; shown++) putchar(' ');
}

static void print_keys(const facet_gguf *gguf) {
    puts("\nmetadata:");
    for (size_t i = 0; i < facet_gguf_n_keys(gguf); i++) {
        char type[32], value[VALUE_SHOWN + 1];
        size_t n;
        const char *key = facet_gguf_key(gguf, i, &n);
        facet_gguf_value_type(gguf, i, type);
        facet_gguf_value_text(gguf, i, value, sizeof value);
        printf("  ");
        print_name(key, n, 44);
        printf(" %-14s %s\n", type, value);
    }
}

static void print_tensors(const facet_gguf *gguf) {
    puts("\ntensors:");
    for (size_t i = 0; i < facet_gguf_n_tensors(gguf); i++) {
        facet_gguf_tensor t = tensor_at(gguf, i);
        char shape[96];
        int used = 0;
        for (uint32_t d = 0; d < t.n_dims && d < 4; d++)
            used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%llu", d ? " x " : "",
                             (unsigned long long)t.ne[d]);
        printf("  ");
        print_name(t.name, t.name_bytes, 36);
        printf(" %-8s %-24s %llu bytes\n", t.type, used ? shape : "", (unsigned long long)t.n_bytes);
    }
}

static void print_summary(const facet_gguf *gguf, const summary *s, const char *name) {
    printf("%s\n  GGUF version %u, %zu keys, %zu tensors", name, facet_gguf_version(gguf), facet_gguf_n_keys(gguf),
           facet_gguf_n_tensors(gguf));
    if (facet_gguf_n_parts(gguf) > 1) printf(", %zu parts", facet_gguf_n_parts(gguf));
    if (!s->complete) printf(", not all of the tensors' data is here");
    printf("\n  %.2f million weights, %.2f bits each\n", (double)s->n_weights / 1e6,
           s->n_weights ? 8.0 * (double)s->n_bytes / (double)s->n_weights : 0);
    print_size("weights", s->n_bytes);
    for (size_t i = 0; i < s->n_types; i++) {
        char what[48];
        snprintf(what, sizeof what, "  %s (%zu)", s->types[i].name, s->types[i].n);
        print_size(what, s->types[i].n_bytes);
    }
}

static void print_fit(const facet_fit *fit, const facet_engine_options *e) {
    static const char *const kv[] = {"f16", "q8_0", "f32"};
    printf("\nto run it with -c %d --kv %s:\n", e->max_context, kv[e->kv_type]);
    print_size("weights (from the file)", fit->weight_bytes);
    print_size("keys and values", fit->kv_bytes);
    print_size("activations", fit->scratch_bytes);
    print_size("vocabulary", fit->vocabulary_bytes);
    print_size("memory beyond the file", fit->anonymous_bytes);
    printf("  %-24s %9.2f KiB\n", "each further token", (double)fit->kv_bytes_per_token / 1024);
}

/* Key i as JSON: text as a string, else what its one-line form is in JSON; where that is cut or not JSON (NaN), the
 * form itself. */
static facet_value *json_value(const facet_gguf *gguf, size_t i) {
    char form[JSON_VALUE_BYTES], why[200];
    size_t n;
    const char *string = facet_gguf_value_string(gguf, i, &n);
    facet_value *value = string ? facet_value_string(string, n) : NULL;
    if (value) return value;
    n = facet_gguf_value_text(gguf, i, form, sizeof form);
    if (!string) value = json_parse(form, n, why, sizeof why);
    return value ? value : facet_value_string(form, n);
}

static facet_value *json_keys(const facet_gguf *gguf) {
    facet_value *keys = facet_value_object();
    for (size_t i = 0; keys && i < facet_gguf_n_keys(gguf); i++) {
        size_t n;
        const char *key = facet_gguf_key(gguf, i, &n);
        if (cli_text_valid_utf8(key, n) < n) continue;
        if (facet_value_set(keys, key, n, json_value(gguf, i))) {
            facet_value_free(keys);
            return NULL;
        }
    }
    return keys;
}

static facet_value *json_tensor(const facet_gguf_tensor *t) {
    facet_value *item = facet_value_object(), *shape = facet_value_array();
    facet_value *name = facet_value_string(t->name, t->name_bytes);
    bool ok = true;
    for (uint32_t d = 0; d < t->n_dims && d < 4; d++)
        ok = !facet_value_append(shape, cli_value_integer(t->ne[d])) && ok;
    ok = cli_value_set(item, "name", name ? name : cli_value_text("?")) && ok;
    ok = cli_value_set(item, "type", cli_value_text(t->type)) && ok;
    ok = cli_value_set(item, "shape", shape) && ok;
    ok = cli_value_set(item, "bytes", cli_value_integer(t->n_bytes)) && ok;
    ok = cli_value_set(item, "offset", cli_value_integer(t->offset)) && ok;
    ok = cli_value_set(item, "part", cli_value_integer(t->part)) && ok;
    if (ok) return item;
    facet_value_free(item);
    return NULL;
}

static facet_value *json_tensors(const facet_gguf *gguf) {
    facet_value *list = facet_value_array();
    for (size_t i = 0; list && i < facet_gguf_n_tensors(gguf); i++) {
        facet_gguf_tensor t = tensor_at(gguf, i);
        if (facet_value_append(list, json_tensor(&t))) {
            facet_value_free(list);
            return NULL;
        }
    }
    return list;
}

static facet_value *json_fit(const facet_fit *fit, const facet_engine_options *e) {
    facet_value *o = facet_value_object();
    bool ok = cli_value_set(o, "context", cli_value_integer((uint64_t)e->max_context)) &&
              cli_value_set(o, "weight_bytes", cli_value_integer(fit->weight_bytes)) &&
              cli_value_set(o, "kv_bytes", cli_value_integer(fit->kv_bytes)) &&
              cli_value_set(o, "kv_bytes_per_token", cli_value_integer(fit->kv_bytes_per_token)) &&
              cli_value_set(o, "scratch_bytes", cli_value_integer(fit->scratch_bytes)) &&
              cli_value_set(o, "vocabulary_bytes", cli_value_integer(fit->vocabulary_bytes)) &&
              cli_value_set(o, "anonymous_bytes", cli_value_integer(fit->anonymous_bytes));
    if (ok) return o;
    facet_value_free(o);
    return NULL;
}

static int print_json(const facet_gguf *gguf, const summary *s, const facet_fit *fit, const facet_engine_options *e) {
    facet_value *o = facet_value_object();
    bool ok = cli_value_set(o, "gguf_version", cli_value_integer(facet_gguf_version(gguf))) &&
              cli_value_set(o, "parts", cli_value_integer(facet_gguf_n_parts(gguf))) &&
              cli_value_set(o, "complete", facet_value_bool(s->complete)) &&
              cli_value_set(o, "parameters", cli_value_integer(s->n_weights)) &&
              cli_value_set(o, "weight_bytes", cli_value_integer(s->n_bytes)) &&
              cli_value_set(o, "metadata", json_keys(gguf)) && cli_value_set(o, "tensors", json_tensors(gguf)) &&
              (!fit || cli_value_set(o, "fit", json_fit(fit, e)));
    char *json = ok ? facet_value_to_json(o, NULL) : NULL;
    if (json) puts(json);
    int status = json ? EXIT_OK : report_no_memory();
    facet_free(json);
    facet_value_free(o);
    return status;
}

/* The model is opened again, by the library, which judges whether it can run it. */
static int compute_fit(const cli_options *o, facet_fit *fit, facet_engine_options *e) {
    facet_error error = {0};
    app a = {0};
    *fit = (facet_fit){.size = sizeof *fit};
    int status = app_open_model(&a, o, APP_VOCABULARY);
    if (!status) {
        app_engine_options(&a, 0, e);
        if (!e->max_context) e->max_context = a.info.n_context < 8192 ? a.info.n_context : 8192;
        if (facet_fit_compute(a.model, e, fit, &error)) status = report_failure(&error, app_model_name(o));
    }
    app_close(&a);
    return status;
}

int cmd_info(const cli_options *o) {
    facet_gguf *gguf = NULL;
    facet_fit fit;
    facet_engine_options engine;
    summary s;
    cli_options named = *o;
    if (o->n_arguments && o->model) return report_usage("info: name the file once, by -m or as the argument");
    if (o->n_arguments) named.model = o->arguments[0];
    int status = remote_is_url(named.model) ? remote_inspect(&gguf, &named) : inspect_open(&gguf, named.model, true);
    if (!status && o->fit) status = compute_fit(&named, &fit, &engine);
    if (!status) sum_up(gguf, &s);
    if (!status && o->json) {
        status = print_json(gguf, &s, o->fit ? &fit : NULL, &engine);
    } else if (!status) {
        print_summary(gguf, &s, app_model_name(&named));
        if (o->fit) print_fit(&fit, &engine);
        print_keys(gguf);
        print_tensors(gguf);
    }
    facet_gguf_free(gguf);
    return status;
}
