/* --help texts. Owns their layout; every word about an option is the table's. */
#include "help.h"

#include <string.h>

enum { HELP_INDENT = 30, HELP_WIDTH = 100 };

/* Words of `text` from column `indent`, wrapped; the cursor stands at `indent` already. */
static void print_wrapped(FILE *out, const char *text, int indent) {
    int column = indent;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", n, text);
        column += n;
        text += n + (text[n] == ' ');
    }
    fputc('\n', out);
}

void help_commands(FILE *out) {
    fputs("facet: Gemma 4 language models on this machine\n\nusage: facet COMMAND [options]\n\n", out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (command_table[i].built) fprintf(out, "  %-12s %s\n", command_table[i].name, command_table[i].summary);
    fputs("\nplanned, not built yet:", out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!command_table[i].built) fprintf(out, " %s", command_table[i].name);
    fputs("\n\n'facet help COMMAND' shows the options of a command; the manual is 'man facet'.\n"
          "Try: facet run \"What is the capital of Italy?\"\n",
          out);
}

static void print_option(FILE *out, const cli_option *o) {
    char left[80];
    const char *space = o->value[0] ? " " : "";
    if (o->short_name)
        snprintf(left, sizeof left, "  -%c, --%s%s%s", o->short_name, o->name, space, o->value);
    else
        snprintf(left, sizeof left, "      --%s%s%s", o->name, space, o->value);
    fprintf(out, "%-*s", HELP_INDENT - 1, left);
    if (strlen(left) >= HELP_INDENT)
        fprintf(out, "\n%*s", HELP_INDENT, "");
    else
        fputc(' ', out);
    char text[400];
    if (o->kind == OPTION_UNBUILT)
        snprintf(text, sizeof text, "%s (not built yet)", o->help);
    else if (o->initial[0])
        snprintf(text, sizeof text, "%s (default: %s)", o->help, o->initial);
    else
        snprintf(text, sizeof text, "%s", o->help);
    print_wrapped(out, text, HELP_INDENT);
}

void help_command(FILE *out, command_id id) {
    const cli_command *c = &command_table[id];
    fprintf(out, "facet %s: %s\n\nusage: facet %s [options]%s%s\n", c->name, c->summary, c->name,
            c->arguments[0] ? " " : "", c->arguments);
    if (c->description[0]) {
        fputc('\n', out);
        print_wrapped(out, c->description, 0);
    }
    fputs("\noptions:\n", out);
    for (size_t i = 0; i < n_options; i++)
        if (option_table[i].commands >> id & 1 && option_table[i].help[0]) print_option(out, &option_table[i]);
}
