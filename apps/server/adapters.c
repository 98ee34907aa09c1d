/* The list of adapters and what requests choose of it: see adapters.h. */
#include "adapters.h"

#include <stdlib.h>
#include <string.h>

struct adapter_entry {
    char *name;
    facet_adapter *adapter;
    bool always;
    float scale;
    size_t references; /* the list's, and those of requests */
};

void adapter_list_init(adapter_list *l) {
    *l = (adapter_list){0};
    pthread_mutex_init(&l->lock, NULL);
}

/* With the lock held. */
static void drop(adapter_entry *e) {
    if (--e->references) return;
    if (!e->always) facet_adapter_free(e->adapter);
    free(e->name);
    free(e);
}

void adapter_list_free(adapter_list *l) {
    for (size_t i = 0; i < l->n; i++) drop(l->entries[i]);
    l->n = 0;
    pthread_mutex_destroy(&l->lock);
}

static size_t find(const adapter_list *l, const char *name) {
    size_t i = 0;
    while (i < l->n && strcmp(l->entries[i]->name, name) != 0) i++;
    return i;
}

bool adapter_list_add(adapter_list *l, const char *name, facet_adapter *adapter, bool always, float scale) {
    adapter_entry *e = calloc(1, sizeof *e);
    char *copy = strdup(name);
    pthread_mutex_lock(&l->lock);
    size_t at = find(l, name);
    bool ok = e && copy && at < MOST_ADAPTERS;
    if (ok) {
        *e = (adapter_entry){copy, adapter, always, scale, 1};
        if (at < l->n)
            drop(l->entries[at]);
        else
            l->n++;
        l->entries[at] = e;
    }
    pthread_mutex_unlock(&l->lock);
    if (ok) return true;
    if (!always) facet_adapter_free(adapter);
    free(copy);
    free(e);
    return false;
}

bool adapter_list_remove(adapter_list *l, const char *name) {
    pthread_mutex_lock(&l->lock);
    size_t at = find(l, name);
    bool found = at < l->n;
    if (found) {
        drop(l->entries[at]);
        l->n--;
        memmove(&l->entries[at], &l->entries[at + 1], (l->n - at) * sizeof *l->entries);
    }
    pthread_mutex_unlock(&l->lock);
    return found;
}

static json_t *entry_json(const adapter_entry *e) {
    facet_adapter_info info = {.size = sizeof info};
    facet_adapter_get_info(e->adapter, &info);
    return json_pack("{s:s,s:s,s:s,s:i,s:f,s:I,s:f,s:b}", "id", e->name, "object", "adapter", "name", info.name,
                     "rank", info.rank, "alpha", (double)info.alpha, "size", (json_int_t)info.n_bytes, "scale",
                     (double)(e->always ? e->scale : 0), "always", e->always);
}

json_t *adapter_list_json(adapter_list *l) {
    json_t *data = json_array();
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->n; i++) json_array_append_new(data, entry_json(l->entries[i]));
    pthread_mutex_unlock(&l->lock);
    return json_pack("{s:s,s:o}", "object", "list", "data", data);
}

/* ---- choosing; with the lock held */

static bool choose_entry(adapter_list *l, const fields *f, const char *field, size_t at, float scale,
                         adapter_choice *out) {
    if (at >= l->n) return field_refuse(f, field, "is none of the adapters; GET /v1/adapters lists them");
    if (out->n == MOST_ADAPTERS) return field_refuse(f, field, "is one adapter too many");
    adapter_entry *e = l->entries[at];
    e->references++;
    out->entries[out->n] = e;
    out->uses[out->n++] = (facet_adapter_use){e->adapter, scale};
    return true;
}

static bool choose_object(adapter_list *l, const facet_value *object, const char *path, request_error *error,
                          adapter_choice *out) {
    const fields f = {object, path, error};
    const char *name = NULL;
    int64_t number = -1;
    float scale = 1;
    bool numbered = facet_value_typeof(field_get(&f, "id")) == FACET_VALUE_NUMBER;
    if (!field_number(&f, "scale", -100, 100, &scale)) return false;
    if (numbered && !field_integer(&f, "id", 0, MOST_ADAPTERS, &number)) return false;
    if (numbered) return choose_entry(l, &f, "id", (size_t)number, scale, out);
    if (!field_string(&f, "id", &name, NULL) || !field_string(&f, "name", &name, NULL)) return false;
    if (!name) return field_refuse(&f, "name", "is missing");
    return choose_entry(l, &f, "name", find(l, name), scale, out);
}

static bool choose_value(adapter_list *l, const fields *f, const char *field, const facet_value *value,
                         const char *path, adapter_choice *out) {
    switch (facet_value_typeof(value)) {
    case FACET_VALUE_STRING: return choose_entry(l, f, field, find(l, facet_value_text(value, NULL)), 1, out);
    case FACET_VALUE_OBJECT: return choose_object(l, value, path, f->error, out);
    default: return field_refuse(f, field, "must be a name, an object with name and scale, or an array of these");
    }
}

static bool choose_field(adapter_list *l, const fields *f, const char *field, adapter_choice *out) {
    const facet_value *value = field_get(f, field);
    char path[80];
    if (!value) return true;
    if (facet_value_typeof(value) != FACET_VALUE_ARRAY) return choose_value(l, f, field, value, field, out);
    for (size_t i = 0; i < facet_value_count(value); i++) {
        snprintf(path, sizeof path, "%s[%zu]", field, i);
        if (!choose_value(l, f, field, facet_value_at(value, i), path, out)) return false;
    }
    return true;
}

bool adapter_choose(adapter_list *l, const fields *f, adapter_choice *out) {
    bool named = field_has(f, "adapter") || field_has(f, "lora"), ok = true;
    pthread_mutex_lock(&l->lock);
    if (named) ok = choose_field(l, f, "adapter", out) && choose_field(l, f, "lora", out);
    for (size_t i = 0; !named && i < l->n; i++)
        if (l->entries[i]->always) ok = choose_entry(l, f, "adapter", i, l->entries[i]->scale, out) && ok;
    pthread_mutex_unlock(&l->lock);
    return ok;
}

void adapter_release(adapter_list *l, adapter_choice *c) {
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < c->n; i++) drop(c->entries[i]);
    pthread_mutex_unlock(&l->lock);
    c->n = 0;
}
