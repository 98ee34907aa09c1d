/* Strings of a schema: lengths, patterns, formats. See schema_parts.h. Formats: RFC 3339 (date-time, date, time,
 * duration), RFC 4122 (uuid), what HTML calls a valid e-mail address, RFC 1123 host names, IPv4 and plain URIs. */
#include <string.h>

#include "sample/schema_parts.h"

#define OCTET  "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define LABEL  "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define ATOM   "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define LEAP   "((\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define DAYS31 "(0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])"
#define DAYS30 "(0[469]|11)-(0[1-9]|[12]\\d|30)"
#define DATE   "(\\d{4}-(" DAYS31 "|" DAYS30 "|02-(0[1-9]|1\\d|2[0-8]))|" LEAP ")"
#define TIME   "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define HEX    "[0-9a-fA-F]"

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date-time", "^" DATE "T" TIME "$"},
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"duration",
     "^P(\\d{1,9}W|(\\d{1,9}Y)?(\\d{1,9}M)?\\d{1,9}D|(\\d{1,9}Y)?\\d{1,9}M|\\d{1,9}Y|((\\d{1,9}Y)?(\\d{1,9}M)?"
     "(\\d{1,9}D)?T((\\d{1,9}H)?(\\d{1,9}M)?\\d{1,9}S|(\\d{1,9}H)?\\d{1,9}M|\\d{1,9}H)))$"},
    {"uuid", "^" HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}$"},
    {"email", "^" ATOM "+(\\." ATOM "+)*@" LABEL "(\\." LABEL ")+$"},
    {"hostname", "^" LABEL "(\\." LABEL ")*$"},
    {"ipv4", "^" OCTET "\\." OCTET "\\." OCTET "\\." OCTET "$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9._~:/?#@!$&'()*+,;=-]|\\[|\\]|%" HEX HEX ")+$"},
};

static facet_status both(schema_reader *r, lang **all, lang *one) {
    if (!*all) {
        *all = one;
        return FACET_OK;
    }
    lang *joint;
    facet_status status = lang_both(&joint, *all, one, r->err);
    lang_free(one);
    if (status != FACET_OK) return status;
    lang_free(*all);
    *all = joint;
    return FACET_OK;
}

/* A failure of lang_pattern gets its place in front. */
static facet_status place_error(const schema_reader *r, facet_status status, const facet_value *schema,
                                const char *keyword) {
    if (status != FACET_ERROR_UNSUPPORTED || !r->err) return status;
    char why[200];
    memcpy(why, r->err->message, sizeof why - 1);
    why[sizeof why - 1] = '\0';
    return schema_refuse(r, schema, keyword, why);
}

static facet_status add_pattern(schema_reader *r, const facet_value *schema, lang **all) {
    const facet_value *pattern = facet_value_get(schema, "pattern");
    size_t n;
    lang *one;
    if (!pattern) return FACET_OK;
    if (facet_value_typeof(pattern) != FACET_VALUE_STRING)
        return schema_malformed(r, schema, "pattern", "must be a string");
    const char *text = facet_value_text(pattern, &n);
    facet_status status = lang_pattern(&one, text, n, r->err);
    if (status == FACET_OK) status = both(r, all, one);
    return place_error(r, status, schema, "pattern");
}

static facet_status add_format(schema_reader *r, const facet_value *schema, lang **all) {
    const facet_value *format = facet_value_get(schema, "format");
    lang *one;
    if (!format) return FACET_OK;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!value_is_text(format, formats[i].name)) continue;
        facet_status status = lang_pattern(&one, formats[i].pattern, strlen(formats[i].pattern), r->err);
        if (status == FACET_OK) status = both(r, all, one);
        return place_error(r, status, schema, "format");
    }
    return schema_refuse(r, schema, "format", "this format is not supported");
}

static facet_status find_lengths(schema_reader *r, const joined *j, uint32_t *min, uint32_t *max) {
    *min = 0;
    *max = EXPR_NO_MAX;
    for (size_t i = 0; i < j->n; i++) {
        uint32_t low = 0, high = EXPR_NO_MAX;
        FACET_TRY(schema_count(r, j->items[i].schema, "minLength", &low));
        FACET_TRY(schema_count(r, j->items[i].schema, "maxLength", &high));
        if (low > *min) *min = low;
        if (high < *max) *max = high;
        if (*min > *max) return schema_refuse(r, j->items[i].schema, "minLength", "no text is so long and so short");
    }
    return FACET_OK;
}

static facet_status find_lang(schema_reader *r, const joined *j, uint32_t min, uint32_t max, lang **all) {
    for (size_t i = 0; i < j->n; i++) {
        FACET_TRY(add_pattern(r, j->items[i].schema, all));
        FACET_TRY(add_format(r, j->items[i].schema, all));
    }
    if (!*all || (min == 0 && max == EXPR_NO_MAX)) return FACET_OK;
    lang *one;
    facet_status status = lang_lengths(&one, min, max, r->err);
    if (status == FACET_OK) status = both(r, all, one);
    return place_error(r, status, j->items[0].schema, min ? "minLength" : "maxLength");
}

/* NULL where only lengths are asked for, and not those. */
static facet_status string_lang(schema_reader *r, const joined *j, uint32_t *min, uint32_t *max, lang **out) {
    *out = NULL;
    FACET_TRY(find_lengths(r, j, min, max));
    facet_status status = find_lang(r, j, *min, *max, out);
    if (status == FACET_OK && *out && (*out)->n_states == 0)
        status = schema_refuse(r, j->items[0].schema, NULL, "no string fits");
    if (status == FACET_OK) return FACET_OK;
    lang_free(*out);
    *out = NULL;
    return status;
}

facet_status schema_string_lang(schema_reader *r, const joined *j, lang **out) {
    uint32_t min, max;
    FACET_TRY(string_lang(r, j, &min, &max, out));
    if (*out || (min == 0 && max == EXPR_NO_MAX)) return FACET_OK;
    return place_error(r, lang_lengths(out, min, max, r->err), j->items[0].schema, NULL);
}

/* ---- characters of a JSON string */

static expr hex_digit(grammar_builder *b, const char *digits) {
    code_range ranges[32];
    size_t n = strlen(digits);
    for (size_t i = 0; i < n; i++) ranges[i] = (code_range){(uint8_t)digits[i], (uint8_t)digits[i]};
    return expr_class(b, ranges, n, false);
}

/* A \u escape with these digits. */
static expr hex_digits(grammar_builder *b, const char *a, const char *c, const char *d, const char *e) {
    expr all = expr_seq(b, hex_digit(b, a), hex_digit(b, c));
    return expr_seq(b, expr_seq(b, all, hex_digit(b, d)), hex_digit(b, e));
}

/* After \u: any character but U+0000; two halves make one beyond U+FFFF. */
static expr unicode_escape(grammar_builder *b) {
    static const char any[] = "0123456789abcdefABCDEF", some[] = "123456789abcdefABCDEF";
    expr low = expr_seq(b, expr_text(b, "\\u"), hex_digits(b, "dD", "cdefCDEF", any, any));
    expr all = expr_seq(b, hex_digits(b, "dD", "89abAB", any, any), low);
    all = expr_alt(b, all, hex_digits(b, "123456789abcefABCEF", any, any, any));
    all = expr_alt(b, all, hex_digits(b, "dD", "01234567", any, any));
    all = expr_alt(b, all, hex_digits(b, "0", some, any, any));
    all = expr_alt(b, all, hex_digits(b, "0", "0", some, any));
    return expr_alt(b, all, hex_digits(b, "0", "0", "0", some));
}

static expr json_character(grammar_builder *b) {
    static const code_range kept[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, CODE_MAX}};
    expr escaped = hex_digit(b, "\"\\/bfnrt");
    escaped = expr_alt(b, escaped, expr_seq(b, expr_text(b, "u"), unicode_escape(b)));
    return expr_alt(b, expr_class(b, kept, 3, false), expr_seq(b, expr_text(b, "\\"), escaped));
}

expr schema_text_run(schema_reader *r, uint32_t min, uint32_t max) {
    static const code_range zero[] = {{0, 0}};
    if (!r->has_text) {
        r->text = r->style.in_calls ? expr_class(r->b, zero, 1, true) : json_character(r->b);
        r->has_text = true;
    }
    return expr_repeat(r->b, r->text, min, max);
}

expr schema_quoted(schema_reader *r, expr inside) {
    grammar_builder *b = r->b;
    expr quote = r->style.in_calls ? expr_token(b, r->style.quote) : expr_text(b, "\"");
    return expr_seq(b, expr_seq(b, quote, inside), quote);
}

facet_status schema_string(schema_reader *r, const joined *j, expr *out) {
    uint32_t min, max;
    lang *l;
    FACET_TRY(string_lang(r, j, &min, &max, &l));
    *out = schema_quoted(r, l ? expr_lang(r->b, l, !r->style.in_calls) : schema_text_run(r, min, max));
    return FACET_OK;
}
