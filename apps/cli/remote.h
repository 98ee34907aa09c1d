/* Models that are named by a URL: streamed into memory while they are used, or only looked into. Functions that
 * return int return an exit status and have told the user about a failure. */
#ifndef FACET_CLI_REMOTE_H
#define FACET_CLI_REMOTE_H

#include "download.h"
#include "options.h"

#include <facet_tools.h>

typedef struct remote remote;

bool remote_is_url(const char *model); /* NULL: no */
/* The model as soon as its directory has arrived, or with --sha256 when all of it has and is right; a thread fetches
 * the rest meanwhile. Where --cache holds the file already it is opened from there, and *out is NULL. */
int remote_open(remote **out, facet_model **model, const cli_options *o, const facet_model_options *options);
/* After everything that uses the model is gone. A file that --cache keeps is fetched to its end. */
void remote_close(remote *r);

/* What the front of the file tells; no more than that is fetched. */
int remote_open_front(facet_model **model, const cli_options *o, const facet_model_options *options);
int remote_inspect(facet_gguf **out, const cli_options *o);

/* The options of a download: --retries, --stall, HF_TOKEN. */
download_options remote_download_options(const cli_options *o, const char *url);
/* --sha256 as bytes; false in *given where there is none. */
int remote_digest(const cli_options *o, uint8_t digest[32], bool *given);
/* 64 hexadecimal digits; false: they are none. */
bool remote_parse_digest(const char *hex, uint8_t digest[32]);

#endif
