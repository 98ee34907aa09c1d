/* Schemas: whatever random choices among the permitted tokens write is JSON and fits, by an independent validator;
 * whatever fits can be written; what cannot be kept to is refused, with its place. Tool calls and real generations.
 */
#include "chat_json.h"
#include "quick_grammar_support.h"
#include "quick_schema_valid.h"

static json_t *json_of_quoted(const char *text) {
    char *copy = strdup(text);
    for (char *c = copy; *c; c++) {
        if (*c == '\'') *c = '"';
    }
    json_t *json = json_of_text(copy, strlen(copy));
    free(copy);
    return json;
}

/* As value_of_json, but decimals stay as short as they were written. */
static facet_value *value_of_schema(const json_t *json) {
    char text[64];
    if (json_is_real(json))
        return facet_value_number(text, (size_t)snprintf(text, sizeof text, "%.15g", json_real_value(json)));
    if (!json_is_array(json) && !json_is_object(json)) return value_of_json(json);
    facet_value *all = json_is_array(json) ? facet_value_array() : facet_value_object();
    for (size_t i = 0; i < json_array_size(json); i++)
        facet_value_append(all, value_of_schema(json_array_get(json, i)));
    for (void *at = json_object_iter((json_t *)(uintptr_t)json); at;
         at = json_object_iter_next((json_t *)(uintptr_t)json, at))
        facet_value_set(all, json_object_iter_key(at), json_object_iter_key_len(at),
                        value_of_schema(json_object_iter_value(at)));
    return all;
}

static grammar *compile(const json_t *schema) {
    facet_error error;
    grammar *g;
    facet_value *value = value_of_schema(schema);
    facet_status status = schema_grammar(&g, value, &error);
    facet_value_free(value);
    if (status != FACET_OK) {
        char *text = json_dumps(schema, JSON_ENCODE_ANY);
        fail_msg("%s\n%s", error.message, text);
    }
    return g;
}

/* ---- random schemas, each with a valid instance */

static json_t *random_schema(chance *c, int depth, bool inside);
static json_t *random_instance(chance *c, const json_t *root, const json_t *schema);

static json_t *number_of(double x, bool integer) { return integer ? json_integer((json_int_t)x) : json_real(x); }

static json_t *random_number_schema(chance *c, bool integer) {
    json_t *s = json_pack("{ss}", "type", integer ? "integer" : "number");
    double low = (double)chance_below(c, 2000) - 1000, high = low + chance_below(c, 1500);
    if (!integer) {
        low += chance_below(c, 8) / 8.0;
        high += 1 + chance_below(c, 16) / 16.0;
    }
    if (chance_below(c, 2)) json_object_set_new(s, "minimum", number_of(low, integer));
    if (chance_below(c, 2)) json_object_set_new(s, "maximum", number_of(high, integer));
    if (chance_below(c, 5) == 0) json_object_set_new(s, "exclusiveMinimum", number_of(low - 1, integer));
    if (chance_below(c, 5) == 0) json_object_set_new(s, "exclusiveMaximum", number_of(high + 1, integer));
    if (chance_below(c, 4) == 0) {
        uint32_t step = 1 + chance_below(c, 7);
        json_object_del(s, "minimum");
        json_object_set_new(s, "multipleOf", integer ? json_integer(step) : json_real(step * 0.25));
        json_object_set_new(s, "maximum", number_of(3000, integer));
        json_object_del(s, "exclusiveMaximum");
    }
    return s;
}

static json_t *random_string_schema(chance *c) {
    static const char *const patterns[] = {
        "^[a-z]{2,6}$", "^(red|green|blue)-[0-9]+$", "[0-9]{3}", "^[A-Z][a-z]*( [A-Z][a-z]*)*$", "^[^a-z]*$", "x|y$"};
    static const char *const formats[] = {"date", "date-time", "time", "uuid", "email"};
    json_t *s = json_pack("{ss}", "type", "string");
    uint32_t min = chance_below(c, 5);
    switch (chance_below(c, 5)) {
    case 0: json_object_set_new(s, "pattern", json_string(patterns[chance_below(c, 6)])); break;
    case 1: json_object_set_new(s, "format", json_string(formats[chance_below(c, 5)])); break;
    case 2:
        json_object_set_new(s, "minLength", json_integer(min));
        json_object_set_new(s, "maxLength", json_integer(min + chance_below(c, 60)));
        break;
    case 3:
        json_object_set_new(s, "pattern", json_string("[a-c]"));
        json_object_set_new(s, "maxLength", json_integer(1 + min));
        break;
    default: break;
    }
    return s;
}

static json_t *random_object_schema(chance *c, int depth) {
    static const char *const names[] = {"a", "name", "na", "b c", "\"q\"", "\xc3\xa9", "x1", ""};
    json_t *s = json_pack("{ss}", "type", "object"), *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < 8; i++) {
        if (chance_below(c, 3)) continue;
        json_object_set_new(properties, names[i], random_schema(c, depth - 1, true));
        if (chance_below(c, 2)) json_array_append_new(required, json_string(names[i]));
    }
    uint32_t others = chance_below(c, 4);
    if (others == 0) json_object_set_new(s, "additionalProperties", json_false());
    if (others == 1) json_object_set_new(s, "additionalProperties", random_schema(c, depth - 1, true));
    if (chance_below(c, 5))
        json_object_set_new(s, "properties", properties);
    else
        json_decref(properties);
    if (!json_object_get(s, "properties")) {
        json_array_clear(required);
        if (others == 1 && chance_below(c, 2))
            json_object_set_new(s, "propertyNames", json_pack("{ss}", "pattern", "^[a-z]{1,3}$"));
    }
    json_object_set_new(s, "required", required);
    return s;
}

static json_t *random_array_schema(chance *c, int depth) {
    json_t *s = json_pack("{ss}", "type", "array");
    uint32_t min = chance_below(c, 3);
    json_object_set_new(s, "items", random_schema(c, depth - 1, true));
    if (chance_below(c, 2)) json_object_set_new(s, "minItems", json_integer(min));
    if (chance_below(c, 2)) json_object_set_new(s, "maxItems", json_integer(min + 1 + chance_below(c, 4)));
    if (chance_below(c, 4) == 0)
        json_object_set_new(s, "prefixItems",
                            json_pack("[oo]", random_schema(c, depth - 1, true), random_schema(c, depth - 1, true)));
    return s;
}

static json_t *random_schema(chance *c, int depth, bool inside) {
    uint32_t kind = chance_below(c, depth > 0 ? 14 : 8);
    switch (kind) {
    case 0: return json_pack("{ss}", "type", "boolean");
    case 1: return json_pack("{s[sss]}", "type", "null", "boolean", "string");
    case 2: return json_pack("{s[sinb[i{si}]]}", "enum", "a\"\n", 7, true, 1, "k", 2);
    case 3: return json_pack("{s{s[is]}}", "const", "x", 1, "y");
    case 4:
    case 5: return random_number_schema(c, kind == 4);
    case 6:
    case 7: return random_string_schema(c);
    case 8:
    case 9: return random_array_schema(c, depth);
    case 10:
        if (inside)
            return json_pack("{s[oo]}", "anyOf", json_pack("{ss}", "type", "null"), json_pack("{ss}", "$ref", "#"));
        return random_object_schema(c, depth);
    case 11: return json_pack("{s[oo]}", "anyOf", random_schema(c, depth - 1, inside), random_schema(c, 0, inside));
    default: return random_object_schema(c, depth);
    }
}

/* ---- instances that fit: by trying; NULL: none was found */

static json_t *random_text(chance *c, size_t n) {
    static const char *const characters[] = {"a",  "b",  "Z", "0",        " ",           "\"",
                                             "\\", "\n", "/", "\xc3\xa9", "\xe6\x97\xa5"};
    char text[1024] = "";
    for (size_t i = 0; i < n && strlen(text) < 1000; i++) strcat(text, characters[chance_below(c, 11)]);
    return json_string(text);
}

static json_t *random_string(chance *c, const json_t *s) {
    static const char *const samples[] = {"abc",
                                          "red-17",
                                          "a123",
                                          "Anna Bella",
                                          "123 X",
                                          "ay",
                                          "2024-02-29",
                                          "1999-12-31",
                                          "23:59:59Z",
                                          "01:02:03.25+05:30",
                                          "2000-02-29T00:00:00Z",
                                          "123e4567-e89b-12d3-a456-426614174000",
                                          "a.b+c@example.org",
                                          "c",
                                          "x"};
    json_t *min = json_object_get(s, "minLength");
    if (json_object_get(s, "pattern") || json_object_get(s, "format"))
        return json_string(samples[chance_below(c, 15)]);
    return random_text(c, (min ? (size_t)json_integer_value(min) : 0) + chance_below(c, 20));
}

static json_t *random_number(chance *c, const json_t *s) {
    json_t *min = json_object_get(s, "minimum"), *max = json_object_get(s, "maximum");
    json_t *step = json_object_get(s, "multipleOf");
    double low = min ? json_number_value(min) : max ? json_number_value(max) - 500 : -1000;
    double x = low + chance_below(c, 800) / (json_object_get(s, "type") && chance_below(c, 2) ? 1.0 : 4.0);
    if (step) x = nearbyint(x / json_number_value(step)) * json_number_value(step);
    bool integer = !strcmp(json_string_value(json_object_get(s, "type")), "integer");
    return number_of(x, integer);
}

static json_t *random_object(chance *c, const json_t *root, const json_t *s) {
    json_t *v = json_object(), *properties = json_object_get(s, "properties"), *schema;
    json_t *others = json_object_get(s, "additionalProperties");
    const char *key;
    json_object_foreach(properties, key, schema) {
        json_t *required = json_object_get(s, "required"), *name;
        size_t i;
        bool must = false;
        json_array_foreach(required, i, name) must = must || !strcmp(json_string_value(name), key);
        if (!must && chance_below(c, 2)) continue;
        json_t *one = random_instance(c, root, schema);
        if (one) json_object_set_new(v, key, one);
    }
    if (others && !json_is_false(others)) {
        static const char *const names[] = {"n", "nam", "zz", "nq"};
        for (size_t i = chance_below(c, 4); i < 4; i++) {
            json_t *one = random_instance(c, root, others);
            if (one && !json_object_get(v, names[i])) json_object_set_new(v, names[i], one);
        }
    }
    return v;
}

static json_t *random_array(chance *c, const json_t *root, const json_t *s) {
    json_t *v = json_array(), *min = json_object_get(s, "minItems"), *prefix = json_object_get(s, "prefixItems");
    size_t n = (min ? (size_t)json_integer_value(min) : 0) + chance_below(c, 3);
    for (size_t i = 0; i < n; i++) {
        json_t *one = random_instance(
            c, root, i < json_array_size(prefix) ? json_array_get(prefix, i) : json_object_get(s, "items"));
        if (one) json_array_append_new(v, one);
    }
    return v;
}

static json_t *propose(chance *c, const json_t *root, const json_t *s) {
    json_t *list = json_object_get(s, "enum"), *any = json_object_get(s, "anyOf");
    if (json_object_get(s, "$ref")) return chance_below(c, 3) ? random_instance(c, root, root) : NULL;
    if (list) return json_copy(json_array_get(list, chance_below(c, (uint32_t)json_array_size(list))));
    if (json_object_get(s, "const")) return json_deep_copy(json_object_get(s, "const"));
    if (any) return random_instance(c, root, json_array_get(any, chance_below(c, 2)));
    const char *type = json_string_value(json_object_get(s, "type"));
    if (!type) return chance_below(c, 2) ? json_null() : json_string("text");
    if (!strcmp(type, "boolean")) return json_boolean(chance_below(c, 2));
    if (!strcmp(type, "null")) return json_null();
    if (!strcmp(type, "string")) return random_string(c, s);
    if (!strcmp(type, "array")) return random_array(c, root, s);
    if (!strcmp(type, "object")) return random_object(c, root, s);
    return random_number(c, s);
}

static int instance_depth;

static json_t *random_instance(chance *c, const json_t *root, const json_t *s) {
    json_t *found = NULL;
    if (++instance_depth < 12) {
        for (int i = 0; i < 12 && !found; i++) {
            json_t *v = propose(c, root, s);
            if (v && valid(root, s, v))
                found = v;
            else if (v)
                json_decref(v);
        }
    }
    instance_depth--;
    return found;
}

/* ---- the properties */

static void assert_babble(const words_model *w, const json_t *schema, grammar *g, chance *c) {
    matcher *m = words_follow(w, g);
    for (int i = 0; i < 3; i++) {
        json_error_t problem;
        matcher_reset(m);
        buffer text = words_babble(w, m, c, chance_below(c, 60), NULL);
        json_t *v = json_loadb(text.data, text.n, JSON_DECODE_ANY, &problem);
        if (!v || !valid(schema, schema, v))
            fail_msg("%s: %.*s\n%s", v ? "does not fit" : problem.text, (int)(text.n < 300 ? text.n : 300), text.data,
                     json_dumps(schema, JSON_ENCODE_ANY));
        json_decref(v);
        buffer_free(&text);
    }
    matcher_free(m);
}

static void assert_writable(const words_model *w, const json_t *schema, grammar *g, const json_t *v) {
    static const size_t styles[] = {JSON_COMPACT,     0, JSON_INDENT(2), JSON_INDENT(4), JSON_ENSURE_ASCII,
                                    JSON_ESCAPE_SLASH};
    matcher *m = words_follow(w, g);
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++) {
        char *text = json_dumps(v, styles[i] | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        bool escaped = i >= 4; /* patterns and keys are written in one way only */
        if (!escaped && !words_permit(w, m, text, strlen(text), false))
            fail_msg("cannot be written: %s\n%s", text, json_dumps(schema, JSON_ENCODE_ANY));
        free(text);
    }
    matcher_free(m);
}

static void test_random(void **state) {
    (void)state;
    chance c = {11};
    size_t n_instances = 0;
    for (int round = 0; round < 250; round++) {
        json_t *schema = random_schema(&c, 3, false);
        grammar *g = compile(schema);
        const words_model *w = round % 5 ? &tiny : &real;
        assert_babble(w, schema, g, &c);
        for (int i = 0; i < 4; i++) {
            json_t *v = random_instance(&c, schema, schema);
            if (!v) continue;
            assert_writable(w, schema, g, v);
            n_instances++;
            json_decref(v);
        }
        grammar_free(g);
        json_decref(schema);
    }
    print_message("%zu instances\n", n_instances);
    assert_true(n_instances > 500);
}

/* ---- one keyword at a time */

static void test_keywords(void **state) {
    (void)state;
    static const struct {
        const char *schema, *in, *out; /* | between texts */
    } cases[] = {
        {"{'type':'integer','minimum':-5,'maximum':12}", "-5|-4|0|7|12|10", "-6|13|1.0|120|+1|01|-"},
        {"{'type':'integer','exclusiveMinimum':0}", "1|10|123456789012345678", "0|-1|1234567890123456789"},
        {"{'type':'integer','maximum':-10}", "-10|-11|-100", "-9|0|1|10|-1"},
        {"{'type':'integer','multipleOf':7}", "0|7|-14|700|77", "1|15|71"},
        {"{'type':'integer','multipleOf':10,'minimum':15,'maximum':45}", "20|30|40", "10|50|15|25"},
        {"{'type':'integer','format':'int32'}", "2147483647|-2147483648", "2147483648|-2147483649"},
        {"{'type':'number','minimum':0.5,'maximum':2.25}", "0.5|0.50|1|2.25|2.2|0.75|2.250",
         "0.4|2.26|3|2.2501|0|0.49999|1e0"},
        {"{'type':'number','exclusiveMaximum':1,'minimum':0}", "0|0.999|0.0", "1|1.0|-0.1"},
        {"{'type':'number','multipleOf':0.05}", "0.05|1.5|-0.10|3|3.0", "0.01|0.051|1.57"},
        {"{'type':'number','multipleOf':5}", "5|10.0|0", "5.5|5.00|7"},
        {"{'type':'number','minimum':1e2,'maximum':1.5e2}", "100|150.0|149.99", "99|151|1"},
        {"{'type':'number'}", "0|-1.5e+10|1E5|0.1", ".5|1.|1e|01|1e999|--1"},
        {"{'type':['null','boolean']}", "null|true|false", "0|'x'|nul"},
        {"{'type':'string','nullable':true}", "null|'a'", "true"},
        {"{'enum':['a',1,null,{'b':[]}]}", "'a'|1|null|{'b': []}|{'b':[]}", "'b'|2|{}"},
        {"{'enum':['a','bb',1],'maxLength':1}", "'a'|1", "'bb'"},
        {"{'type':'string','enum':['a',1]}", "'a'", "1"},
        {"{'const':'a'}", "'a'", "'b'|'aa'"},
        {"{'type':'string','minLength':2,'maxLength':3}", "'ab'|'\xc3\xa9\xc3\xa9'|'\\\\n\\\\n\\\\n'|'\\\\u00e9x'",
         "'a'|'abcd'|''"},
        {"{'type':'string'}", "''|'\\\\ud83d\\\\ude00'|'\\\\/'", "'\\\\ud83d'|'\\\\u0000'|'\\\\x'|'\t'"},
        {"{'type':'string','pattern':'^a+$'}", "'a'|'aaa'", "''|'ab'|'\\\\u0061'"},
        {"{'type':'string','pattern':'b'}", "'b'|'abc'", "''|'a'"},
        {"{'type':'string','pattern':'^(?:a|b)c?$|^$'}", "''|'ac'|'b'", "'c'|'abc'"},
        {"{'type':'string','pattern':'^\\\\d{2}\\\\.[\\\\w-]$'}", "'12.a'|'12.-'", "'12xa'|'1.a'"},
        {"{'type':'string','pattern':'^[a-c]*$','minLength':2,'maxLength':3}", "'ab'|'abc'", "'a'|'abca'|'xy'"},
        {"{'type':'string','format':'date'}", "'2024-02-29'|'1900-01-31'", "'2023-02-29'|'1900-02-29'|'2024-13-01'"},
        {"{'type':'string','format':'uuid'}", "'123e4567-e89b-12d3-a456-426614174000'", "'123e4567'"},
        {"{'type':'string','format':'email'}", "'a.b@c.org'", "'a@b'|'@c.org'|'a b@c.org'"},
        {"{'type':'string','format':'ipv4'}", "'1.2.3.255'", "'1.2.3.256'|'1.2.3'"},
        {"{'type':'string','format':'uri'}", "'https://a.b/c?d=%20'", "'no uri'"},
        {"{'type':'array','items':{'type':'integer'},'minItems':1,'maxItems':3}", "[1]|[1, 2,3]|[\n  1\n]",
         "[]|[1,2,3,4]|['a']|[1,]|[  1]"},
        {"{'type':'array','prefixItems':[{'const':1},{'const':2}],'items':false}", "[]|[1]|[1,2]", "[2]|[1,2,3]"},
        {"{'type':'array','prefixItems':[{'const':1},{'const':2}],'items':{'const':3},'minItems':2}",
         "[1,2]|[1,2,3,3]", "[1]|[1,2,4]"},
        {"{'type':'object','properties':{'a':{'const':1},'b':{'const':2},'c':{'const':3}},'required':['b']}",
         "{'b':2}|{'a':1,'b':2}|{'a':1,'b':2,'c':3}|{'b':2, 'c': 3}",
         "{}|{'a':1}|{'b':2,'a':1}|{'b':2,'d':1}|{,'b':2}"},
        {"{'type':'object','properties':{'a':{'const':1}},'additionalProperties':{'type':'integer'}}",
         "{}|{'a':1}|{'x':5}|{'a':1,'b':2,'aa':3,'':4}", "{'a':2}|{'x':'y'}|{'x':1,'a':1}"},
        {"{'type':'object','properties':{'a':true},'additionalProperties':false}", "{'a':[1,{'b':null}]}|{}",
         "{'b':1}"},
        {"{'type':'object','minProperties':1,'maxProperties':2,'additionalProperties':{'const':1}}",
         "{'a':1}|{'a':1,'b':1}", "{}|{'a':1,'b':1,'c':1}"},
        {"{'type':'object','required':['z']}", "{'z':1}", "{}|{'y':1}"},
        {"{'$ref':'#/$defs/x~1y','$defs':{'x/y':{'const':5}}}", "5", "6"},
        {"{'type':'object','properties':{'next':{'anyOf':[{'$ref':'#'},{'type':'null'}]}},'required':['next']}",
         "{'next':null}|{'next':{'next':{'next':null}}}", "{}|{'next':1}"},
        {"{'allOf':[{'type':'integer','minimum':3},{'maximum':5}]}", "3|5", "2|6"},
        {"{'allOf':[{'type':'object','properties':{'a':{'const':1}},'required':['a']},{'type':'object','properties':"
         "{'b':{'const':2}},'required':['b']}]}",
         "{'a':1,'b':2}", "{'a':1}|{'b':2}"},
        {"{'anyOf':[{'type':'integer'},{'type':'string','maxLength':1}],'enum':[1,'ab','c',null]}", "1|'c'",
         "'ab'|null"},
        {"{'oneOf':[{'type':'object','properties':{'k':{'const':'a'},'x':{'type':'integer'}},'required':['k','x']},"
         "{'type':'object','properties':{'k':{'const':'b'}},'required':['k']}]}",
         "{'k':'a','x':1}|{'k':'b'}", "{'k':'a'}|{'k':'c'}"},
        {"{'minLength':3}", "'abc'", "'ab'|1"},
        {"true", "1|null|{'a':[true,'x']}", "tru|{a:1}|[1 ,2]"},
        {NULL, NULL, NULL},
    };
    for (size_t i = 0; cases[i].schema; i++) {
        json_t *schema = json_of_quoted(cases[i].schema);
        grammar *g = compile(schema);
        matcher *m = words_follow(&tiny, g);
        for (int in = 0; in < 2; in++) {
            char *texts = strdup(in ? cases[i].in : cases[i].out), *rest = NULL;
            for (char *t = strtok_r(texts, "|", &rest); t; t = strtok_r(NULL, "|", &rest)) {
                size_t n = 0;
                for (char *c = t; *c; c++) { /* ' is a quote, \\ a backslash */
                    if (c[0] == '\\' && c[1] == '\\') c++;
                    t[n++] = *c == '\'' ? '"' : *c;
                }
                if (words_permit(&tiny, m, t, n, false) != in)
                    fail_msg("%s %s %.*s", cases[i].schema, in ? "refuses" : "takes", (int)n, t);
            }
            free(texts);
        }
        matcher_free(m);
        grammar_free(g);
        json_decref(schema);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *schema, *message;
    } cases[] = {
        {"{'type':'thing'}", "#/type: there is no such type"},
        {"[]", "#: must be an object"},
        {"{'properties':{'a':{'items':{'uniqueItems':true}}}}", "#/properties/a/items/uniqueItems: "},
        {"{'patternProperties':{}}", "#/patternProperties: "},
        {"{'not':{}}", "#/not: "},
        {"{'if':{}}", "#/if: "},
        {"{'frobnicate':1}", "#/frobnicate: "},
        {"{'properties':{'a':{'type':'string','format':'ipv6'}}}", "#/properties/a/format: "},
        {"{'type':'string','pattern':'(?=a)'}", "#/pattern: pattern: looking around at byte 2"},
        {"{'type':'string','pattern':'(a)\\\\1'}", "#/pattern: pattern: a back reference"},
        {"{'type':'string','pattern':'^a$','minLength':2}", "#: no string fits"},
        {"{'type':'string','minLength':3,'maxLength':2}", "#/minLength: "},
        {"{'type':'string','minLength':-1}", "#/minLength: must be a count"},
        {"{'type':'integer','minimum':5,'maximum':4}", "#: no number fits"},
        {"{'type':'integer','minimum':'5'}", "#/minimum: must be a number"},
        {"{'type':'number','multipleOf':0}", "#/multipleOf: "},
        {"{'enum':[]}", "#/enum: "},
        {"{'type':'string','enum':[1]}", "#/enum: no value fits"},
        {"{'$ref':'#/$defs/none'}", "#/$ref: leads nowhere"},
        {"{'$ref':'https://example.org/s'}", "#/$ref: leads nowhere"},
        {"{'anyOf':[]}", "#/anyOf: "},
        {"{'oneOf':[{'type':'integer'},{'type':'number'}]}", "#/oneOf: "},
        {"{'oneOf':[{'type':'object','properties':{'a':{}}},{'type':'object','properties':{'b':{}}}]}", "#/oneOf: "},
        {"{'allOf':[{'type':'string'},{'type':'integer'}]}", "no value fits"},
        {"{'type':'object','properties':{'a':false},'required':['a']}", "#/required: "},
        {"{'type':'object','minProperties':3}", "#/minProperties: "},
        {"{'type':'object','properties':{'s':{'$ref':'#'}},'required':['s']}", "never ends"},
        {"{'items':5}", "#/items: must be an object"},
        {NULL, NULL},
    };
    for (size_t i = 0; cases[i].schema; i++) {
        facet_error error = {0};
        grammar *g = (grammar *)&error;
        facet_value *schema = value_of_text(cases[i].schema);
        facet_status status = schema_grammar(&g, schema, &error);
        bool refused = status == FACET_ERROR_UNSUPPORTED || status == FACET_ERROR_FORMAT;
        if (!refused || g || !strstr(error.message, cases[i].message))
            fail_msg("%s: %d %s", cases[i].schema, status, error.message);
        facet_value_free(schema);
    }
}

/* ---- hostile schemas */

static facet_value *nested(const char *key, size_t depth) {
    facet_value *v = facet_value_object();
    for (size_t i = 0; i < depth; i++) {
        facet_value *outer = facet_value_object();
        facet_value_set(outer, key, strlen(key), v);
        v = outer;
    }
    return v;
}

static void assert_bounded(facet_value *schema) {
    facet_error error = {0};
    grammar *g;
    facet_status status = schema_grammar(&g, schema, &error);
    assert_true(status == FACET_OK || status == FACET_ERROR_UNSUPPORTED || status == FACET_ERROR_FORMAT);
    if (status == FACET_OK) {
        const uint64_t *mask;
        matcher *m = words_follow(&tiny, g);
        for (int i = 0; i < 20 && !matcher_finished(m); i++) {
            chance c = {(uint64_t)i};
            status = matcher_mask(m, &mask, &error);
            if (status == FACET_OK) status = matcher_accept(m, words_choose(&tiny, mask, &c, false), &error);
            if (status != FACET_OK) break;
        }
        matcher_free(m);
    }
    grammar_free(g);
    facet_value_free(schema);
}

static void test_hostile(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{'type':'string','minLength':1000000,'maxLength':4000000000}",
        "{'type':'string','pattern':'^(a{1,1000}){1,1000}$'}",
        "{'type':'string','pattern':'^(a|b)*a(a|b){30}$'}",
        "{'type':'string','pattern':'((((((((((x*)*)*)*)*)*)*)*)*)*)*'}",
        "{'type':'array','minItems':1000000,'items':{'type':'array','minItems':1000000}}",
        "{'type':'integer','multipleOf':9973,'minimum':-1e17}",
        "{'type':'number','minimum':-1e300,'maximum':1e-300}",
        "{'allOf':[{'$ref':'#'}]}",
        "{'$ref':'#'}",
        "{'anyOf':[{'$ref':'#'},{'$ref':'#'}]}",
        "{'$defs':{'a':{'anyOf':[{'$ref':'#/$defs/a'},{'$ref':'#/$defs/b'}]},'b':{'allOf':[{'$ref':'#/$defs/a'}]}},"
        "'$ref':'#/$defs/a'}",
        "{'allOf':[{'anyOf':[{'minimum':1},{'minimum':2}]},{'anyOf':[{'minimum':3},{'minimum':4}]},"
        "{'anyOf':[{'minimum':5},{'minimum':6}]},{'anyOf':[{'minimum':7},{'minimum':8}]}]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_bounded(value_of_text(texts[i]));
    assert_bounded(nested("items", 100000));
    assert_bounded(nested("items", 250));
    assert_bounded(nested("additionalProperties", 250));
    facet_value *wide = facet_value_object(), *properties = facet_value_object(), *list = facet_value_array();
    for (int i = 0; i < 3000; i++) {
        char name[20];
        int n = snprintf(name, sizeof name, "p%d", i);
        facet_value_set(properties, name, (size_t)n, facet_value_object());
    }
    for (int i = 0; i < 300; i++) {
        facet_value *branch = facet_value_object();
        facet_value_set(branch, "$ref", 4, facet_value_string("#/anyOf/7", 9));
        facet_value_append(list, branch);
    }
    facet_value_set(wide, "properties", 10, properties);
    facet_value_set(wide, "additionalProperties", 20, facet_value_bool(true));
    facet_value_set(wide, "anyOf", 5, list);
    assert_bounded(wide);
}

/* ---- tools */

static const char tools_text[] =
    "[{'type':'function','function':{'name':'get_weather','parameters':{'type':'object','properties':{'unit':{'enum':"
    "['c','f']},'City':{'type':'string','minLength':1},'days':{'type':'array','items':{'type':'integer'}},'where':"
    "{'type':'object','properties':{'lat':{'type':'number'},'exact':{'type':['boolean','null']}},'required':"
    "['lat']}},'required':['City','where']}}},{'type':'function','function':{'name':'now'}},{'type':'function',"
    "'function':{'name':'set','parameters':{'type':'object','additionalProperties':{'type':'string'}}}}]";

typedef struct calls {
    const json_t *tools;
    size_t n, n_weather;
    const char *only;
} calls;

static void on_event(void *ctx, const facet_reply_event *event) {
    calls *c = ctx;
    if (event->type != FACET_REPLY_TOOL_CALL) fail_msg("not a call: %s", event->text);
    if (c->only) assert_string_equal(event->name, c->only);
    json_t *arguments = json_of_text(event->text, event->n_bytes);
    size_t i;
    json_t *tool;
    bool found = false;
    json_array_foreach(c->tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        if (strcmp(json_string_value(json_object_get(function, "name")), event->name)) continue;
        const json_t *parameters = json_object_get(function, "parameters");
        found = true;
        if (!parameters) assert_int_equal(json_object_size(arguments), 0);
        if (parameters && !valid(parameters, parameters, arguments)) fail_msg("%s: %s", event->name, event->text);
    }
    assert_true(found);
    json_decref(arguments);
    c->n++;
    c->n_weather += !strcmp(event->name, "get_weather");
}

static size_t babble_calls(const words_model *w, const char *choice, bool parallel, calls *c, chance *dice) {
    facet_error error;
    grammar *g;
    facet_value *tools = value_of_text(tools_text);
    json_t *json = json_of_quoted(tools_text);
    *c = (calls){.tools = json, .only = choice};
    assert_ok(tool_grammar(&g, &w->names, tools, choice, parallel, &error), &error);
    matcher *m = words_follow(w, g);
    size_t most = 0;
    for (int i = 0; i < 40; i++) {
        token_list ids = {0};
        facet_reply_parser *p;
        size_t before = c->n;
        matcher_reset(m);
        buffer text = words_babble(w, m, dice, chance_below(dice, parallel ? 500 : 60), &ids);
        assert_ok(facet_reply_parser_new(&p, NULL, tools, on_event, c, &error), &error);
        for (size_t k = 0; k < ids.n; k++) {
            buffer piece = {0};
            vocab_piece(w->v, ids.ids[k], &piece);
            facet_reply_parser_push(p, piece.data, piece.n, vocab_is_control(w->v, ids.ids[k]));
            buffer_free(&piece);
        }
        facet_reply_parser_finish(p);
        facet_reply_parser_free(p);
        if (c->n == before) fail_msg("no call: %.*s", (int)text.n, text.data);
        most = c->n - before > most ? c->n - before : most;
        free(ids.ids);
        buffer_free(&text);
    }
    matcher_free(m);
    grammar_free(g);
    facet_value_free(tools);
    json_decref(json);
    return most;
}

static void test_tools(void **state) {
    (void)state;
    chance dice = {5};
    calls c;
    assert_int_equal(babble_calls(&tiny, "get_weather", false, &c, &dice), 1);
    assert_int_equal(c.n_weather, 40);
    assert_true(babble_calls(&tiny, NULL, true, &c, &dice) > 1);
    assert_true(c.n_weather > 0 && c.n_weather < c.n);
    babble_calls(&real, NULL, false, &c, &dice);
    assert_int_equal(c.n, 40);
    facet_error error;
    grammar *g;
    facet_value *tools = value_of_text(tools_text),
                *bad = value_of_text(
                    "[{'function':{'name':'f','parameters':{'type':'object','properties':{'x':{'not':{}}}}}}]");
    assert_int_equal(tool_grammar(&g, &tiny.names, tools, "none", false, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(tool_grammar(&g, &tiny.names, bad, NULL, false, &error), FACET_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "tool 'f': schema: #/properties/x/not"));
    facet_value_free(tools);
    facet_value_free(bad);
}

/* ---- real generations with the demonstration model */

typedef struct answer {
    char text[4096];
    size_t n;
    size_t n_control;
    facet_reply_parser *parser;
    size_t n_calls, n_thoughts;
    char content[4096];
    char name[64];
} answer;

static void on_reply(void *ctx, const facet_reply_event *event) {
    answer *a = ctx;
    if (event->type == FACET_REPLY_CONTENT) strncat(a->content, event->text, event->n_bytes);
    if (event->type == FACET_REPLY_REASONING) a->n_thoughts++;
    if (event->type != FACET_REPLY_TOOL_CALL) return;
    a->n_calls++;
    snprintf(a->name, sizeof a->name, "%s", event->name);
}

static bool on_token(void *ctx, const facet_token *token) {
    answer *a = ctx;
    assert_true(a->n + token->n_bytes < sizeof a->text);
    memcpy(a->text + a->n, token->text, token->n_bytes + 1);
    a->n += token->n_bytes;
    a->n_control += token->control;
    assert_int_equal(facet_reply_parser_push(a->parser, token->text, token->n_bytes, token->control), FACET_OK);
    return true;
}

typedef struct engine {
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
} engine;

static engine engine_open(void) {
    engine e;
    facet_error error;
    facet_engine_options options;
    facet_engine_options_defaults(&options);
    options.n_threads = 2;
    options.max_context = 1024;
    assert_ok(facet_model_open(&e.model, TINY, NULL, &error), &error);
    assert_ok(facet_engine_new(&e.engine, e.model, &options, &error), &error);
    assert_ok(facet_session_new(&e.session, e.engine, NULL, &error), &error);
    return e;
}

static void engine_close(engine *e) {
    facet_session_free(e->session);
    facet_engine_free(e->engine);
    facet_model_free(e->model);
}

static facet_stop_reason ask(engine *e, const char *question, const facet_value *tools, bool think,
                             const facet_generation *g, answer *a) {
    facet_error error;
    facet_chat chat;
    facet_prompt *prompt;
    size_t n;
    facet_generation_result result = {.size = sizeof result};
    facet_value *messages = facet_value_array(), *message = facet_value_object();
    *a = (answer){.text = ""};
    facet_value_set(message, "role", 4, facet_value_string("user", 4));
    facet_value_set(message, "content", 7, facet_value_string(question, strlen(question)));
    facet_value_append(messages, message);
    facet_chat_defaults(&chat);
    chat.messages = messages;
    chat.tools = tools;
    chat.enable_thinking = think;
    assert_ok(facet_chat_render(e->model, &chat, &prompt, &error), &error);
    assert_ok(facet_reply_parser_new(&a->parser, prompt, tools, on_reply, a, &error), &error);
    const int32_t *ids = facet_prompt_tokens(prompt, &n);
    assert_ok(facet_session_sync(e->session, ids, n, NULL, NULL, NULL, &error), &error);
    assert_ok(facet_session_generate(e->session, g, on_token, a, &result, &error), &error);
    facet_reply_parser_finish(a->parser);
    facet_reply_parser_free(a->parser);
    facet_prompt_free(prompt);
    facet_value_free(messages);
    return result.stop_reason;
}

static void test_generate_json(void **state) {
    (void)state;
    static const char text[] = "{'type':'object','properties':{'name':{'type':'string','maxLength':40},'age':{'type':"
                               "'integer','minimum':0,'maximum':150}},'required':['name','age']}";
    engine e = engine_open();
    facet_error error;
    facet_grammar *form;
    facet_value *schema = value_of_text(text);
    json_t *json = json_of_quoted(text);
    assert_ok(facet_grammar_from_schema(&form, e.model, schema, &error), &error);
    facet_value_free(schema);
    for (int round = 0; round < 6; round++) {
        facet_generation g;
        answer a;
        json_error_t problem;
        facet_generation_defaults(&g);
        g.grammar = form;
        g.sampling.temperature = round ? 1.5f : 0;
        g.sampling.seed = (uint64_t)round;
        g.sampling.repeat_penalty = round % 2 ? 1.2f : 1;
        g.grammar_after_thought = round >= 3;
        facet_stop_reason stop =
            ask(&e, round % 2 ? "Tell me a story." : "Give me a JSON object about Anna.", NULL, round >= 3, &g, &a);
        assert_int_equal(stop, FACET_STOP_END);
        json_t *v = json_loads(a.content, 0, &problem);
        if (!v || !valid(json, json, v)) fail_msg("%s", a.text);
        if (round < 3) assert_int_equal(a.n_control, 0);
        json_decref(v);
    }
    json_decref(json);
    facet_grammar_free(form);
    engine_close(&e);
}

static void test_generate_calls(void **state) {
    (void)state;
    engine e = engine_open();
    facet_error error;
    facet_grammar *form;
    facet_value *tools = value_of_text(tools_text);
    assert_ok(facet_grammar_from_tools(&form, e.model, tools, "get_weather", false, &error), &error);
    for (int round = 0; round < 3; round++) {
        facet_generation g;
        answer a;
        facet_generation_defaults(&g);
        g.grammar = form;
        g.sampling.temperature = (float)round;
        g.max_tokens = 150;
        g.grammar_after_thought = true;
        facet_stop_reason stop = ask(&e, "What is 7 + 5?", tools, round & 1, &g, &a);
        if (stop == FACET_STOP_LENGTH || stop == FACET_STOP_CONTEXT) continue; /* a long city, at high temperatures */
        assert_int_equal(stop, FACET_STOP_END);
        if (a.n_calls != 1) fail_msg("%s", a.text);
        assert_string_equal(a.name, "get_weather");
        assert_string_equal(a.content, "");
    }
    facet_grammar_free(form);
    facet_value_free(tools);
    engine_close(&e);
}

/* A prompt may have opened the thought; and one that was finished in the prompt leaves none to come. */
static void test_thoughts(void **state) {
    (void)state;
    static const struct {
        const char *prompt;
        bool thought_may_come, inside;
    } cases[] = {{"<|turn>user\nhello<turn|>\n<|turn>model\n", true, false},
                 {"<|turn>model\n<|channel>thought\nso", true, true},
                 {"<|turn>model\n<|channel>thought\n<channel|>", false, false}};
    engine e = engine_open();
    facet_error error;
    facet_grammar *form;
    assert_ok(facet_grammar_from_gbnf(&form, e.model, "root ::= \"yes\"", 14, &error), &error);
    for (size_t i = 0; i < 3; i++) {
        int32_t *ids;
        size_t n;
        answer a = {.text = ""};
        facet_generation g;
        facet_generation_result result = {.size = sizeof result};
        facet_logit_bias bias[] = {{facet_token_find(e.model, "<|channel>", 10), 1000},
                                   {facet_token_find(e.model, "<channel|>", 10), 500}};
        facet_generation_defaults(&g);
        g.grammar = form;
        g.grammar_after_thought = true;
        g.sampling.temperature = 0;
        g.sampling.bias = bias; /* the marks of a thought come wherever they may */
        g.sampling.n_bias = 2;
        assert_ok(facet_tokenize(e.model, cases[i].prompt, strlen(cases[i].prompt), true, &ids, &n, &error), &error);
        assert_ok(facet_reply_parser_new(&a.parser, NULL, NULL, on_reply, &a, &error), &error);
        assert_ok(facet_session_sync(e.session, ids, n, NULL, NULL, NULL, &error), &error);
        assert_ok(facet_session_generate(e.session, &g, on_token, &a, &result, &error), &error);
        assert_int_equal(result.stop_reason, FACET_STOP_END);
        assert_string_equal(a.text, cases[i].inside             ? "<channel|>yes"
                                    : cases[i].thought_may_come ? "<|channel><channel|>yes"
                                                                : "yes");
        facet_reply_parser_free(a.parser);
        facet_free(ids);
    }
    facet_grammar_free(form);
    engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),         cmocka_unit_test(test_keywords), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hostile),        cmocka_unit_test(test_tools),    cmocka_unit_test(test_generate_json),
        cmocka_unit_test(test_generate_calls), cmocka_unit_test(test_thoughts),
    };
    return cmocka_run_group_tests(tests, open_words, close_words);
}
