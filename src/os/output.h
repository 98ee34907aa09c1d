/* A file that appears whole or not at all: written beside its place under another name, then renamed. Pipes, devices
 * and other things that are no ordinary files are written directly. */
#ifndef FACET_OS_OUTPUT_H
#define FACET_OS_OUTPUT_H

#include "base/error.h"

typedef struct os_output os_output;

facet_status os_output_open(os_output **out, const char *path, facet_error *err);
/* After a failure every later call fails with the same message. */
facet_status os_output_write(os_output *output, const void *data, size_t n_bytes, facet_error *err);
/* Brings the file to its place. Frees `output`, also on failure, after which the old file is as it was. */
facet_status os_output_commit(os_output *output, facet_error *err);
/* Gives up: nothing is left behind. NULL is fine. */
void os_output_discard(os_output *output);

#endif
