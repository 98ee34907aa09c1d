/* The types of the values that schemas permit: said, or meant by their keywords. See schema_parts.h. */
#include <string.h>
#include <strings.h>

#include "sample/schema_parts.h"

static unsigned type_named(const facet_value *name) {
    static const struct {
        const char *name;
        unsigned types;
    } names[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOL}, {"integer", TYPE_INTEGER},
                 {"string", TYPE_STRING}, {"array", TYPE_ARRAY},  {"number", TYPE_INTEGER | TYPE_FRACTION},
                 {"object", TYPE_OBJECT}, {"any", TYPE_ALL}};
    const char *text = facet_value_typeof(name) == FACET_VALUE_STRING ? facet_value_text(name, NULL) : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(names[i].name, text) == 0) return names[i].types;
    }
    return 0;
}

static facet_status declared_types(const schema_reader *r, const facet_value *schema, unsigned *types) {
    const facet_value *type = facet_value_get(schema, "type");
    bool is_list = facet_value_typeof(type) == FACET_VALUE_ARRAY;
    *types = 0;
    for (size_t i = 0; i < (is_list ? facet_value_count(type) : 1); i++) {
        unsigned one = type_named(is_list ? facet_value_at(type, i) : type);
        if (!one) return schema_malformed(r, schema, "type", "there is no such type");
        *types |= one;
    }
    if (facet_value_is_true(facet_value_get(schema, "nullable"))) *types |= TYPE_NULL;
    return FACET_OK;
}

static bool has_any(const facet_value *schema, const char *const *keywords) {
    for (; *keywords; keywords++) {
        if (facet_value_get(schema, *keywords)) return true;
    }
    return false;
}

/* What the keywords of a schema without a type speak of. */
static unsigned meant_types(const facet_value *schema) {
    static const char *const of_string[] = {"minLength", "maxLength", "pattern", "format", NULL};
    static const char *const of_array[] = {"items", "prefixItems", "minItems", "maxItems", NULL};
    static const char *const of_object[] = {
        "properties", "required", "additionalProperties", "minProperties", "maxProperties", "propertyNames", NULL};
    static const char *const of_number[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                            "exclusiveMaximum", "multipleOf", NULL};
    unsigned types = 0;
    if (has_any(schema, of_string)) types |= TYPE_STRING;
    if (has_any(schema, of_array)) types |= TYPE_ARRAY;
    if (has_any(schema, of_object)) types |= TYPE_OBJECT;
    if (has_any(schema, of_number)) types |= TYPE_INTEGER | TYPE_FRACTION;
    if (types && facet_value_is_true(facet_value_get(schema, "nullable"))) types |= TYPE_NULL;
    return types;
}

facet_status schema_types(const schema_reader *r, const joined *j, bool meant, unsigned *types) {
    unsigned spoken = 0, one;
    bool declared = false;
    *types = j->never ? 0 : TYPE_ALL;
    for (size_t i = 0; i < j->n; i++) {
        if (facet_value_get(j->items[i].schema, "type")) {
            FACET_TRY(declared_types(r, j->items[i].schema, &one));
            *types &= one;
            declared = true;
        } else {
            spoken |= meant_types(j->items[i].schema);
        }
    }
    if (meant && !declared && spoken) *types &= spoken;
    return FACET_OK;
}
