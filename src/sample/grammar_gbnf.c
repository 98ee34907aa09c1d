/* GBNF: the notation of grammars that llama.cpp documents (grammars/README.md there). Rules `name ::= ...`; literals,
 * classes, '.', groups, '|', the counts * + ? {m} {m,} {m,n}, comments from '#' to the end of the line; <spelling>
 * and
 * <[id]> for one token. A rule ends at the end of its line, but inside a group and after '|' and '::=' lines go on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sample/grammar.h"

enum { MAX_TEXT_BYTES = 1 << 20, MAX_GROUPS = 200 };

typedef struct parser {
    grammar_builder b;
    const grammar_vocab *vocab;
    const char *text;
    size_t n, at;
    facet_error *err;
    facet_status status;
    uint32_t *slots; /* 1 + rule, found by name */
    size_t n_slots;
    code_range *ranges; /* of the class at hand */
    size_t n_ranges, ranges_capacity;
} parser;

static void fail_at(parser *p, size_t position, const char *what) {
    if (p->status != FACET_OK) return;
    size_t line = 1;
    for (size_t i = 0; i < position && i < p->n; i++) line += p->text[i] == '\n';
    p->status =
        error_at(p->err, FACET_ERROR_FORMAT, position, "grammar: line %zu, byte %zu: %s", line, position, what);
}
static void fail(parser *p, const char *what) { fail_at(p, p->at, what); }

static bool more(const parser *p) { return p->status == FACET_OK && p->at < p->n; }
static char peek(const parser *p) { return p->at < p->n ? p->text[p->at] : '\0'; }

static bool take(parser *p, const char *what) {
    size_t n = strlen(what);
    if (p->status != FACET_OK || p->n - p->at < n || memcmp(p->text + p->at, what, n) != 0) return false;
    p->at += n;
    return true;
}

static void skip_space(parser *p, bool lines) {
    for (; more(p); p->at++) {
        char c = peek(p);
        if (c == '#') {
            while (p->at + 1 < p->n && p->text[p->at + 1] != '\n') p->at++;
        } else if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) {
            return;
        }
    }
}

/* ---- names */

static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static size_t name_slot(const parser *p, const char *name, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)name[i]) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h >> 32) & (p->n_slots - 1);
    for (; p->slots[at]; at = (at + 1) & (p->n_slots - 1)) {
        const grammar_rule *r = &p->b.rules[p->slots[at] - 1];
        if (r->name_bytes == n && memcmp(p->b.text.data + r->name, name, n) == 0) break;
    }
    return at;
}

static bool more_slots(parser *p) {
    size_t n = p->n_slots ? p->n_slots * 2 : 64;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots) {
        p->b.failed = true;
        return false;
    }
    free(p->slots);
    p->slots = slots;
    p->n_slots = n;
    for (uint32_t i = 0; i < p->b.n_rules; i++) {
        const grammar_rule *r = &p->b.rules[i];
        p->slots[name_slot(p, p->b.text.data + r->name, r->name_bytes)] = i + 1;
    }
    return true;
}

static uint32_t name(parser *p) {
    size_t start = p->at;
    while (more(p) && in_name(peek(p))) p->at++;
    size_t n = p->at - start;
    if (n == 0) fail(p, "a name is missing");
    if (p->status != FACET_OK || grammar_builder_failed(&p->b)) return 0;
    if (p->n_slots < 2 * (p->b.n_rules + 1) && !more_slots(p)) return 0;
    size_t at = name_slot(p, p->text + start, n);
    if (p->slots[at]) return p->slots[at] - 1;
    uint32_t rule = grammar_rule_new(&p->b, p->text + start, n, start);
    p->slots[at] = rule + 1;
    return rule;
}

/* ---- characters */

static uint32_t hex(parser *p, size_t n) {
    uint32_t code = 0;
    for (size_t i = 0; i < n; i++, p->at++) {
        char c = peek(p);
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) fail(p, "a hexadecimal digit is missing");
        code = code << 4 | (uint32_t)(digit & 15);
    }
    if (code > CODE_MAX || (code >= 0xd800 && code <= 0xdfff)) fail(p, "no such character");
    return code;
}

static uint32_t escape(parser *p) {
    char c = peek(p);
    p->at++;
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'x': return hex(p, 2);
    case 'u': return hex(p, 4);
    case 'U': return hex(p, 8);
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^': return (uint8_t)c;
    default:
        p->at--;
        fail(p, "an escape that is not known");
        return 0;
    }
}

static uint32_t character(parser *p) {
    uint32_t code = 0;
    if (take(p, "\\")) return escape(p);
    size_t step = more(p) ? utf8_decode(p->text + p->at, p->n - p->at, &code) : 0;
    if (step == 0) fail(p, more(p) ? "not UTF-8" : "the text ends here");
    p->at += step;
    return code;
}

static expr literal(parser *p) {
    buffer text = {0};
    char bytes[4];
    while (more(p) && peek(p) != '"') {
        uint32_t code = character(p);
        if (p->status == FACET_OK && !buffer_append(&text, bytes, utf8_encode(code, bytes))) p->b.failed = true;
    }
    if (!take(p, "\"")) fail(p, "a '\"' is missing");
    expr e = expr_bytes(&p->b, text.n ? text.data : "", text.n);
    buffer_free(&text);
    return e;
}

static void add_range(parser *p, uint32_t lo, uint32_t hi) {
    if (hi < lo) fail(p, "a range that does not ascend");
    if (p->n_ranges == p->ranges_capacity) {
        size_t capacity = p->ranges_capacity ? p->ranges_capacity * 2 : 16;
        code_range *bigger = realloc(p->ranges, capacity * sizeof *bigger);
        if (!bigger) {
            p->b.failed = true;
            return;
        }
        p->ranges = bigger;
        p->ranges_capacity = capacity;
    }
    p->ranges[p->n_ranges++] = (code_range){lo, hi};
}

static expr class(parser *p) {
    bool negate = take(p, "^");
    size_t start = p->at;
    p->n_ranges = 0;
    while (more(p) && peek(p) != ']') {
        uint32_t lo = character(p), hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->n && p->text[p->at + 1] != ']') {
            p->at++;
            hi = character(p);
        }
        add_range(p, lo, hi);
    }
    if (!take(p, "]")) fail(p, "a ']' is missing");
    if (p->n_ranges == 0 && !negate) fail_at(p, start, "a class without characters");
    return expr_class(&p->b, p->ranges, p->n_ranges, negate);
}

static expr any_character(parser *p) { return expr_class(&p->b, NULL, 0, true); }

/* ---- tokens */

static uint32_t number(parser *p) {
    uint64_t n = 0;
    if (peek(p) < '0' || peek(p) > '9') fail(p, "a number is missing");
    for (; peek(p) >= '0' && peek(p) <= '9' && n < UINT32_MAX; p->at++) n = n * 10 + (uint64_t)(peek(p) - '0');
    if (n >= UINT32_MAX) fail(p, "a number that is too high");
    return (uint32_t)n;
}

/* <[id]>, or the spelling of a token, which begins with '<' and ends with '>'. */
static expr token(parser *p, size_t start) {
    int32_t id = -1;
    if (take(p, "[")) {
        uint32_t n = number(p);
        if (!take(p, "]>")) fail(p, "a ']>' is missing");
        if (n < (uint32_t)p->vocab->n_vocab) id = (int32_t)n;
    } else {
        while (more(p) && peek(p) != '>') p->at++;
        if (!take(p, ">")) fail_at(p, start, "a '>' is missing");
        if (p->status == FACET_OK) id = p->vocab->find(p->vocab->ctx, p->text + start, p->at - start);
    }
    if (id < 0) fail_at(p, start, "the vocabulary has no such token");
    return expr_token(&p->b, id);
}

/* ---- rules */

static expr alternatives(parser *p, size_t depth);

static expr group(parser *p, size_t depth) {
    if (depth >= MAX_GROUPS) fail(p, "too many nested groups");
    expr e = p->status == FACET_OK ? alternatives(p, depth + 1) : 0;
    if (!take(p, ")")) fail(p, "a ')' is missing");
    return e;
}

/* One thing without its count; false where a sequence ends. */
static bool element(parser *p, size_t depth, expr *out) {
    size_t start = p->at;
    if (take(p, "\""))
        *out = literal(p);
    else if (take(p, "["))
        *out = class(p);
    else if (take(p, "("))
        *out = group(p, depth);
    else if (take(p, "."))
        *out = any_character(p);
    else if (take(p, "<"))
        *out = token(p, start);
    else if (more(p) && in_name(peek(p)))
        *out = expr_rule(&p->b, name(p));
    else
        return false;
    return p->status == FACET_OK;
}

/* After '{'. */
static void count(parser *p, uint32_t *min, uint32_t *max) {
    size_t start = p->at;
    skip_space(p, false);
    *min = peek(p) == ',' ? 0 : number(p);
    *max = *min;
    skip_space(p, false);
    if (take(p, ",")) {
        skip_space(p, false);
        *max = peek(p) == '}' ? EXPR_NO_MAX : number(p);
        skip_space(p, false);
    }
    if (!take(p, "}")) fail(p, "a '}' is missing");
    if (*max < *min) fail_at(p, start, "a count that does not ascend");
}

static expr counted(parser *p, expr e) {
    for (;;) {
        uint32_t min = 0, max = EXPR_NO_MAX;
        if (take(p, "+"))
            min = 1;
        else if (take(p, "?"))
            max = 1;
        else if (take(p, "{"))
            count(p, &min, &max);
        else if (!take(p, "*"))
            return e;
        e = expr_repeat(&p->b, e, min, max);
    }
}

static expr sequence(parser *p, size_t depth) {
    expr all = expr_empty(&p->b), one;
    for (;;) {
        skip_space(p, depth > 0);
        if (!element(p, depth, &one)) return all;
        all = expr_seq(&p->b, all, counted(p, one));
    }
}

static expr alternatives(parser *p, size_t depth) {
    expr all = sequence(p, depth);
    while (take(p, "|")) {
        skip_space(p, true);
        all = expr_alt(&p->b, all, sequence(p, depth));
    }
    return all;
}

static void rule(parser *p) {
    size_t start = p->at;
    uint32_t id = name(p);
    skip_space(p, false);
    if (!take(p, "::=")) fail(p, "a '::=' is missing");
    skip_space(p, true);
    expr body = alternatives(p, 0);
    take(p, "\r");
    if (more(p) && !take(p, "\n")) fail(p, "this is no part of a rule");
    if (p->status != FACET_OK || grammar_builder_failed(&p->b)) return;
    if (p->b.rules[id].defined) fail_at(p, start, "a rule of this name is there already");
    grammar_rule_define(&p->b, id, body);
}

static facet_status parse(parser *p, grammar **out) {
    uint32_t root = grammar_rule_new(&p->b, "root", 4, 0);
    for (skip_space(p, true); more(p) && !grammar_builder_failed(&p->b); skip_space(p, true)) rule(p);
    if (p->b.failed || p->b.text.failed) return error_memory(p->err, p->n); /* whatever it looked like */
    FACET_TRY(p->status);
    return grammar_compile(out, &p->b, root, p->err);
}

facet_status grammar_parse_gbnf(grammar **out, const grammar_vocab *vocab, const char *text, size_t n,
                                facet_error *err) {
    *out = NULL;
    if (n > MAX_TEXT_BYTES)
        return error_set(err, FACET_ERROR_UNSUPPORTED, "grammar: longer than %d bytes", MAX_TEXT_BYTES);
    parser p = {.vocab = vocab, .text = text, .n = n, .err = err};
    facet_status status = parse(&p, out);
    grammar_builder_free(&p.b);
    free(p.slots);
    free(p.ranges);
    return status;
}
