/* Opening adapters and putting them on sessions. See adapters.h. */
#include "adapters.h"
#include "app.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The bytes of the path in "FILE:SCALE". What follows the last colon is a scale when all of it is a number: a file of
 * such a name is written with a scale behind it. */
static size_t path_bytes(const char *what, float *scale) {
    const char *colon = strrchr(what, ':');
    char *end = NULL;
    float value = colon && colon[1] && !strchr(" \t\n", colon[1]) ? strtof(colon + 1, &end) : 0;
    if (!end || *end || end == colon + 1 || !isfinite(value)) return strlen(what);
    *scale = value;
    return (size_t)(colon - what);
}

char *adapters_path(const char *what, float *scale) { return strndup(what, path_bytes(what, scale)); }

static int open_adapter(struct app *a, app_adapter *item) {
    facet_error error = {0};
    if (facet_adapter_open(&item->adapter, a->model, item->path, &error)) return report_failure(&error, item->path);
    return EXIT_OK;
}

int adapters_add(struct app *a, const char *what) {
    app_adapters *list = &a->adapters;
    app_adapter item = {.scale = 1};
    size_t n = path_bytes(what, &item.scale);
    if (n == 0) return report_usage("--adapter: '%.60s' names no file", what);
    for (size_t i = 0; i < list->n; i++) {
        if (strlen(list->items[i].path) != n || memcmp(list->items[i].path, what, n)) continue;
        list->items[i].scale = item.scale;
        return EXIT_OK;
    }
    app_adapter *items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) return report_no_memory();
    list->items = items;
    item.path = strndup(what, n);
    if (!item.path) return report_no_memory();
    int status = open_adapter(a, &item);
    if (status)
        free(item.path);
    else
        items[list->n++] = item;
    return status;
}

int adapters_wear(struct app *a) {
    facet_error error = {0};
    size_t n = a->adapters.n;
    facet_adapter_use *uses = calloc(n ? n : 1, sizeof *uses);
    if (!uses) return report_no_memory();
    for (size_t i = 0; i < n; i++)
        uses[i] = (facet_adapter_use){a->adapters.items[i].adapter, a->adapters.items[i].scale};
    facet_status status = facet_session_set_adapters(a->session, uses, n, &error);
    free(uses);
    return status ? report_failure(&error, NULL) : EXIT_OK;
}

void adapters_clear(app_adapters *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->items[i].path);
        facet_adapter_free(list->items[i].adapter);
    }
    free(list->items);
    *list = (app_adapters){0};
}
