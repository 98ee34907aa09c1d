/* The man page and the completions, written by the build from the table: mdoc(7) for the page, one function for each
 * shell. */
#include "help.h"

#include <facet.h>
#include <string.h>

/* Text for mdoc, a line for each sentence and none too long: a backslash is escaped, a dot or a quote at the start of
 * a line is kept from being a request. */
static void man_text(FILE *out, const char *text) {
    int column = 0;
    for (; *text; text++) {
        bool ends = text[0] == ' ' && column && (text[-1] == '.' || column > 60);
        if (ends) {
            fputc('\n', out);
            column = 0;
            continue;
        }
        if (!column && (*text == '.' || *text == '\'')) fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        column++;
    }
}

static void man_option(FILE *out, const cli_option *o) {
    fputs(".It ", out);
    if (o->short_name) fprintf(out, "Fl %c , ", o->short_name);
    fprintf(out, "Fl \\-%s", o->name);
    if (o->value[0]) fprintf(out, " Ar %s", o->value);
    fputc('\n', out);
    man_text(out, o->help);
    fputs(".\n", out);
    if (o->kind == OPTION_UNBUILT) fputs("Not built yet.\n", out);
    if (o->initial[0]) {
        fputs("Default: ", out);
        man_text(out, o->initial);
        fputs(".\n", out);
    }
}

static void man_command(FILE *out, command_id id) {
    const cli_command *c = &command_table[id];
    fprintf(out, ".Ss facet %s%s%s\n", c->name, c->arguments[0] ? " " : "", c->arguments);
    man_text(out, c->summary);
    fputs(".\n", out);
    if (c->description[0]) {
        man_text(out, c->description);
        fputc('\n', out);
    }
    if (!c->built) {
        fputs("Not built yet.\n", out);
        return;
    }
    fputs(".Bl -tag -width indent\n", out);
    for (size_t i = 0; i < n_options; i++)
        if (option_table[i].commands >> id & 1 && option_table[i].help[0]) man_option(out, &option_table[i]);
    fputs(".El\n", out);
}

void help_man_page(FILE *out) {
    fprintf(out,
            ".Dd $Mdocdate$\n.Dt FACET 1\n.Os facet %s\n.Sh NAME\n.Nm facet\n.Nd Gemma 4 language models on this "
            "machine\n.Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar options\n.Sh DESCRIPTION\n.Nm\nruns the Gemma 4 family "
            "of language models from GGUF files.\nWithout\n.Fl m\na small demonstration model, built into the "
            "program, is used; it knows capitals, sums and stories.\n.Sh COMMANDS\n",
            facet_version());
    for (int i = 0; i < N_COMMANDS; i++) man_command(out, (command_id)i);
    fputs(".Sh ENVIRONMENT\n.Bl -tag -width XDG_STATE_HOME\n.It Ev NO_COLOR\nWhen set and not empty, nothing is "
          "coloured or dimmed.\n.It Ev XDG_STATE_HOME\nWhere\n.Nm facet chat\nkeeps the lines that were typed, in\n"
          ".Pa facet/history ;\n.Pa ~/.local/state\nwhen not set.\n.El\n"
          ".Sh EXIT STATUS\n0: success.\n1: an error, told in one line on the standard error.\n2: wrong usage.\n"
          "130: interrupted.\n"
          ".Sh EXAMPLES\n.Dl facet run \\(dqWhat is the capital of Italy?\\(dq\n"
          ".Dl facet run -m gemma.gguf --temp 0 < question.txt\n.Dl facet info --fit -c 32768 gemma.gguf\n",
          out);
}

static bool is_file(const cli_option *o) { return !strncmp(o->value, "FILE", 4); }

static void bash_options(FILE *out, command_id id) {
    for (size_t i = 0; i < n_options; i++) {
        const cli_option *o = &option_table[i];
        if (o->commands >> id & 1 && o->help[0] && o->kind != OPTION_UNBUILT) fprintf(out, " --%s", o->name);
    }
}

static void bash_values(FILE *out) {
    fputs("    case $previous in\n    -m", out);
    for (size_t i = 0; i < n_options; i++)
        if (is_file(&option_table[i]) && option_table[i].kind == OPTION_TEXT && option_table[i].name[1])
            fprintf(out, " | --%s", option_table[i].name);
    fputs(") compopt -o default; return ;;\n", out);
    for (size_t i = 0; i < n_options; i++) {
        const cli_option *o = &option_table[i];
        if (o->kind != OPTION_CHOICE) continue;
        fprintf(out, "    --%s) COMPREPLY=($(compgen -W '", o->name);
        for (const char *p = o->value; *p; p++) fputc(*p == '|' ? ' ' : *p, out);
        fputs("' -- \"$current\")); return ;;\n", out);
    }
    fputs("    esac\n", out);
}

static void bash_completion(FILE *out) {
    fputs(
        "# bash completion of facet, made from its table of options\n_facet() {\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words\n    COMPREPLY=()\n"
        "    if ((COMP_CWORD == 1)); then\n        COMPREPLY=($(compgen -W '",
        out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (command_table[i].built) fprintf(out, "%s ", command_table[i].name);
    fputs("' -- \"$current\"))\n        return\n    fi\n", out);
    bash_values(out);
    fputs("    case ${COMP_WORDS[1]} in\n", out);
    for (int i = 0; i < N_COMMANDS; i++) {
        if (!command_table[i].built) continue;
        fprintf(out, "    %s) words='", command_table[i].name);
        bash_options(out, (command_id)i);
        fputs("' ;;\n", out);
    }
    fputs(
        "    esac\n    if [[ $current == -* ]]; then\n        COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
        "    else\n        compopt -o default\n    fi\n}\ncomplete -F _facet facet\n",
        out);
}

/* Help inside single quotes; zsh's brackets and colons in descriptions need a backslash. */
static void shell_help(FILE *out, const char *text, const char *escaped) {
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", out);
            continue;
        }
        if (strchr(escaped, *text)) fputc('\\', out);
        fputc(*text, out);
    }
}

static void zsh_option(FILE *out, const cli_option *o) {
    const char *repeat = o->kind == OPTION_LIST ? "*" : "";
    if (o->short_name)
        fprintf(out, "        %s{-%c,--%s}'[", repeat[0] ? "'*'" : "", o->short_name, o->name);
    else
        fprintf(out, "        '%s--%s[", repeat, o->name);
    shell_help(out, o->help, "\\[]:");
    fputc(']', out);
    if (is_file(o))
        fputs(":file:_files", out);
    else if (o->kind == OPTION_CHOICE) {
        fputs(":value:(", out);
        for (const char *p = o->value; *p; p++) fputc(*p == '|' ? ' ' : *p, out);
        fputc(')', out);
    } else if (o->value[0])
        fputs(":value: ", out);
    fputs("' \\\n", out);
}

static void zsh_completion(FILE *out) {
    fputs("#compdef facet\n# zsh completion of facet, made from its table of options\n_facet() {\n"
          "    if ((CURRENT == 2)); then\n        local -a commands=(\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (command_table[i].built)
            fprintf(out, "            '%s:%s'\n", command_table[i].name, command_table[i].summary);
    fputs("        )\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
          "    shift words\n    ((CURRENT--))\n    case $command in\n",
          out);
    for (int id = 0; id < N_COMMANDS; id++) {
        if (!command_table[id].built) continue;
        fprintf(out, "    %s) _arguments -s \\\n", command_table[id].name);
        for (size_t i = 0; i < n_options; i++) {
            const cli_option *o = &option_table[i];
            if (o->commands >> id & 1 && o->help[0] && o->kind != OPTION_UNBUILT) zsh_option(out, o);
        }
        fputs("        '*:file:_files' ;;\n", out);
    }
    fputs("    esac\n}\n_facet \"$@\"\n", out);
}

static void fish_option(FILE *out, const char *command_name, const cli_option *o) {
    fprintf(out, "complete -c facet -n '__fish_seen_subcommand_from %s' -l %s", command_name, o->name);
    if (o->short_name) fprintf(out, " -s %c", o->short_name);
    if (is_file(o))
        fputs(" -r -F", out);
    else if (o->kind == OPTION_CHOICE) {
        fputs(" -x -a '", out);
        for (const char *p = o->value; *p; p++) fputc(*p == '|' ? ' ' : *p, out);
        fputc('\'', out);
    } else if (o->value[0])
        fputs(" -x", out);
    fputs(" -d '", out);
    for (const char *p = o->help; *p; p++) {
        if (*p == '\'' || *p == '\\') fputc('\\', out);
        fputc(*p, out);
    }
    fputs("'\n", out);
}

static void fish_completion(FILE *out) {
    fputs("# fish completion of facet, made from its table of options\n", out);
    for (int id = 0; id < N_COMMANDS; id++) {
        const cli_command *c = &command_table[id];
        if (!c->built) continue;
        fprintf(out, "complete -c facet -n __fish_use_subcommand -f -a %s -d '%s'\n", c->name, c->summary);
        for (size_t i = 0; i < n_options; i++) {
            const cli_option *o = &option_table[i];
            if (o->commands >> id & 1 && o->help[0] && o->kind != OPTION_UNBUILT) fish_option(out, c->name, o);
        }
    }
}

bool help_completion(FILE *out, const char *shell) {
    if (!strcmp(shell, "bash"))
        bash_completion(out);
    else if (!strcmp(shell, "zsh"))
        zsh_completion(out);
    else if (!strcmp(shell, "fish"))
        fish_completion(out);
    else
        return false;
    return true;
}
