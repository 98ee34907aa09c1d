/* The tree of values of facet.h: building, reading, walking, copying, freeing. Knows nothing of JSON text
 * (value_json.c) nor of chats.
 *
 * Objects of more than a few members carry a hash table of their keys, seeded by their address, so that setting n
 * keys takes time in proportion to n whatever the keys are. */
#include "base/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

enum { N_SCANNED = 8 }; /* members that are searched one by one */

struct facet_value {
    facet_value_type type;
    bool truth;
    facet_value *parent; /* the owner; NULL for a root */
    size_t place;        /* index in the parent */
    char *key;           /* for members of objects */
    size_t key_bytes;
    size_t n; /* bytes of a text, or members */
    size_t capacity;
    union {
        char *text;
        facet_value **items;
    };
    uint32_t *slots; /* objects: open addressing, 1 + index of the member, 0 for empty */
    size_t n_slots;  /* a power of two, or 0 */
};

static bool is_container(const facet_value *v) {
    return v && (v->type == FACET_VALUE_ARRAY || v->type == FACET_VALUE_OBJECT);
}

/* ---- constructors */

static facet_value *node_new(facet_value_type type) {
    facet_value *v = calloc(1, sizeof *v);
    if (v) v->type = type;
    return v;
}

static char *text_new(const char *text, size_t n) {
    size_t size;
    char *copy = checked_add(n, 1, &size) ? malloc(size) : NULL;
    if (!copy) return NULL;
    if (n) memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

static facet_value *text_node(facet_value_type type, const char *text, size_t n) {
    facet_value *v = node_new(type);
    if (!v) return NULL;
    v->text = text_new(text, n);
    v->n = n;
    if (v->text) return v;
    free(v);
    return NULL;
}

facet_value *facet_value_null(void) { return node_new(FACET_VALUE_NULL); }
facet_value *facet_value_array(void) { return node_new(FACET_VALUE_ARRAY); }
facet_value *facet_value_object(void) { return node_new(FACET_VALUE_OBJECT); }

facet_value *facet_value_bool(bool b) {
    facet_value *v = node_new(FACET_VALUE_BOOL);
    if (v) v->truth = b;
    return v;
}

facet_value *facet_value_number(const char *text, size_t n_bytes) {
    return text && value_number_valid(text, n_bytes) ? text_node(FACET_VALUE_NUMBER, text, n_bytes) : NULL;
}

facet_value *facet_value_string(const char *text, size_t n_bytes) {
    if (!text && n_bytes) return NULL;
    return utf8_invalid(text, n_bytes) == n_bytes ? text_node(FACET_VALUE_STRING, text, n_bytes) : NULL;
}

/* ---- keys */

static size_t key_hash(const facet_value *object, const char *key, size_t n) {
    uint64_t h = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u ^ n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, key + i, n - i < 8 ? n - i : 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (size_t)h;
}

static bool key_is(const facet_value *member, const char *key, size_t n) {
    return member->key_bytes == n && (n == 0 || memcmp(member->key, key, n) == 0);
}

static void slot_put(facet_value *object, size_t member) {
    const facet_value *item = object->items[member];
    size_t mask = object->n_slots - 1;
    size_t at = key_hash(object, item->key, item->key_bytes) & mask;
    while (object->slots[at]) at = (at + 1) & mask;
    object->slots[at] = (uint32_t)member + 1;
}

/* Makes sure the table has room for one more member than there are; small objects have none. */
static bool slots_reserve(facet_value *object) {
    if (object->n < N_SCANNED || object->n * 2 + 2 <= object->n_slots) return true;
    if (object->n >= UINT32_MAX / 4) return false;
    size_t n_slots = object->n_slots ? object->n_slots * 2 : N_SCANNED * 4;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    free(object->slots);
    object->slots = slots;
    object->n_slots = n_slots;
    for (size_t i = 0; i < object->n; i++) slot_put(object, i);
    return true;
}

/* The index of a member, or n. */
static size_t member_find(const facet_value *object, const char *key, size_t n) {
    if (!object->n_slots) {
        size_t i = 0;
        while (i < object->n && !key_is(object->items[i], key, n)) i++;
        return i;
    }
    size_t mask = object->n_slots - 1;
    for (size_t at = key_hash(object, key, n) & mask; object->slots[at]; at = (at + 1) & mask) {
        if (key_is(object->items[object->slots[at] - 1], key, n)) return object->slots[at] - 1;
    }
    return object->n;
}

/* ---- building */

/* Whether `item` may become a member of `container`: it has no owner, and does not hold the container itself. */
static bool may_join(const facet_value *container, const facet_value *item) {
    if (item->parent || item == container) return false;
    if (!is_container(item) || item->n == 0) return true;
    for (const facet_value *v = container; v; v = v->parent) {
        if (v == item) return false;
    }
    return true;
}

static bool items_reserve(facet_value *container) {
    if (container->n < container->capacity) return true;
    size_t capacity = container->capacity ? container->capacity * 2 : 4, size;
    facet_value **items = checked_mul(capacity, sizeof *items, &size) ? realloc(container->items, size) : NULL;
    if (!items) return false;
    container->items = items;
    container->capacity = capacity;
    return true;
}

static void item_put(facet_value *container, size_t place, facet_value *item) {
    container->items[place] = item;
    item->parent = container;
    item->place = place;
}

/* A missing item is a constructor that got no memory. */
static facet_status check_join(const facet_value *container, facet_value_type type, const facet_value *item) {
    if (!container || !item) return FACET_ERROR_MEMORY;
    return container->type == type && may_join(container, item) ? FACET_OK : FACET_ERROR_ARGUMENT;
}

/* Frees an item that could not join, unless it has another owner or would take the container along. */
static void drop_refused(const facet_value *container, facet_value *item) {
    if (!container || (item && may_join(container, item))) facet_value_free(item);
}

facet_status facet_value_append(facet_value *array, facet_value *item) {
    facet_status status = check_join(array, FACET_VALUE_ARRAY, item);
    if (status == FACET_OK && !items_reserve(array)) status = FACET_ERROR_MEMORY;
    if (status != FACET_OK) {
        drop_refused(array, item);
        return status;
    }
    item_put(array, array->n++, item);
    return FACET_OK;
}

static void item_replace(facet_value *object, size_t place, facet_value *item) {
    facet_value *old = object->items[place];
    item->key = old->key;
    item->key_bytes = old->key_bytes;
    old->key = NULL;
    old->parent = NULL;
    item_put(object, place, item);
    facet_value_free(old);
}

static facet_status item_add(facet_value *object, const char *key, size_t key_bytes, facet_value *item) {
    if (!items_reserve(object) || !slots_reserve(object)) return FACET_ERROR_MEMORY;
    item->key = text_new(key, key_bytes);
    if (!item->key) return FACET_ERROR_MEMORY;
    item->key_bytes = key_bytes;
    item_put(object, object->n++, item);
    if (object->n_slots) slot_put(object, object->n - 1);
    return FACET_OK;
}

facet_status facet_value_set(facet_value *object, const char *key, size_t key_bytes, facet_value *item) {
    facet_status status = check_join(object, FACET_VALUE_OBJECT, item);
    if (status == FACET_OK && !key && key_bytes) status = FACET_ERROR_ARGUMENT;
    if (status == FACET_OK && utf8_invalid(key, key_bytes) != key_bytes) status = FACET_ERROR_ENCODING;
    if (status == FACET_OK) {
        size_t place = member_find(object, key, key_bytes);
        if (place < object->n) {
            item_replace(object, place, item);
        } else {
            status = item_add(object, key, key_bytes, item);
        }
    }
    if (status != FACET_OK) drop_refused(object, item);
    return status;
}

static void node_free(facet_value *v) {
    if (is_container(v)) {
        free(v->items);
    } else {
        free(v->text);
    }
    free(v->slots);
    free(v->key);
    free(v);
}

/* A value that has an owner goes with it. */
void facet_value_free(facet_value *value) {
    if (!value || value->parent) return;
    for (facet_value *v = value; v;) {
        if (is_container(v) && v->n) {
            v = v->items[--v->n];
        } else {
            facet_value *parent = v->parent;
            node_free(v);
            v = parent;
        }
    }
}

void facet_free(void *memory) { free(memory); }

/* ---- reading */

facet_value_type facet_value_typeof(const facet_value *value) { return value ? value->type : FACET_VALUE_NULL; }

bool facet_value_is_true(const facet_value *value) {
    return value && value->type == FACET_VALUE_BOOL && value->truth;
}

const char *facet_value_text(const facet_value *value, size_t *n_bytes) {
    bool has_text = value && (value->type == FACET_VALUE_STRING || value->type == FACET_VALUE_NUMBER);
    if (n_bytes) *n_bytes = has_text ? value->n : 0;
    return has_text ? value->text : NULL;
}

size_t facet_value_count(const facet_value *value) { return is_container(value) ? value->n : 0; }

const facet_value *facet_value_at(const facet_value *value, size_t i) {
    return i < facet_value_count(value) ? value->items[i] : NULL;
}

const char *facet_value_key(const facet_value *object, size_t i, size_t *n_bytes) {
    const facet_value *item = object && object->type == FACET_VALUE_OBJECT ? facet_value_at(object, i) : NULL;
    if (n_bytes) *n_bytes = item ? item->key_bytes : 0;
    return item ? item->key : NULL;
}

const facet_value *value_get(const facet_value *object, const char *key, size_t key_bytes) {
    if (!object || object->type != FACET_VALUE_OBJECT) return NULL;
    return facet_value_at(object, member_find(object, key, key_bytes));
}

const facet_value *facet_value_get(const facet_value *object, const char *key) {
    return key ? value_get(object, key, strlen(key)) : NULL;
}

bool value_is_text(const facet_value *value, const char *text) {
    return value && value->type == FACET_VALUE_STRING && value->n == strlen(text) &&
           !memcmp(value->text, text, value->n);
}

/* ---- whole trees */

const facet_value *value_parent(const facet_value *value) { return value->parent; }
size_t value_place(const facet_value *value) { return value->place; }

bool value_walk_next(value_walk *walk) {
    const facet_value *v = walk->node;
    if (!v) {
        walk->node = walk->root;
        return walk->root != NULL;
    }
    if (is_container(v) && !walk->leaving) {
        if (v->n == 0) return walk->leaving = true;
        walk->node = v->items[0];
        walk->depth++;
        return true;
    }
    if (v == walk->root) return false;
    walk->leaving = v->place + 1 == v->parent->n;
    walk->node = walk->leaving ? v->parent : v->parent->items[v->place + 1];
    if (walk->leaving) walk->depth--;
    return true;
}

size_t value_depth(const facet_value *value) {
    size_t deepest = 0;
    for (value_walk walk = {.root = value}; value_walk_next(&walk);) {
        if (walk.depth + 1 > deepest) deepest = walk.depth + 1;
    }
    return deepest;
}

/* One node without its members. */
static facet_value *node_copy(const facet_value *v) {
    bool has_text = v->type == FACET_VALUE_STRING || v->type == FACET_VALUE_NUMBER;
    facet_value *copy = has_text ? text_node(v->type, v->text, v->n) : node_new(v->type);
    if (copy) copy->truth = v->truth;
    return copy;
}

facet_value *value_copy(const facet_value *value) {
    facet_value *top = NULL, *parent = NULL;
    for (value_walk walk = {.root = value}; value_walk_next(&walk);) {
        const facet_value *v = walk.node;
        if (walk.leaving) {
            parent = parent->parent;
            continue;
        }
        facet_value *copy = node_copy(v);
        facet_status status = copy ? FACET_OK : FACET_ERROR_MEMORY;
        if (!parent) {
            top = copy;
        } else if (parent->type == FACET_VALUE_ARRAY) {
            status = facet_value_append(parent, copy);
        } else {
            status = facet_value_set(parent, v->key, v->key_bytes, copy);
        }
        if (status != FACET_OK) {
            facet_value_free(top);
            return NULL;
        }
        if (is_container(v)) parent = copy;
    }
    return top;
}
