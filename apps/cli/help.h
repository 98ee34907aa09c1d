/* Everything that is told about commands and options, made from the table. */
#ifndef FACET_CLI_HELP_H
#define FACET_CLI_HELP_H

#include "options.h"

void help_commands(FILE *out);
void help_command(FILE *out, command_id command);
/* For the build: the man page facet.1, and the completions of one shell (false: unknown shell). */
void help_man_page(FILE *out);
bool help_completion(FILE *out, const char *shell);

#endif
