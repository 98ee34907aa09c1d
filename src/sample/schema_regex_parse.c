/* ECMAScript patterns: from text to a tree. See schema_regex.h. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sample/schema_regex.h"

enum {
    MAX_GROUPS = 64, /* nested */
    MAX_COUNT = 1 << 14
};

uint32_t regex_tree(regex *r, tree t) {
    if (r->n_trees >= REGEX_MAX_NODES) regex_fail(r, "it is too long");
    if (r->status != FACET_OK || !regex_room(r, (void **)&r->trees, r->n_trees, &r->trees_capacity, sizeof t))
        return 0;
    r->trees[r->n_trees] = t;
    return (uint32_t)r->n_trees++;
}

static void add_range(regex *r, uint32_t lo, uint32_t hi) {
    if (regex_room(r, (void **)&r->ranges, r->n_ranges, &r->ranges_capacity, sizeof *r->ranges))
        r->ranges[r->n_ranges++] = (code_range){lo, hi};
}

/* The ranges from `first` on become a class. */
static uint32_t class_tree(regex *r, size_t first, bool negate) {
    if (r->status != FACET_OK) return 0;
    size_t n;
    code_range *sorted = lang_normalise(r->ranges + first, r->n_ranges - first, negate, &n);
    if (!sorted) {
        r->status = error_memory(r->err, n);
        return 0;
    }
    r->n_ranges = first;
    for (size_t i = 0; i < n; i++) add_range(r, sorted[i].lo, sorted[i].hi);
    free(sorted);
    return regex_tree(r, (tree){.kind = T_CLASS, .a = (uint32_t)first, .b = (uint32_t)n});
}

static bool more(const regex *r) { return r->status == FACET_OK && r->at < r->n; }
static char peek(const regex *r) { return r->at < r->n ? r->text[r->at] : '\0'; }
static bool take(regex *r, char c) {
    if (!more(r) || r->text[r->at] != c) return false;
    r->at++;
    return true;
}

static uint32_t character(regex *r) {
    uint32_t code = 0;
    size_t step = more(r) ? utf8_decode(r->text + r->at, r->n - r->at, &code) : 0;
    if (step == 0) regex_fail(r, "a character is missing");
    r->at += step;
    return code;
}

static const code_range digits[] = {{'0', '9'}};
static const code_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const code_range space[] = {{9, 13},          {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680},
                                   {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                                   {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const code_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

static void add_ranges(regex *r, const code_range *list, size_t n, bool negate) {
    size_t n_all;
    code_range *all = lang_normalise(list, n, negate, &n_all);
    if (!all && r->status == FACET_OK) r->status = error_memory(r->err, n);
    for (size_t i = 0; all && i < n_all; i++) add_range(r, all[i].lo, all[i].hi);
    free(all);
}

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* \d \w \s and their opposites. */
static bool class_escape(regex *r, char c) {
    bool negate = c == 'D' || c == 'W' || c == 'S';
    switch (c) {
    case 'd':
    case 'D': add_ranges(r, digits, COUNT(digits), negate); return true;
    case 'w':
    case 'W': add_ranges(r, word, COUNT(word), negate); return true;
    case 's':
    case 'S': add_ranges(r, space, COUNT(space), negate); return true;
    default: return false;
    }
}

static uint32_t hex_code(regex *r, size_t n_digits) {
    uint32_t code = 0;
    for (size_t i = 0; i < n_digits; i++) {
        char c = peek(r);
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) {
            regex_fail(r, "a hexadecimal digit is missing");
            return 0;
        }
        code = code << 4 | (uint32_t)digit;
        r->at++;
    }
    return code;
}

static uint32_t unicode_escape(regex *r) {
    if (!take(r, '{')) {
        uint32_t high = hex_code(r, 4);
        if (high < 0xd800 || high > 0xdbff || peek(r) != '\\') return high;
        r->at++;
        if (!take(r, 'u')) regex_fail(r, "half a character");
        uint32_t low = hex_code(r, 4);
        if (low < 0xdc00 || low > 0xdfff) regex_fail(r, "half a character");
        return 0x10000 + ((high - 0xd800) << 10) + ((low - 0xdc00) & 0x3ff);
    }
    size_t n = 0;
    while (r->at + n < r->n && r->text[r->at + n] != '}') n++;
    uint32_t code = n >= 1 && n <= 6 ? hex_code(r, n) : CODE_MAX + 1;
    if (code > CODE_MAX || !take(r, '}')) regex_fail(r, "no such character");
    return code;
}

/* After the backslash: the escape of one character. */
static uint32_t character_escape(regex *r) {
    char c = peek(r);
    static const char names[] = "tnvfr0", codes[] = "\t\n\v\f\r";
    const char *name = c ? strchr(names, c) : NULL;
    if (name) {
        r->at++;
        return (uint8_t)codes[name - names];
    }
    if (take(r, 'x')) return hex_code(r, 2);
    if (take(r, 'u')) return unicode_escape(r);
    if ((c >= '1' && c <= '9') || c == 'k') regex_fail(r, "a back reference");
    if (c == 'b' || c == 'B') regex_fail(r, "a word border");
    if (c == 'p' || c == 'P') regex_fail(r, "a Unicode property");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) regex_fail(r, "an escape that is not known");
    return character(r);
}

/* One end of a range in a class; false where it was \d or its like. */
static bool class_end(regex *r, uint32_t *code) {
    if (!take(r, '\\')) {
        *code = character(r);
        return true;
    }
    if (class_escape(r, peek(r))) {
        r->at++;
        return false;
    }
    if (take(r, 'b'))
        *code = 8;
    else
        *code = character_escape(r);
    return true;
}

static uint32_t bracket(regex *r) {
    size_t first = r->n_ranges;
    bool negate = take(r, '^');
    while (more(r) && peek(r) != ']') {
        uint32_t lo = 0, hi = 0;
        bool single = class_end(r, &lo);
        if (peek(r) == '-' && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            if (!class_end(r, &hi) || !single || hi < lo) regex_fail(r, "a range that does not ascend");
            add_range(r, lo, hi);
        } else if (single) {
            add_range(r, lo, lo);
        }
    }
    if (!take(r, ']')) regex_fail(r, "a ']' is missing");
    uint32_t t = class_tree(r, first, negate);
    if (r->status == FACET_OK && r->trees[t].b == 0) regex_fail(r, "a class without characters");
    return t;
}

static uint32_t alternatives(regex *r, size_t depth);

static uint32_t group(regex *r, size_t depth) {
    if (depth >= MAX_GROUPS) regex_fail(r, "too many nested groups");
    if (take(r, '?')) {
        if (take(r, '<')) {
            if (peek(r) == '=' || peek(r) == '!') regex_fail(r, "looking around");
            while (more(r) && peek(r) != '>') r->at++;
            if (!take(r, '>')) regex_fail(r, "a '>' is missing");
        } else if (!take(r, ':')) {
            regex_fail(r, "looking around");
        }
    }
    uint32_t t = r->status == FACET_OK ? alternatives(r, depth + 1) : 0;
    if (!take(r, ')')) regex_fail(r, "a ')' is missing");
    return t;
}

static uint32_t atom(regex *r, size_t depth) {
    size_t first = r->n_ranges;
    if (take(r, '^')) return regex_tree(r, (tree){.kind = T_BEGIN});
    if (take(r, '$')) return regex_tree(r, (tree){.kind = T_END});
    if (take(r, '(')) return group(r, depth);
    if (take(r, '[')) return bracket(r);
    if (take(r, '.')) {
        add_ranges(r, line_ends, COUNT(line_ends), true);
        return class_tree(r, first, false);
    }
    if (strchr("*+?", peek(r)) && peek(r)) regex_fail(r, "nothing to repeat");
    uint32_t code;
    if (take(r, '\\')) {
        if (class_escape(r, peek(r))) {
            r->at++;
            return class_tree(r, first, false);
        }
        code = character_escape(r);
    } else {
        code = character(r);
    }
    add_range(r, code, code);
    return class_tree(r, first, false);
}

static uint32_t number(regex *r) {
    uint32_t n = 0;
    if (peek(r) < '0' || peek(r) > '9') regex_fail(r, "a number is missing");
    while (peek(r) >= '0' && peek(r) <= '9') {
        n = n * 10 + (uint32_t)(peek(r) - '0');
        r->at++;
        if (n > MAX_COUNT) {
            regex_fail(r, "a count that is too high");
            return 0;
        }
    }
    return n;
}

/* A '{' that begins no count is a character. */
static bool at_count(const regex *r) {
    size_t i = r->at + 1;
    size_t digits_before = 0;
    while (i < r->n && r->text[i] >= '0' && r->text[i] <= '9') i++, digits_before++;
    if (i < r->n && r->text[i] == ',') i++;
    while (i < r->n && r->text[i] >= '0' && r->text[i] <= '9') i++;
    return digits_before && i < r->n && r->text[i] == '}';
}

static bool count(regex *r, uint32_t *min, uint32_t *max) {
    *min = 0;
    *max = UINT32_MAX;
    if (take(r, '*')) return true;
    if (take(r, '+')) {
        *min = 1;
        return true;
    }
    if (take(r, '?')) {
        *max = 1;
        return true;
    }
    if (peek(r) != '{' || !at_count(r)) return false;
    r->at++;
    *min = *max = number(r);
    if (take(r, ',')) *max = peek(r) == '}' ? UINT32_MAX : number(r);
    take(r, '}');
    if (*max < *min) regex_fail(r, "a count that does not ascend");
    return true;
}

static uint32_t term(regex *r, size_t depth) {
    uint32_t t = atom(r, depth), min, max;
    if (r->status != FACET_OK || !count(r, &min, &max)) return t;
    take(r, '?'); /* lazy: the same texts */
    tree_kind what = r->status == FACET_OK ? r->trees[t].kind : T_EMPTY;
    if (what == T_BEGIN || what == T_END) regex_fail(r, "a border of the text cannot be repeated");
    return regex_tree(r, (tree){.kind = T_REPEAT, .a = t, .min = min, .max = max});
}

static uint32_t alternatives(regex *r, size_t depth) {
    uint32_t all = 0, n = 0;
    do {
        uint32_t sequence = regex_tree(r, (tree){.kind = T_EMPTY});
        while (more(r) && peek(r) != '|' && peek(r) != ')') {
            uint32_t next = term(r, depth);
            sequence = regex_tree(r, (tree){.kind = T_SEQ, .a = sequence, .b = next});
        }
        all = n++ ? regex_tree(r, (tree){.kind = T_ALT, .a = all, .b = sequence}) : sequence;
    } while (take(r, '|'));
    return all;
}

uint32_t regex_parse(regex *r) {
    uint32_t whole = alternatives(r, 0);
    if (r->status == FACET_OK && r->at < r->n) regex_fail(r, "a ')' without its '('");
    return whole;
}

uint32_t regex_any_character(regex *r) {
    add_range(r, 0, CODE_MAX);
    return regex_tree(r, (tree){.kind = T_CLASS, .a = (uint32_t)r->n_ranges - 1, .b = 1});
}
