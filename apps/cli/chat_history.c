/* The messages of a conversation. */
#include "chat.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

bool chat_history_push(chat_history *h, facet_value *message) {
    if (message && h->n == h->capacity) {
        size_t capacity = h->capacity * 2 + 8;
        facet_value **grown = realloc(h->items, capacity * sizeof *grown);
        if (grown) {
            h->items = grown;
            h->capacity = capacity;
        }
    }
    if (!message || h->n == h->capacity) {
        facet_value_free(message);
        return false;
    }
    h->items[h->n++] = message;
    return true;
}

void chat_history_truncate(chat_history *h, size_t n) {
    while (h->n > n) facet_value_free(h->items[--h->n]);
}

void chat_history_remove(chat_history *h, size_t first, size_t count) {
    for (size_t i = first; i < first + count; i++) facet_value_free(h->items[i]);
    h->n -= count;
    memmove(h->items + first, h->items + first + count, (h->n - first) * sizeof *h->items);
}

void chat_history_free(chat_history *h) {
    chat_history_truncate(h, 0);
    free(h->items);
    *h = (chat_history){0};
}

facet_value *chat_history_copy(const chat_history *h) {
    facet_value *array = facet_value_array();
    for (size_t i = 0; array && i < h->n; i++) {
        if (facet_value_append(array, cli_value_copy(h->items[i]))) {
            facet_value_free(array);
            array = NULL;
        }
    }
    return array;
}

static bool has_role(const facet_value *message, const char *role) {
    const char *found = facet_value_text(facet_value_get(message, "role"), NULL);
    return found && !strcmp(found, role);
}

size_t chat_history_last_user(const chat_history *h) {
    for (size_t i = h->n; i-- > 0;)
        if (has_role(h->items[i], "user")) return i;
    return h->n;
}

bool chat_history_has_system(const chat_history *h) { return h->n && has_role(h->items[0], "system"); }

bool chat_history_set_system(chat_history *h, const char *content) {
    if (chat_history_has_system(h)) {
        facet_value_free(h->items[0]);
        memmove(h->items, h->items + 1, --h->n * sizeof *h->items);
    }
    if (!content[0]) return true;
    if (!chat_history_push(h, cli_value_message("system", content, strlen(content)))) return false;
    facet_value *system = h->items[h->n - 1];
    memmove(h->items + 1, h->items, (h->n - 1) * sizeof *h->items);
    h->items[0] = system;
    return true;
}
