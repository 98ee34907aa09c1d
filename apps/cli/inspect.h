/* GGUF files looked at without opening them as a model. */
#ifndef FACET_CLI_INSPECT_H
#define FACET_CLI_INSPECT_H

#include "app.h"

/* The file at `path`; NULL: the built-in model. */
int inspect_open(facet_gguf **out, const char *path, bool header_only);

typedef struct inspect_traffic {
    uint64_t decode_bytes; /* of weights that decoding one token reads */
} inspect_traffic;
int inspect_decode_traffic(const cli_options *o, inspect_traffic *out);

#endif
