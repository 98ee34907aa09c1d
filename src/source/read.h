/* Reading the caller's source into pages. Private to src/source. */
#ifndef FACET_SOURCE_READ_H
#define FACET_SOURCE_READ_H

#include "base/error.h"

/* *pages gets os_pages of from->n_bytes, of which *n are filled: all, or at least the GGUF directory. The caller
 * frees them. */
facet_status read_source(const facet_source *from, bool header_only, void **pages, size_t *n, facet_error *err);

#endif
