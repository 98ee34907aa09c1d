/* Status and error text. See error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static void set_message(facet_error *err, facet_status status, uint64_t position, const char *fmt, va_list args) {
    err->status = status;
    err->position = position;
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    if (n >= (int)sizeof err->message) err->message[utf8_complete(err->message, sizeof err->message - 1)] = '\0';
    for (char *c = err->message; *c;
         c++) { /* names from files may hold control characters: one line stays one line */
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
}

facet_status error_set(facet_error *err, facet_status status, const char *fmt, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    set_message(err, status, 0, fmt, args);
    va_end(args);
    return status;
}

facet_status error_at(facet_error *err, facet_status status, uint64_t position, const char *fmt, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    set_message(err, status, position, fmt, args);
    va_end(args);
    return status;
}

facet_status error_memory(facet_error *err, size_t n_bytes) {
    return error_set(err, FACET_ERROR_MEMORY, "out of memory: %zu bytes were refused", n_bytes);
}

void error_clear(facet_error *err) {
    if (err) memset(err, 0, sizeof *err);
}

const char *facet_status_name(facet_status status) {
    switch (status) {
    case FACET_OK: return "ok";
    case FACET_ERROR_ARGUMENT: return "invalid argument";
    case FACET_ERROR_STATE: return "not possible now";
    case FACET_ERROR_ENCODING: return "invalid text";
    case FACET_ERROR_MEMORY: return "out of memory";
    case FACET_ERROR_BUDGET: return "over the memory budget";
    case FACET_ERROR_CONTEXT: return "context too small";
    case FACET_ERROR_IO: return "input or output failed";
    case FACET_ERROR_FORMAT: return "malformed";
    case FACET_ERROR_TRUNCATED: return "truncated";
    case FACET_ERROR_UNSUPPORTED: return "unsupported";
    case FACET_ERROR_CANCELLED: return "cancelled";
    case FACET_ERROR_TIMEOUT: return "timed out";
    case FACET_ERROR_INTERNAL: return "internal error";
    }
    return "unknown status";
}
