/* What the commands share: opening the model and the engine that the options ask for, input and output files, and the
 * settings of a generation. Functions that return int return an exit status, 0 for success, and have told the user
 * about a failure. */
#ifndef FACET_CLI_APP_H
#define FACET_CLI_APP_H

#include "adapters.h"
#include "devices.h"
#include "options.h"
#include "remote.h"
#include "report.h"
#include "text.h"

#include <facet_tools.h>

typedef struct app {
    const cli_options *options;
    facet_model *model;
    facet_engine *engine;
    facet_session *session;
    app_adapters adapters;
    remote *remote; /* where the model comes from while it is used; NULL: from a file */
    facet_model_info info;
    char kernel_cache[DEVICES_PATH_BYTES]; /* where a device's kernels are kept; "": nowhere */
    bool unshared;                         /* sessions do not take over what others computed: for measuring */
} app;

typedef enum app_model_kind { APP_WEIGHTS, APP_VOCABULARY } app_model_kind;

/* The name of the model in messages: its path, or "the built-in model". */
const char *app_model_name(const cli_options *o);
/* The model of -m, or the built-in one, which is said on the standard error. */
int app_open_model(app *a, const cli_options *o, app_model_kind kind);
/* The engine options that -t, -c, --kv, --device mean. */
void app_engine_options(app *a, int64_t context, facet_engine_options *out);
/* The process runs on the processors of a mask from now on. */
int app_set_processors(const char *mask);
/* Model, processors of --cpu, adapters, engine and one session. `context`: tokens wanted where -c is 0; 0: the
 * default. */
int app_open_session(app *a, const cli_options *o, int64_t context);
int app_new_engine(app *a, int64_t context); /* as the second half of app_open_session */
int app_open_adapters(app *a);               /* those of --adapter */
int app_new_session(app *a);                 /* replaces the session; it has the adapters on */
void app_close(app *a);

/* The settings of a generation and what they borrow. */
typedef struct generation_setup {
    facet_generation generation;
    facet_logit_bias *bias;
    char **stop;
} generation_setup;
int generation_setup_init(generation_setup *g, const app *a);
void generation_setup_free(generation_setup *g);
/* Temperature, top-k, ... */
void app_sampling(facet_sampling *s, const cli_options *o);
/* A random seed unless one was given. */
int generation_seed(const cli_options *o, uint64_t *seed);

/* The whole of a file, or of the standard input for NULL and "-". */
int app_read(text *t, const char *path);
/* An output file that appears whole or not at all; "-" is the standard output. */
typedef struct app_output {
    const char *path;
    facet_output *file; /* NULL: the standard output */
    facet_error error;  /* of the write that failed, which ends all later ones */
} app_output;
int app_output_open(app_output *out, const char *path);
bool app_output_write(app_output *out, const void *data, size_t n);
/* `status`: of the work so far; unless that is 0 the file does not appear. Tells when a write has failed. */
int app_output_finish(app_output *out, int status);
/* Writes what is buffered for the standard output; tells when that fails. */
int app_finish_stdout(int status);
int report_write_error(const char *path); /* by errno */
int report_no_memory(void);

#endif
