/* Work in a process of its own, for code that may take its process down. Owns: that process and the pipe from it. */
#ifndef FACET_OS_CHILD_H
#define FACET_OS_CHILD_H

#include "base/buffer.h"

typedef enum os_child_end {
    OS_CHILD_DONE,   /* `out` has what it sent */
    OS_CHILD_DIED,   /* or took too long, and was ended */
    OS_CHILD_REFUSED /* there is no other process to be had */
} os_child_end;

/* Runs work(ctx, out) in a copy of this process, of which only the calling thread goes on there, and brings back what
 * it appended to its buffer. Whatever else it changes is lost. `work` must not wait for other threads. */
os_child_end os_child_run(void (*work)(void *ctx, buffer *out), void *ctx, unsigned seconds, buffer *out);

#endif
