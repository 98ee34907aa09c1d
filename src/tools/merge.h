/* Adapters that become part of a model's matrices while these are written: W + s B A. Private to src/tools. */
#ifndef FACET_TOOLS_MERGE_H
#define FACET_TOOLS_MERGE_H

#include "flow.h"

typedef struct merge merge;

/* Opens the adapters and checks them against `base`, which must outlive the merge. On failure *out is NULL. */
facet_status merge_open(merge **out, const gguf_file *base, const facet_merge *uses, size_t n, facet_error *error);
/* Sets t->read where an adapter changes the tensor. */
facet_status merge_attach(merge *m, flow_tensor *t, facet_error *error);
void merge_free(merge *m);

#endif
