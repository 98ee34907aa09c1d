/* Who may be told what. Private to the download. */
#ifndef FACET_COMMON_DOWNLOAD_URL_H
#define FACET_COMMON_DOWNLOAD_URL_H

#include <stdbool.h>

bool url_is_trusted(const char *url);                    /* Hugging Face, over HTTPS: it may see the token */
bool url_may_redirect(const char *from, const char *to); /* never from HTTPS to less */

#endif
