/* The opened file behind facet_gguf. Private to src/tools. */
#ifndef FACET_TOOLS_GGUF_VIEW_H
#define FACET_TOOLS_GGUF_VIEW_H

#include "facet_tools.h"
#include "gguf/gguf.h"
#include "source/source.h"

struct facet_gguf {
    source *source;
    gguf_file *file;
};

#endif
