/* The facet program: finds the command, runs it, and sees to it that no output is lost in silence. */
#include "app.h"
#include "commands.h"
#include "help.h"
#include "terminal.h"

#include <locale.h>
#include <string.h>

int cmd_version(const cli_options *o) {
    (void)o;
    printf("facet %s\n", facet_version());
    return EXIT_OK;
}

int cmd_help(const cli_options *o) {
    if (o->man) {
        help_man_page(stdout);
    } else if (o->completion) {
        if (!help_completion(stdout, o->completion))
            return report_usage("--completion: '%.60s' is not one of bash, zsh, fish", o->completion);
    } else if (o->n_arguments) {
        const cli_command *c = command_find(o->arguments[0]);
        if (!c) return report_usage("unknown command '%.60s'; 'facet help' lists them", o->arguments[0]);
        if (!c->built) return report_usage("'%s' is not built yet", c->name);
        help_command(stdout, (command_id)(c - command_table));
    } else {
        help_commands(stdout);
    }
    return EXIT_OK;
}

static int run_command(const cli_options *o) {
    switch (o->command) {
    case COMMAND_run: return cmd_run(o);
    case COMMAND_chat: return cmd_chat(o);
    case COMMAND_info: return cmd_info(o);
    case COMMAND_bench: return cmd_bench(o);
    case COMMAND_tokenize: return cmd_tokenize(o);
    case COMMAND_detokenize: return cmd_detokenize(o);
    case COMMAND_render: return cmd_render(o);
    case COMMAND_logits: return cmd_logits(o);
    case COMMAND_perplexity: return cmd_perplexity(o);
    case COMMAND_dump: return cmd_dump(o);
    case COMMAND_doctor: return cmd_doctor(o);
    case COMMAND_serve: return cmd_serve(o);
    case COMMAND_batch: return cmd_batch(o);
    case COMMAND_convert: return cmd_convert(o);
    case COMMAND_imatrix: return cmd_imatrix(o);
    case COMMAND_adapter: return cmd_adapter(o);
    case COMMAND_pull: return cmd_pull(o);
    case COMMAND_quantize: return cmd_quantize(o);
    case COMMAND_help: return cmd_help(o);
    case COMMAND_version: return cmd_version(o);
    default: return EXIT_USAGE; /* what is not built yet was refused before */
    }
}

int main(int argc, char **argv) {
    cli_options o;
    char why[300];
    int status;
    /* Characters only: numbers are read and written the same everywhere. */
    if (!setlocale(LC_CTYPE, "")) setlocale(LC_CTYPE, "C.UTF-8");
    interrupt_install();
    if (argc < 2) {
        help_commands(stderr);
        return EXIT_USAGE;
    }
    if (!cli_options_parse(&o, argc, argv, why, sizeof why)) {
        status = report_usage("%s", why);
    } else {
        if (o.help) help_command(stdout, o.command);
        status = o.help ? EXIT_OK : run_command(&o);
        status = app_finish_stdout(status);
    }
    cli_options_free(&o);
    return status;
}
