/* Schemas of any kind, built by the bytes of the input, as JSON and as the parameters of a tool; and patterns, which
 * are the rest of the input after a zero byte. What compiles is followed for a while. */
#include <stdint.h>
#include <string.h>

#include "fuzz_matching.h"
#include "sample/schema.h"
#include "sample/tool_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct input {
    const uint8_t *data;
    size_t n, at;
    size_t n_nodes;
} input;

static const char *const keywords[] = {"type",
                                       "enum",
                                       "const",
                                       "nullable",
                                       "$ref",
                                       "allOf",
                                       "anyOf",
                                       "oneOf",
                                       "properties",
                                       "required",
                                       "items",
                                       "minItems",
                                       "maxItems",
                                       "prefixItems",
                                       "minLength",
                                       "maxLength",
                                       "pattern",
                                       "format",
                                       "minimum",
                                       "maximum",
                                       "multipleOf",
                                       "minProperties",
                                       "maxProperties",
                                       "propertyNames",
                                       "exclusiveMinimum",
                                       "$defs",
                                       "title",
                                       "uniqueItems",
                                       "not",
                                       "additionalProperties",
                                       "a",
                                       "b",
                                       "exclusiveMaximum"};
static const char *const texts[] = {"string",      "integer", "number", "object",    "array", "null",
                                    "boolean",     "a",       "#",      "#/$defs/a", "date",  "uuid",
                                    "^[a-c]{2,}$", "b",       "email",  "x*$"};
static const char *const numbers[] = {"0", "1", "2", "3", "-1", "0.5", "1e3", "7", "-0.25", "100", "1e-9", "64"};

static uint8_t next(input *in) { return in->at < in->n ? in->data[in->at++] : 0; }

#define PICK(list, in) (list)[next(in) % (sizeof(list) / sizeof *(list))]

static facet_value *value(input *in, int depth) {
    uint8_t kind = depth > 12 || ++in->n_nodes > 300 ? 0 : next(in) % 16;
    const char *text;
    facet_value *all;
    switch (kind) {
    case 0: return facet_value_bool(next(in) & 1);
    case 1:
    case 2: text = PICK(numbers, in); return facet_value_number(text, strlen(text));
    case 3:
    case 4:
    case 5: text = PICK(texts, in); return facet_value_string(text, strlen(text));
    case 6:
    case 7:
        all = facet_value_array();
        for (uint8_t i = next(in) % 5; i > 0; i--) facet_value_append(all, value(in, depth + 1));
        return all;
    case 8: return facet_value_null();
    default:
        all = facet_value_object();
        for (uint8_t i = next(in) % 6; i > 0; i--) {
            text = PICK(keywords, in);
            facet_value_set(all, text, strlen(text), value(in, depth + 1));
        }
        return all;
    }
}

static void follow(const fuzz_words *w, facet_status status, grammar *g, const facet_error *error) {
    if (status == FACET_OK) {
        for (uint32_t seed = 0; seed < 3; seed++) fuzz_babble(w, g, seed);
    } else {
        check(!g && error->message[0]);
    }
    grammar_free(g);
}

static facet_value *tools_of(facet_value *parameters) {
    facet_value *function = facet_value_object(), *tool = facet_value_object(), *tools = facet_value_array();
    facet_value_set(function, "name", 4, facet_value_string("f", 1));
    facet_value_set(function, "parameters", 10, parameters);
    facet_value_set(tool, "function", 8, function);
    facet_value_append(tools, tool);
    return tools;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *end = n ? memchr(data, 0, n) : NULL;
    input in = {.data = data, .n = end ? (size_t)(end - data) : n}, again = in;
    facet_error error = {0};
    fuzz_words w;
    grammar *g;
    lang *l;
    fuzz_words_open(&w);
    facet_value *schema = value(&in, 0), *tools = tools_of(value(&again, 0));
    grammar_vocab names = fuzz_names(&w);
    facet_status status = schema_grammar(&g, schema, &error);
    follow(&w, status, g, &error);
    error = (facet_error){0};
    status = tool_grammar(&g, &names, tools, NULL, true, &error);
    follow(&w, status, g, &error);
    if (end && lang_pattern(&l, (const char *)end + 1, n - (size_t)(end - data) - 1, &error) == FACET_OK) {
        check(l->n_states == 0 || !lang_has(l, "\xff", 1));
        lang_free(l);
    }
    facet_value_free(schema);
    facet_value_free(tools);
    fuzz_words_close(&w);
    return 0;
}
