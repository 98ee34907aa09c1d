/* Reading the fields of a request: absent and null leave the default, a wrong type or a value out of range refuses
 * the request with the name of the field. Knows nothing of HTTP or of what the fields mean. */
#ifndef FACET_SERVER_FIELDS_H
#define FACET_SERVER_FIELDS_H

#include <facet.h>

/* Why a request is refused, once for every API; the shape of the answer is made from it. */
typedef struct request_error {
    int status;      /* of HTTP; 0: not refused */
    char param[160]; /* the field, "" when it is none */
    char code[40];   /* "" when there is none */
    char message[400];
} request_error;

/* Always false, so that it can be returned. Only the first refusal counts. */
bool request_refuse(request_error *e, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* An object of the request and how its fields are called in messages: "prefix.name". */
typedef struct fields {
    const facet_value *object;
    const char *prefix; /* "" at the top */
    request_error *error;
} fields;

/* The full name of a field, for messages. */
void field_path(const fields *f, const char *name, char *out, size_t n);
bool field_refuse(const fields *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The value, NULL when absent or null. */
const facet_value *field_get(const fields *f, const char *name);
bool field_has(const fields *f, const char *name);

/* False: refused. */
bool field_integer(const fields *f, const char *name, int64_t min, int64_t max, int64_t *out);
bool field_int32(const fields *f, const char *name, int32_t min, int32_t max, int32_t *out);
bool field_number(const fields *f, const char *name, double min, double max, float *out);
bool field_bool(const fields *f, const char *name, bool *out);
bool field_string(const fields *f, const char *name, const char **out, size_t *n_bytes); /* n_bytes may be NULL */
/* The object or array of that name, *out is NULL when absent. */
bool field_object(const fields *f, const char *name, const facet_value **out);
bool field_array(const fields *f, const char *name, const facet_value **out);
/* One of the words of a NULL-terminated list; *out is its index. */
bool field_word(const fields *f, const char *name, const char *const *words, int *out);

/* The number as an integer; false when it is none or does not fit. 64.0 and 1e2 are integers. */
bool value_integer(const facet_value *value, int64_t *out);
bool value_says(const facet_value *value, const char *text); /* a string that says exactly this */

#endif
