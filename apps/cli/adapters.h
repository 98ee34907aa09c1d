/* The adapters that a command computes with: opened by --adapter and by chat's /adapter, put on every session. */
#ifndef FACET_CLI_ADAPTERS_H
#define FACET_CLI_ADAPTERS_H

#include <facet.h>
#include <stddef.h>

typedef struct app_adapter {
    char *path;
    facet_adapter *adapter;
    float scale;
} app_adapter;

typedef struct app_adapters {
    app_adapter *items;
    size_t n;
} app_adapters;

struct app;

/* The path of "FILE" or "FILE:SCALE", which the caller frees; *scale is left alone without one. NULL: no memory. */
char *adapters_path(const char *what, float *scale);
/* "FILE" or "FILE:SCALE". A file that is there already gets the new scale. Sessions learn of it by adapters_wear. */
int adapters_add(struct app *a, const char *what);
/* Puts them on the session, which forgets its timeline where they are others than before. */
int adapters_wear(struct app *a);
void adapters_clear(app_adapters *list);

#endif
