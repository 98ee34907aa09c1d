/* The rules that a schema needs, each there once: found by the set of schemas that it is for. See schema_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

struct schema_memo {
    joined *schemas; /* as they were asked for */
    uint32_t rule;
    uint64_t hash;
};

static uint64_t hash_joined(const joined *j) {
    uint64_t h = j->n + j->never;
    for (size_t i = 0; i < j->n; i++) {
        h = (h ^ (uint64_t)(uintptr_t)j->items[i].schema ^ (uint64_t)j->items[i].used << 56) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

static bool same_joined(const joined *a, const joined *b) {
    if (a->n != b->n || a->never != b->never) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (a->items[i].schema != b->items[i].schema || a->items[i].used != b->items[i].used) return false;
    }
    return true;
}

static bool more_memos(schema_reader *r) {
    size_t capacity = r->memos_capacity ? r->memos_capacity * 2 : 64;
    schema_memo *memos = realloc(r->memos, capacity * sizeof *memos);
    if (memos) r->memos = memos;
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);
    if (!memos || !slots) {
        free(slots);
        return false;
    }
    free(r->slots);
    r->slots = slots;
    r->n_slots = capacity * 2;
    r->memos_capacity = capacity;
    for (uint32_t i = 0; i < r->n_memos; i++) {
        size_t at = (size_t)r->memos[i].hash & (r->n_slots - 1);
        while (slots[at]) at = (at + 1) & (r->n_slots - 1);
        slots[at] = i + 1;
    }
    return true;
}

static facet_status add_memo(schema_reader *r, const joined *j, uint64_t hash, uint32_t *rule) {
    size_t n_bytes = sizeof *j;
    joined *copy = malloc(n_bytes);
    if (!copy) return error_memory(r->err, n_bytes);
    char name[160];
    *copy = *j;
    schema_place(j->n ? j->items[j->n - 1].schema : r->root, r->root, name, sizeof name);
    *rule = grammar_rule_new(r->b, name, strlen(name), 0);
    r->memos[r->n_memos++] = (schema_memo){copy, *rule, hash};
    return FACET_OK;
}

facet_status schema_rule(schema_reader *r, const joined *j, expr *out) {
    uint64_t hash = hash_joined(j);
    uint32_t rule = 0;
    if (r->n_memos == r->memos_capacity && !more_memos(r)) return error_memory(r->err, r->n_memos * sizeof *r->memos);
    size_t at = (size_t)hash & (r->n_slots - 1);
    for (; r->slots[at]; at = (at + 1) & (r->n_slots - 1)) {
        const schema_memo *known_memo = &r->memos[r->slots[at] - 1];
        if (known_memo->hash != hash || !same_joined(known_memo->schemas, j)) continue;
        *out = expr_rule(r->b, known_memo->rule);
        return FACET_OK;
    }
    if (r->n_memos >= SCHEMA_MAX_RULES)
        return schema_refuse(r, j->n ? j->items[0].schema : r->root, NULL, "the schema needs too many rules");
    FACET_TRY(add_memo(r, j, hash, &rule));
    r->slots[at] = (uint32_t)r->n_memos;
    *out = expr_rule(r->b, rule);
    return FACET_OK;
}

bool schema_next_rule(schema_reader *r, const joined **schemas, uint32_t *rule) {
    if (r->next == r->n_memos) return false;
    *schemas = r->memos[r->next].schemas;
    *rule = r->memos[r->next++].rule;
    return true;
}

void schema_forget_rules(schema_reader *r) {
    for (size_t i = 0; i < r->n_memos; i++) free(r->memos[i].schemas);
    free(r->memos);
    free(r->slots);
}
