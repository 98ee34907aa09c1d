/* The progress of commands that write weights. See weights.h. */
#include "weights.h"

void weights_begin(progress *p, const char *what) { progress_begin(p, what, "MB"); }

bool weights_progress(void *ctx, uint64_t done, uint64_t total) {
    progress_update(ctx, (size_t)(done >> 20), (size_t)(total >> 20));
    return !interrupt_seen();
}
