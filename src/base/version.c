/* The version of the library, from the header's numbers. */
#include "facet.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *facet_version(void) {
    return TEXT(FACET_VERSION_MAJOR) "." TEXT(FACET_VERSION_MINOR) "." TEXT(FACET_VERSION_PATCH);
}
