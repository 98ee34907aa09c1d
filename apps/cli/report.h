/* What the user is told about failures: one line on the standard error, "facet: what and where", and the exit status
 * that belongs to it. */
#ifndef FACET_CLI_REPORT_H
#define FACET_CLI_REPORT_H

#include <facet.h>

enum { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* Each prints its line and returns the exit status. */
int report_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
int report_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A failure of the library; `about` (a file, say) is put before the message unless that names it already. NULL: none.
 * A cancelled call is EXIT_INTERRUPTED and prints nothing. */
int report_failure(const facet_error *error, const char *about);
void report_warning(void *ctx, const char *message); /* a facet_log_fn */

#endif
