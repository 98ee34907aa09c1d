/* The notation of calls, read a byte at a time. See call.h.
 *
 * Values: strings between quote tokens, {..}, [..], and bare words: numbers, true, false, null, else strings. White
 * space around bare words, before values and after them does not count. A key ends at the first ':', unless a longer
 * name is declared for the object and stands there; it may hold any other byte, so it is taken as it is, but where
 * only its trimmed form is declared that one is meant. A key may also stand between quote tokens. */
#include "chat/call.h"

#include "base/utf8.h"

static const char prefix[] = "call:";

void call_free(call *c) {
    facet_value_free(c->arguments);
    buffer_free(&c->name);
    buffer_free(&c->key);
    buffer_free(&c->text);
    *c = (call){0};
}

void call_begin(call *c, const facet_value *tools) {
    facet_value_free(c->arguments);
    c->arguments = NULL;
    c->state = CALL_PREFIX;
    c->tools = tools;
    c->depth = 0;
    buffer_clear(&c->name);
    buffer_clear(&c->key);
    buffer_clear(&c->text);
}

static bool is_space(char b) { return b == ' ' || b == '\n' || b == '\t' || b == '\r'; }

static void trim(const char **text, size_t *n) {
    while (*n && is_space(**text)) ++*text, --*n;
    while (*n && is_space((*text)[*n - 1])) --*n;
}

static call_result enter(call *c, call_state state) {
    c->state = state;
    return CALL_GOES_ON;
}

/* ---- containers */

static call_frame *top(call *c) { return &c->frames[c->depth - 1]; }
static bool in_object(call *c) { return facet_value_typeof(top(c)->container) == FACET_VALUE_OBJECT; }

static const facet_value *properties_of(const facet_value *schema) { return facet_value_get(schema, "properties"); }

/* What is declared for the value that comes now. */
static const facet_value *member_schema(call *c) {
    if (!in_object(c)) return facet_value_get(top(c)->schema, "items");
    return c->key.n ? value_get(properties_of(top(c)->schema), c->key.data, c->key.n) : NULL;
}

/* Hands a new value to the container at hand. */
static call_result put(call *c, facet_value *item) {
    if (!item) return CALL_NO_MEMORY;
    facet_status status = in_object(c) ? facet_value_set(top(c)->container, c->key.data, c->key.n, item)
                                       : facet_value_append(top(c)->container, item);
    if (status == FACET_ERROR_MEMORY) return CALL_NO_MEMORY;
    return status == FACET_OK ? CALL_GOES_ON : CALL_MALFORMED;
}

static call_result put_value(call *c, facet_value *item) {
    call_result result = put(c, item);
    return result == CALL_GOES_ON ? enter(c, CALL_AFTER_VALUE) : result;
}

static void push(call *c, facet_value *container, const facet_value *schema) {
    c->frames[c->depth++] = (call_frame){container, schema};
    buffer_clear(&c->key);
    c->state = facet_value_typeof(container) == FACET_VALUE_OBJECT ? CALL_KEY : CALL_VALUE;
}

static call_result open_container(call *c, bool is_object) {
    if (c->depth == CALL_MAX_DEPTH) return CALL_MALFORMED;
    const facet_value *schema = member_schema(c);
    facet_value *container = is_object ? facet_value_object() : facet_value_array();
    call_result result = put(c, container);
    if (result == CALL_GOES_ON) push(c, container, schema);
    return result;
}

static call_result close_container(call *c) { return enter(c, --c->depth ? CALL_AFTER_VALUE : CALL_END); }

/* ---- the name */

static call_result open_arguments(call *c) {
    const facet_value *parameters = NULL;
    if (c->name.n == 0 || utf8_invalid(c->name.data, c->name.n) != c->name.n) return CALL_MALFORMED;
    for (size_t i = 0; i < facet_value_count(c->tools) && !parameters; i++) {
        const facet_value *function = facet_value_get(facet_value_at(c->tools, i), "function");
        size_t n;
        const char *name = facet_value_text(facet_value_get(function, "name"), &n);
        if (name && n == c->name.n && memcmp(name, c->name.data, n) == 0) {
            parameters = facet_value_get(function, "parameters");
        }
    }
    c->arguments = facet_value_object();
    if (!c->arguments) return CALL_NO_MEMORY;
    push(c, c->arguments, parameters);
    return CALL_GOES_ON;
}

/* ---- keys */

/* The longest declared name that goes on after the key and its ':', or 0. */
static size_t longest_name(call *c) {
    const facet_value *properties = properties_of(top(c)->schema);
    size_t longest = 0;
    for (size_t i = 0; i < facet_value_count(properties); i++) {
        size_t n;
        const char *name = facet_value_key(properties, i, &n);
        if (!name || n <= c->key.n || n > CALL_MAX_LONG_NAME || n <= longest) continue;
        if (name[c->key.n] == ':' && (c->key.n == 0 || memcmp(name, c->key.data, c->key.n) == 0)) longest = n;
    }
    return longest;
}

/* The end of the key among the bytes looked at: the longest declared name that a ':' follows, else the first ':'. */
static size_t key_length(call *c) {
    const facet_value *properties = properties_of(top(c)->schema);
    for (size_t n = c->key.n; n-- > c->key_end + 1;) {
        if (c->key.data[n] == ':' && value_get(properties, c->key.data, n)) return n;
    }
    return c->key_end;
}

static call_result end_key(call *c) {
    const facet_value *properties = properties_of(top(c)->schema);
    const char *key = c->key.data ? c->key.data : "";
    size_t n = c->key.n;
    if (value_get(properties, key, n)) return enter(c, CALL_VALUE);
    trim(&key, &n);
    if (n < c->key.n && value_get(properties, key, n)) {
        memmove(c->key.data, key, n);
        c->key.n = n;
        c->key.data[n] = '\0';
    }
    return enter(c, CALL_VALUE);
}

static call_result step(call *c, char b);

/* Ends a long key and reads again what was looked at beyond it. */
static call_result resolve_key(call *c) {
    char rest[CALL_MAX_LONG_NAME + 2];
    size_t end = key_length(c), n = c->key.n - end - 1;
    memcpy(rest, c->key.data + end + 1, n);
    c->key.n = end;
    c->key.data[end] = '\0';
    call_result result = end_key(c);
    for (size_t i = 0; i < n && result == CALL_GOES_ON; i++) result = step(c, rest[i]);
    return result;
}

static call_result key_byte(call *c, char b) {
    if (b == '}' && facet_value_count(top(c)->container) == 0) {
        const char *key = c->key.data;
        size_t n = c->key.n;
        trim(&key, &n);
        if (n == 0) return close_container(c);
    }
    if (b == ':') {
        size_t longest = longest_name(c);
        if (longest == 0) return end_key(c);
        c->key_end = c->key.n;
        c->key_limit = longest + 1;
        c->state = CALL_KEY_LONG;
    }
    return buffer_byte(&c->key, b) ? CALL_GOES_ON : CALL_NO_MEMORY;
}

static call_result long_key_byte(call *c, char b) {
    if (!buffer_byte(&c->key, b)) return CALL_NO_MEMORY;
    return c->key.n < c->key_limit ? CALL_GOES_ON : resolve_key(c);
}

/* ---- values */

static call_result end_text(call *c) {
    if (utf8_invalid(c->text.data, c->text.n) != c->text.n) return CALL_MALFORMED;
    return put_value(c, facet_value_string(c->text.data, c->text.n));
}

static bool word_is(const char *word, size_t n, const char *text) {
    return n == strlen(text) && memcmp(word, text, n) == 0;
}

static call_result end_word(call *c) {
    const char *word = c->text.data;
    size_t n = c->text.n;
    trim(&word, &n);
    if (n == 0 || utf8_invalid(word, n) != n) return CALL_MALFORMED;
    if (word_is(word, n, "true") || word_is(word, n, "false")) return put_value(c, facet_value_bool(n == 4));
    if (word_is(word, n, "null")) return put_value(c, facet_value_null());
    bool is_number = value_number_valid(word, n);
    return put_value(c, is_number ? facet_value_number(word, n) : facet_value_string(word, n));
}

static call_result after_value_byte(call *c, char b) {
    if (is_space(b)) return CALL_GOES_ON;
    if (b == (in_object(c) ? '}' : ']')) return close_container(c);
    if (b != ',') return CALL_MALFORMED;
    buffer_clear(&c->key);
    return enter(c, in_object(c) ? CALL_KEY : CALL_VALUE);
}

static call_result word_byte(call *c, char b) {
    if (b != ',' && b != (in_object(c) ? '}' : ']')) {
        return buffer_byte(&c->text, b) ? CALL_GOES_ON : CALL_NO_MEMORY;
    }
    call_result result = end_word(c);
    return result == CALL_GOES_ON ? after_value_byte(c, b) : result;
}

static call_result value_byte(call *c, char b) {
    if (is_space(b)) return CALL_GOES_ON;
    if (b == '{' || b == '[') return open_container(c, b == '{');
    if (b == ']' && !in_object(c) && facet_value_count(top(c)->container) == 0) return close_container(c);
    buffer_clear(&c->text);
    c->state = CALL_WORD;
    return word_byte(c, b);
}

/* ---- one byte */

static call_result prefix_byte(call *c, char b) {
    if (b != prefix[c->key.n]) return CALL_MALFORMED;
    if (c->key.n + 2 == sizeof prefix) return enter(c, CALL_NAME);
    return buffer_byte(&c->key, b) ? CALL_GOES_ON : CALL_NO_MEMORY;
}

static call_result append(buffer *to, char b) { return buffer_byte(to, b) ? CALL_GOES_ON : CALL_NO_MEMORY; }

static call_result step(call *c, char b) {
    switch (c->state) {
    case CALL_PREFIX: return prefix_byte(c, b);
    case CALL_NAME: return b == '{' ? open_arguments(c) : append(&c->name, b);
    case CALL_KEY: return key_byte(c, b);
    case CALL_KEY_LONG: return long_key_byte(c, b);
    case CALL_KEY_QUOTED: return append(&c->key, b);
    case CALL_KEY_CLOSED: return b == ':' ? enter(c, CALL_VALUE) : is_space(b) ? CALL_GOES_ON : CALL_MALFORMED;
    case CALL_VALUE: return value_byte(c, b);
    case CALL_STRING: return append(&c->text, b);
    case CALL_WORD: return word_byte(c, b);
    case CALL_AFTER_VALUE: return after_value_byte(c, b);
    case CALL_END: return is_space(b) ? CALL_GOES_ON : CALL_MALFORMED;
    }
    return CALL_MALFORMED;
}

call_result call_bytes(call *c, const char *text, size_t n, size_t *used) {
    call_result result = CALL_GOES_ON;
    for (*used = 0; *used < n; ++*used) {
        if (c->state == CALL_STRING) { /* only a token ends it */
            result = buffer_append(&c->text, text + *used, n - *used) ? CALL_GOES_ON : CALL_NO_MEMORY;
            *used = n;
            return result;
        }
        result = step(c, text[*used]);
        if (result != CALL_GOES_ON) return result;
    }
    return result;
}

bool call_in_quotes(const call *c) { return c->state == CALL_STRING || c->state == CALL_KEY_QUOTED; }

/* ---- tokens */

static call_result quote(call *c) {
    const char *key = c->key.data;
    size_t n = c->key.n;
    switch (c->state) {
    case CALL_KEY:
        trim(&key, &n);
        buffer_clear(&c->key);
        return n ? CALL_MALFORMED : enter(c, CALL_KEY_QUOTED);
    case CALL_KEY_QUOTED: return enter(c, CALL_KEY_CLOSED);
    case CALL_VALUE: buffer_clear(&c->text); return enter(c, CALL_STRING);
    case CALL_STRING: return end_text(c);
    default: return CALL_MALFORMED;
    }
}

call_result call_mark(call *c, mark m) {
    if (c->state == CALL_KEY_LONG) {
        call_result result = resolve_key(c);
        if (result != CALL_GOES_ON) return result;
        return call_mark(c, m);
    }
    if (m == MARK_QUOTE) return quote(c);
    return m == MARK_CALL_CLOSE && c->state == CALL_END ? CALL_COMPLETE : CALL_MALFORMED;
}
