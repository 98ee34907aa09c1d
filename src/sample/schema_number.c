/* Numbers of a schema: bounds and multiples, as languages of their decimal digits. See schema_parts.h. A number is
 * compared with a bound digit by digit: before the point the longer one is larger, of equally long ones the first
 * difference decides. Multiples are counted by the remainder of the digits so far. */
#include <stdlib.h>
#include <string.h>

#include "sample/schema_parts.h"

enum { MAX_WHOLE = 18, MAX_FRACTION = 20, MAX_DIGITS = 40, MAX_REMAINDERS = 1 << 14 };

/* A decimal: digits without leading zeros before the point and trailing ones behind it. */
typedef struct decimal {
    bool negative;
    uint8_t whole[MAX_DIGITS], fraction[MAX_DIGITS];
    size_t n_whole, n_fraction;
    bool huge;  /* more digits before the point */
    bool exact; /* no digits behind the point were lost */
} decimal;

static void put_digit(decimal *d, long place, uint8_t digit) {
    if (place >= 0) { /* the digit of 10^place */
        if (place >= MAX_DIGITS) {
            d->huge = d->huge || digit;
            return;
        }
        d->whole[MAX_DIGITS - 1 - place] = digit;
    } else if (-place <= MAX_DIGITS) {
        d->fraction[-place - 1] = digit;
    } else {
        d->exact = d->exact && !digit;
    }
}

static long exponent_of(const char *text, size_t n) {
    const char *e = memchr(text, 'e', n);
    if (!e) e = memchr(text, 'E', n);
    if (!e) return 0;
    bool negative = e[1] == '-';
    long value = 0;
    for (const char *c = e + 1 + (e[1] == '-' || e[1] == '+'); c < text + n && value < 100000; c++)
        value = value * 10 + (*c - '0');
    return negative ? -value : value;
}

static decimal decimal_of(const facet_value *number) {
    size_t n, start, end, point;
    const char *text = facet_value_text(number, &n);
    decimal d = {.negative = text[0] == '-', .exact = true};
    start = d.negative;
    for (end = start; end < n && (text[end] | 32) != 'e'; end++) continue;
    for (point = start; point < end && text[point] != '.'; point++) continue;
    long place = (long)(point - start) - 1 + exponent_of(text, n);
    for (size_t i = start; i < end; i++) {
        if (text[i] != '.') put_digit(&d, place--, (uint8_t)(text[i] - '0'));
    }
    size_t zeros = 0;
    while (zeros < MAX_DIGITS - 1 && d.whole[zeros] == 0) zeros++;
    d.n_whole = MAX_DIGITS - zeros;
    memmove(d.whole, d.whole + zeros, d.n_whole);
    for (d.n_fraction = MAX_DIGITS; d.n_fraction && d.fraction[d.n_fraction - 1] == 0;) d.n_fraction--;
    return d;
}

static bool is_zero(const decimal *d) {
    return !d->huge && d->n_whole == 1 && d->whole[0] == 0 && d->n_fraction == 0 && d->exact;
}

bool schema_number_is_integer(const facet_value *number) {
    decimal d = decimal_of(number);
    return d.n_fraction == 0 && d.exact;
}

bool schema_numbers_equal(const facet_value *a, const facet_value *b) {
    decimal x = decimal_of(a), y = decimal_of(b);
    if (is_zero(&x) && is_zero(&y)) return true;
    return x.negative == y.negative && !x.huge && !y.huge && x.exact && y.exact && x.n_whole == y.n_whole &&
           x.n_fraction == y.n_fraction && memcmp(x.whole, y.whole, x.n_whole) == 0 &&
           memcmp(x.fraction, y.fraction, x.n_fraction) == 0;
}

/* ---- one sign's numbers */

/* What a schema asks of the magnitude of numbers of one sign. */
typedef struct bound {
    bool is_set, exclusive;
    decimal value; /* of its magnitude */
} bound;

typedef struct numbers {
    bool never[2]; /* no number of that sign: 0 positive, 1 negative */
    bound low[2], high[2];
    bool integer;
    uint32_t multiple; /* of 10^-scale; 0: any */
    uint32_t scale;
} numbers;

/* State: phase, sign, digits, comparisons with low and high, remainder. */
typedef enum phase { START, SIGN, ZERO, WHOLE, POINT, FRACTION } phase;
typedef enum order { LESS, EQUAL, MORE } order;
typedef struct state {
    phase phase;
    bool negative;
    uint32_t n; /* digits before the point, or behind it */
    order low, high;
    uint32_t remainder;
} state;

static uint64_t pack(state s) {
    return (uint64_t)s.remainder << 20 | (uint64_t)s.n << 12 | (uint64_t)s.low << 8 | (uint64_t)s.high << 6 |
           (uint64_t)s.negative << 4 | (uint64_t)s.phase;
}

static state unpack(uint64_t key) {
    return (state){.phase = key & 15,
                   .negative = key >> 4 & 1,
                   .high = key >> 6 & 3,
                   .low = key >> 8 & 3,
                   .n = key >> 12 & 255,
                   .remainder = (uint32_t)(key >> 20)};
}

static order compare_digit(uint8_t digit, uint8_t with) { return digit < with ? LESS : digit > with ? MORE : EQUAL; }

/* With the digits so far equal, or not, digit i before the point follows. More digits than the bound has: more. */
static order next_whole(order so_far, const bound *b, uint32_t i, uint8_t digit) {
    if (!b->is_set || b->value.huge) return LESS;
    if (i >= b->value.n_whole) return MORE;
    return so_far == EQUAL ? compare_digit(digit, b->value.whole[i]) : so_far;
}

/* All n digits before the point are there. */
static order end_whole(order so_far, const bound *b, uint32_t n) {
    return b->is_set && n < b->value.n_whole ? LESS : so_far;
}

static order next_fraction(order so_far, const bound *b, uint32_t i, uint8_t digit) {
    return so_far != EQUAL ? so_far : compare_digit(digit, i < b->value.n_fraction ? b->value.fraction[i] : 0);
}

static order end_fraction(order so_far, const bound *b, uint32_t n) {
    return so_far == EQUAL && b->is_set && (n < b->value.n_fraction || !b->value.exact) ? LESS : so_far;
}

static bool step_digit(const numbers *m, state *s, uint8_t digit) {
    bool beyond = m->multiple && (s->phase == POINT || s->phase == FRACTION) && s->n >= m->scale;
    if (beyond && (digit || s->n > 0)) return false; /* behind the digits that a multiple has: 7.0 alone */
    if (m->multiple && !beyond) s->remainder = (uint32_t)(((uint64_t)s->remainder * 10 + digit) % m->multiple);
    switch (s->phase) {
    case START:
    case SIGN:
        s->phase = digit ? WHOLE : ZERO;
        s->n = 0;
        s->low = s->high = EQUAL;
        break;
    case WHOLE:
        if (s->n >= MAX_WHOLE) return false;
        break;
    case POINT:
    case FRACTION:
        if (s->n >= MAX_FRACTION) return false;
        s->phase = FRACTION;
        s->low = next_fraction(s->low, &m->low[s->negative], s->n, digit);
        s->high = next_fraction(s->high, &m->high[s->negative], s->n++, digit);
        return true;
    default: return false;
    }
    s->low = next_whole(s->low, &m->low[s->negative], s->n, digit);
    s->high = next_whole(s->high, &m->high[s->negative], s->n++, digit);
    return true;
}

/* The borders of the alphabet: '-', '.' and each digit stand alone. */
static const uint32_t symbols[] = {0, '-', '.', '/', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':'};

static bool number_step(const void *ctx, uint64_t key, size_t interval, uint64_t *next) {
    const numbers *m = ctx;
    state s = unpack(key);
    uint32_t c = symbols[interval];
    bool ok = false;
    if (c == '-') {
        ok = s.phase == START && !m->never[1];
        s.phase = SIGN;
        s.negative = true;
    } else if (c == '.') {
        ok = (s.phase == ZERO || s.phase == WHOLE) && !m->integer;
        s.low = end_whole(s.low, &m->low[s.negative], s.n);
        s.high = end_whole(s.high, &m->high[s.negative], s.n);
        s.phase = POINT;
        s.n = 0;
    } else if (c >= '0' && c <= '9') {
        ok = !(s.phase == START && m->never[0]) && step_digit(m, &s, (uint8_t)(c - '0'));
    }
    *next = pack(s);
    return ok;
}

static bool holds_low(order o, const bound *b) {
    return !b->is_set || (!b->value.huge && (o == MORE || (o == EQUAL && !b->exclusive)));
}
static bool holds_high(order o, const bound *b) { return !b->is_set || o == LESS || (o == EQUAL && !b->exclusive); }

static bool number_accept(const void *ctx, uint64_t key) {
    const numbers *m = ctx;
    state s = unpack(key);
    const bound *low = &m->low[s.negative], *high = &m->high[s.negative];
    if (s.phase != ZERO && s.phase != WHOLE && s.phase != FRACTION) return false;
    uint32_t n_fraction = s.phase == FRACTION ? s.n : 0;
    if (s.phase != FRACTION) {
        s.low = end_whole(s.low, low, s.n);
        s.high = end_whole(s.high, high, s.n);
    }
    s.low = end_fraction(s.low, low, n_fraction);
    s.high = end_fraction(s.high, high, n_fraction);
    uint64_t remainder = s.remainder;
    for (uint32_t i = n_fraction; m->multiple && i < m->scale; i++) remainder = remainder * 10 % m->multiple;
    return holds_low(s.low, low) && holds_high(s.high, high) && remainder == 0;
}

/* ---- keywords */

/* number >= value (or above it): a lower bound of positive numbers, or an upper one of negative magnitudes. */
static void tighten(bound *b, const decimal *value, bool exclusive) {
    *b = (bound){.is_set = true, .exclusive = exclusive, .value = *value};
}

static void at_least(numbers *m, decimal value, bool exclusive) {
    if (value.negative && !is_zero(&value)) {
        tighten(&m->high[1], &value, exclusive);
    } else {
        tighten(&m->low[0], &value, exclusive);
        m->never[1] = true; /* -0 is not written where only numbers from 0 on fit */
    }
}

static void at_most(numbers *m, decimal value, bool exclusive) {
    if (value.negative && !is_zero(&value)) {
        tighten(&m->low[1], &value, exclusive);
        m->never[0] = true;
    } else {
        tighten(&m->high[0], &value, exclusive);
        if (is_zero(&value) && exclusive) tighten(&m->low[1], &value, true);
    }
}

static facet_status number_keyword(const schema_reader *r, const facet_value *schema, const char *keyword,
                                   const facet_value **out) {
    *out = facet_value_get(schema, keyword);
    if (!*out || facet_value_typeof(*out) == FACET_VALUE_NUMBER) return FACET_OK;
    return schema_malformed(r, schema, keyword, "must be a number");
}

static facet_status read_multiple(const schema_reader *r, const facet_value *schema, numbers *m) {
    const facet_value *value;
    FACET_TRY(number_keyword(r, schema, "multipleOf", &value));
    if (!value) return FACET_OK;
    decimal d = decimal_of(value);
    uint64_t multiple = 0;
    if (d.negative || is_zero(&d)) return schema_malformed(r, schema, "multipleOf", "must be above 0");
    bool fits = d.exact && !d.huge && d.n_fraction <= MAX_FRACTION;
    for (size_t i = 0; i < d.n_whole && multiple < MAX_REMAINDERS; i++) multiple = multiple * 10 + d.whole[i];
    for (size_t i = 0; i < d.n_fraction && multiple < MAX_REMAINDERS; i++) multiple = multiple * 10 + d.fraction[i];
    if (!fits || multiple >= MAX_REMAINDERS)
        return schema_refuse(r, schema, "multipleOf", "too many digits to be kept to");
    m->multiple = (uint32_t)multiple;
    m->scale = (uint32_t)d.n_fraction;
    return FACET_OK;
}

static facet_status read_exclusive(const schema_reader *r, const facet_value *schema, const char *keyword,
                                   const facet_value **out, bool *flag) {
    *out = facet_value_get(schema, keyword);
    *flag = facet_value_is_true(*out); /* as drafts before 6 have it */
    if (facet_value_typeof(*out) == FACET_VALUE_BOOL) *out = NULL;
    return *out ? number_keyword(r, schema, keyword, out) : FACET_OK;
}

static facet_status check_format(const schema_reader *r, const facet_value *schema) {
    static const char *const names[] = {"int32", "int64", "float", "double"};
    const facet_value *format = facet_value_get(schema, "format");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (value_is_text(format, names[i])) return FACET_OK; /* what is written fits; for int32 see read_int32 */
    }
    const facet_value *type = facet_value_get(schema, "type");
    if (!format || (!value_is_text(type, "number") && !value_is_text(type, "integer"))) return FACET_OK;
    return schema_refuse(r, schema, "format", "this format is not supported");
}

static facet_status read_bounds(const schema_reader *r, const facet_value *schema, numbers *m, bool *any) {
    const facet_value *low, *high, *above, *below;
    bool low_excluded, high_excluded;
    FACET_TRY(number_keyword(r, schema, "minimum", &low));
    FACET_TRY(number_keyword(r, schema, "maximum", &high));
    FACET_TRY(read_exclusive(r, schema, "exclusiveMinimum", &above, &low_excluded));
    FACET_TRY(read_exclusive(r, schema, "exclusiveMaximum", &below, &high_excluded));
    if (low) at_least(m, decimal_of(low), low_excluded);
    if (high) at_most(m, decimal_of(high), high_excluded);
    *any = low || high;
    return check_format(r, schema);
}

/* exclusiveMinimum and exclusiveMaximum as numbers, and int32: languages of their own, since both kinds may stand in
 * one schema. */
static facet_status read_others(const schema_reader *r, const facet_value *schema, numbers *m, bool *any) {
    const facet_value *above, *below;
    bool flag;
    FACET_TRY(read_exclusive(r, schema, "exclusiveMinimum", &above, &flag));
    FACET_TRY(read_exclusive(r, schema, "exclusiveMaximum", &below, &flag));
    if (above) at_least(m, decimal_of(above), true);
    if (below) at_most(m, decimal_of(below), true);
    *any = above || below;
    return FACET_OK;
}

static facet_status read_int32(numbers *m, const facet_value *schema, bool *any) {
    static const uint8_t limit[] = {2, 1, 4, 7, 4, 8, 3, 6, 4};
    *any = value_is_text(facet_value_get(schema, "format"), "int32");
    if (!*any) return FACET_OK;
    decimal d = {.n_whole = 10, .exact = true};
    memcpy(d.whole, limit, sizeof limit);
    d.whole[9] = 7;
    at_most(m, d, false);
    d.whole[9] = 8;
    d.negative = true;
    at_least(m, d, false);
    return FACET_OK;
}

/* ---- languages */

static facet_status explore(const schema_reader *r, const numbers *m, lang **out) {
    uint32_t *starts = malloc(sizeof symbols);
    if (starts) memcpy(starts, symbols, sizeof symbols);
    lang_machine machine = {.ctx = m, .start = pack((state){0}), .step = number_step, .accept = number_accept};
    return lang_explore(out, starts, sizeof symbols / sizeof *symbols, &machine, r->err);
}

static facet_status join_numbers(const schema_reader *r, const facet_value *schema, const numbers *m, lang **all) {
    lang *one, *joint;
    facet_status status = explore(r, m, &one);
    if (status == FACET_ERROR_UNSUPPORTED) return schema_refuse(r, schema, NULL, "its numbers need too many states");
    if (status != FACET_OK || !*all) {
        if (status == FACET_OK) *all = one;
        return status;
    }
    status = lang_both(&joint, *all, one, r->err);
    lang_free(one);
    if (status == FACET_OK) {
        lang_free(*all);
        *all = joint;
    }
    return status == FACET_ERROR_UNSUPPORTED
               ? schema_refuse(r, schema, NULL, "its numbers need too many states together")
               : status;
}

/* All that one schema asks; *all stays NULL where that is nothing. */
static facet_status add_schema(const schema_reader *r, const facet_value *schema, bool integer, lang **all) {
    numbers m = {.integer = integer};
    bool any;
    FACET_TRY(read_bounds(r, schema, &m, &any));
    FACET_TRY(read_multiple(r, schema, &m));
    if (any || m.multiple) FACET_TRY(join_numbers(r, schema, &m, all));
    m = (numbers){.integer = integer};
    FACET_TRY(read_others(r, schema, &m, &any));
    if (any) FACET_TRY(join_numbers(r, schema, &m, all));
    m = (numbers){.integer = integer};
    FACET_TRY(read_int32(&m, schema, &any));
    return any ? join_numbers(r, schema, &m, all) : FACET_OK;
}

facet_status schema_number(schema_reader *r, const joined *j, bool integer, expr *out) {
    static const char any_integer[] = "^-?(0|[1-9][0-9]{0,17})$";
    static const char any_number[] = "^-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?$";
    lang *all = NULL;
    facet_status status = FACET_OK;
    for (size_t i = 0; i < j->n && status == FACET_OK; i++) status = add_schema(r, j->items[i].schema, integer, &all);
    if (status == FACET_OK && !all) {
        const char *pattern = integer ? any_integer : any_number;
        status = lang_pattern(&all, pattern, strlen(pattern), r->err);
    }
    if (status == FACET_OK && all->n_states == 0)
        status = schema_refuse(r, j->n ? j->items[0].schema : r->root, NULL, "no number fits");
    if (status != FACET_OK) {
        lang_free(all);
        return status;
    }
    *out = expr_lang(r->b, all, false);
    return FACET_OK;
}

/* The plain digits of a number. */
static size_t plain_text(const decimal *d, char *out) {
    size_t n = 0;
    if (d->negative && !is_zero(d)) out[n++] = '-';
    for (size_t i = 0; i < d->n_whole; i++) out[n++] = (char)('0' + d->whole[i]);
    if (d->n_fraction) out[n++] = '.';
    for (size_t i = 0; i < d->n_fraction; i++) out[n++] = (char)('0' + d->fraction[i]);
    return n;
}

facet_status schema_number_fits(schema_reader *r, const facet_value *schema, const facet_value *number, bool *fits) {
    lang *all = NULL;
    char text[2 * MAX_DIGITS + 2];
    decimal d = decimal_of(number);
    facet_status status = add_schema(r, schema, false, &all);
    if (status == FACET_OK) *fits = !all || (d.exact && !d.huge && lang_has(all, text, plain_text(&d, text)));
    lang_free(all);
    return status;
}
