/* Error lines. Line breaks inside a message (a file name may hold one) are shown as '?', so that one error is one
 * line. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void print_line(const char *kind, const char *format, va_list args) {
    char line[1024];
    vsnprintf(line, sizeof line, format, args);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    fflush(stdout);
    fprintf(stderr, "facet: %s%s\n", kind, line);
}

int report_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
    return EXIT_ERROR;
}

int report_usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
    return EXIT_USAGE;
}

int report_failure(const facet_error *error, const char *about) {
    if (error->status == FACET_ERROR_CANCELLED) return EXIT_INTERRUPTED;
    const char *message = error->message[0] ? error->message : facet_status_name(error->status);
    if (about && !strstr(message, about)) return report_error("%s: %s", about, message);
    return report_error("%s", message);
}

static void warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line("warning: ", format, args);
    va_end(args);
}

void report_warning(void *ctx, const char *message) {
    (void)ctx;
    warn("%s", message);
}
