/* What the commands that write weights share: the progress line, counted in bytes, which Ctrl-C ends. */
#ifndef FACET_CLI_WEIGHTS_H
#define FACET_CLI_WEIGHTS_H

#include "terminal.h"

#include <stdbool.h>
#include <stdint.h>

void weights_begin(progress *p, const char *what);
/* A facet_tools_progress_fn; ctx is the line. */
bool weights_progress(void *ctx, uint64_t done, uint64_t total);

#endif
