/* What the user asked for: the commands and options of options.def, parsed and checked. Knows nothing of models. */
#ifndef FACET_CLI_OPTIONS_H
#define FACET_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum command_id {
#define COMMAND(name, ...) COMMAND_##name,
#define OPTION(...)
#include "options.def"
    N_COMMANDS
} command_id;

typedef struct cli_command {
    const char *name;
    bool built;
    const char *arguments;
    int min_arguments, max_arguments; /* max -1: any number */
    const char *summary, *description;
} cli_command;

typedef enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_INTEGER, /* int64_t */
    OPTION_NUMBER,  /* double */
    OPTION_SEED,    /* option_seed */
    OPTION_CHOICE,  /* int: the index of the word */
    OPTION_TEXT,    /* const char *, NULL when not given */
    OPTION_LIST,    /* option_list: given any number of times */
    OPTION_UNBUILT  /* planned: refused when given; bool */
} option_kind;

typedef struct option_seed {
    bool given;
    uint64_t value;
} option_seed;

typedef struct option_list {
    const char **items; /* the strings belong to the command line */
    size_t n;
} option_list;

typedef struct cli_option {
    size_t offset; /* in cli_options */
    option_kind kind;
    char short_name; /* 0: none */
    const char *name;
    const char *value;
    const char *initial;
    double min, max;
    uint32_t commands; /* bit c: command c takes it */
    const char *help;
} cli_option;

typedef struct cli_options {
    command_id command;
    const char **arguments; /* what is not an option, in order */
    size_t n_arguments;

    const char *model, *system, *tools, *json_schema, *grammar, *ids, *output, *kl_base, *save_logits, *cpu,
        *completion, *imatrix, *type, *merge, *file, *device;
    const char *cache, *sha256;
    int64_t retries, stall;
    const char *host, *unix_path, *api_key_file, *tls_cert, *tls_key, *alias, *access_log;
    bool force, context_shift;
    int64_t port, parallel, queue, max_body, timeout, drain;
    option_list api_key, cors;
    bool to_safetensors, special;
    bool think, raw, stats, profile, fit, json, jsonl, no_special, bos, no_mmap, mlock, help, man;
    bool image;
    int64_t max_tokens, top_k, prompt_tokens, decode_tokens, repeats, depth, threads, context, ngl;
    double temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    option_seed seed;
    option_list logit_bias, stop, tensor_type, adapters;
    int kv;        /* a facet_kv_type */
    int speculate; /* a facet_speculation */
} cli_options;

extern const cli_command command_table[N_COMMANDS];
extern const cli_option option_table[];
extern const size_t n_options;

/* NULL: there is no such command. */
const cli_command *command_find(const char *name);

/* The option `name` ("temp", no dashes) of a command, or NULL. */
const cli_option *option_find(command_id command, const char *name, size_t n_bytes);

/* Parses argv of the whole program: argv[1] is the command. False: wrong usage, told in `why`. */
bool cli_options_parse(cli_options *o, int argc, char **argv, char *why, size_t why_bytes);
/* Sets one option from its text. False: `why` names the option and what is wrong with the value. */
bool cli_options_set(cli_options *o, const cli_option *what, const char *text, char *why, size_t why_bytes);
void cli_options_free(cli_options *o);

#endif
