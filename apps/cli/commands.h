/* The commands. Each returns an exit status and has told the user about a failure; main closes the output. */
#ifndef FACET_CLI_COMMANDS_H
#define FACET_CLI_COMMANDS_H

#include "options.h"

int cmd_run(const cli_options *o);
int cmd_chat(const cli_options *o);
int cmd_info(const cli_options *o);
int cmd_bench(const cli_options *o);
int bench_kernels(const cli_options *o); /* facet bench kernels */
int cmd_tokenize(const cli_options *o);
int cmd_detokenize(const cli_options *o);
int cmd_render(const cli_options *o);
int cmd_logits(const cli_options *o);
int cmd_perplexity(const cli_options *o);
int cmd_dump(const cli_options *o);
int cmd_quantize(const cli_options *o);
int cmd_imatrix(const cli_options *o);
int cmd_adapter(const cli_options *o);
int cmd_convert(const cli_options *o);
int cmd_doctor(const cli_options *o);
int cmd_pull(const cli_options *o);
int cmd_serve(const cli_options *o);
int cmd_batch(const cli_options *o);
int cmd_help(const cli_options *o);
int cmd_version(const cli_options *o);

#endif
