/* Devices that compute beside the processor, as --device and --ngl name them. */
#ifndef FACET_CLI_DEVICES_H
#define FACET_CLI_DEVICES_H

#include "options.h"

#include <facet.h>

/* Where compiled kernels are kept: $XDG_CACHE_HOME/facet/kernels, or in ~/.cache; made when it is not there. "" when
 * there is no such place. */
enum { DEVICES_PATH_BYTES = 4096 };
void devices_cache_path(char path[DEVICES_PATH_BYTES]);
/* The fields of an engine's options. `path`: of the cache, filled here, to live as long as `out`. */
void devices_options(const cli_options *o, char path[DEVICES_PATH_BYTES], facet_engine_options *out);
/* Whether the drivers can be asked: some end the program that does, so a process of its own tries first. */
bool devices_answer(void);
/* A line for each device, and for each kind that there is none of. */
void devices_print(void);

#endif
