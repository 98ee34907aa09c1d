/* What the files that read schemas share; nobody else includes it. */
#ifndef FACET_SAMPLE_SCHEMA_PARTS_H
#define FACET_SAMPLE_SCHEMA_PARTS_H

#include "sample/schema.h"

enum {
    SCHEMA_MAX_JOINED = 48, /* schemas that hold for one value */
    SCHEMA_MAX_RULES = 1 << 14,
    SCHEMA_MAX_DEPTH = 256,
    SCHEMA_MAX_WORK = 1 << 22 /* looks at schemas while checking values and comparing branches */
};

enum {
    TYPE_NULL = 1,
    TYPE_BOOL = 2,
    TYPE_INTEGER = 4,
    TYPE_FRACTION = 8, /* numbers that are no integers */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ALL = 127
};

/* The schemas that hold for one value. */
typedef struct joined {
    struct {
        const facet_value *schema;
        unsigned used; /* keywords that were taken care of: USED_ */
    } items[SCHEMA_MAX_JOINED];
    size_t n;
    bool never; /* false is among them */
} joined;
enum { USED_REF = 1, USED_ALL_OF = 2, USED_ANY_OF = 4, USED_ONE_OF = 8 };

typedef struct schema_memo schema_memo;

typedef struct schema_reader {
    grammar_builder *b;
    const facet_value *root;
    schema_style style;
    facet_error *err;
    schema_memo *memos;
    size_t n_memos, memos_capacity;
    uint32_t *slots; /* 1 + memo */
    size_t n_slots;
    size_t next; /* memo to be written */
    size_t n_work;
    bool has_space, has_text;
    expr space, text; /* white space between tokens; a character of a JSON string */
} schema_reader;

/* schema_place.c */
/* "PLACE: WHAT", FACET_ERROR_UNSUPPORTED; the place of a keyword of `schema`, or of the schema itself (NULL). */
facet_status schema_refuse(const schema_reader *r, const facet_value *schema, const char *keyword, const char *what);
/* FACET_ERROR_FORMAT: no schema at all. */
facet_status schema_malformed(const schema_reader *r, const facet_value *schema, const char *keyword,
                              const char *what);
/* Where a node is below `root`, as "#/a/b". */
void schema_place(const facet_value *node, const facet_value *root, char *out, size_t n_bytes);

/* schema_join.c */
/* Adds a schema with all that it refers to. */
facet_status schema_join(schema_reader *r, joined *j, const facet_value *schema);
facet_status schema_expand(schema_reader *r, joined *j);
/* That allOf, anyOf or oneOf is a list with something in it, if it is there. */
facet_status schema_check_branches(const schema_reader *r, const facet_value *schema, const char *keyword);
/* A count such as minLength: absent leaves *out. */
facet_status schema_count(const schema_reader *r, const facet_value *schema, const char *keyword, uint32_t *out);
/* schema_rules.c */
/* The rule for a joined schema; it is written later. */
facet_status schema_rule(schema_reader *r, const joined *j, expr *out);
bool schema_next_rule(schema_reader *r, const joined **schemas, uint32_t *rule); /* that is to be written, if any */
void schema_forget_rules(schema_reader *r);
/* schema_types.c */
/* The types that all of them leave. `meant`: where none of them has a type, those that their keywords speak of. */
facet_status schema_types(const schema_reader *r, const joined *j, bool meant, unsigned *types);
/* schema_string.c */
facet_status schema_string_lang(schema_reader *r, const joined *j, lang **out); /* NULL: any text */
facet_status schema_string(schema_reader *r, const joined *j, expr *out);
expr schema_quoted(schema_reader *r, expr inside);
expr schema_text_run(schema_reader *r, uint32_t min, uint32_t max);
/* schema_number.c */
facet_status schema_number(schema_reader *r, const joined *j, bool integer, expr *out);
/* Whether the numbers of a schema hold this one. */
facet_status schema_number_fits(schema_reader *r, const facet_value *schema, const facet_value *number, bool *fits);
bool schema_number_is_integer(const facet_value *number);
bool schema_numbers_equal(const facet_value *a, const facet_value *b);
/* schema_object.c, schema_array.c */
facet_status schema_object(schema_reader *r, const joined *j, expr *out);
facet_status schema_array(schema_reader *r, const joined *j, expr *out);
/* schema_literal.c: values of enum and const */
bool schema_values_equal(const facet_value *a, const facet_value *b);
expr schema_literal(schema_reader *r, const facet_value *value);
expr schema_key(schema_reader *r, const char *key, size_t n); /* with its ':' */
size_t *schema_key_order(const facet_value *object); /* sorted as calls have them; malloc'ed, NULL: no memory */
/* schema_check.c */
facet_status schema_fits(schema_reader *r, const facet_value *schema, const facet_value *value, bool *fits);
facet_status schema_disjoint(schema_reader *r, const facet_value *a, const facet_value *b, bool *disjoint);

/* schema.c: white space between tokens, where the style has it */
expr schema_space(schema_reader *r);

#endif
