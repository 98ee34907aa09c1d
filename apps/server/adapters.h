/* The LoRA adapters of the server: which there are, by what name, and who uses them. One that is taken off the list
 * goes on living until the last request that uses it has ended. */
#ifndef FACET_SERVER_ADAPTERS_H
#define FACET_SERVER_ADAPTERS_H

#include "fields.h"

#include <jansson.h>
#include <pthread.h>

enum { MOST_ADAPTERS = 64 };

typedef struct adapter_entry adapter_entry;

typedef struct adapter_list {
    pthread_mutex_t lock;
    adapter_entry *entries[MOST_ADAPTERS];
    size_t n;
} adapter_list;

/* What one request uses. */
typedef struct adapter_choice {
    adapter_entry *entries[MOST_ADAPTERS];
    facet_adapter_use uses[MOST_ADAPTERS];
    size_t n;
} adapter_choice;

void adapter_list_init(adapter_list *l);
void adapter_list_free(adapter_list *l);
/* Takes the adapter; one of the same name is replaced. `always`: used by requests that name none, this strong; then
 * it is borrowed instead. False: the list is full, or no memory. */
bool adapter_list_add(adapter_list *l, const char *name, facet_adapter *adapter, bool always, float scale);
bool adapter_list_remove(adapter_list *l, const char *name); /* false: there is none */
json_t *adapter_list_json(adapter_list *l);

/* The fields `adapter` (a name, {name, scale}, or an array of these) and `lora` (an array of {id or name, scale});
 * none of them: those that are always used. False: refused. Release it in both cases. */
bool adapter_choose(adapter_list *l, const fields *f, adapter_choice *out);
void adapter_release(adapter_list *l, adapter_choice *c);

/* Routes, for exchanges. */
struct exchange;
void adapters_get(struct exchange *x);
void adapters_post(struct exchange *x);
void adapters_delete(struct exchange *x);

#endif
