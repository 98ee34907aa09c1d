/* facet: Gemma 4 language models on the machine in front of the user.
 *
 * Copyright 2026 The facet authors. SPDX-License-Identifier: Apache-2.0
 *
 * INTRODUCTION
 *   A facet_model is what a GGUF file holds: weights, vocabulary, chat format. It is immutable and can be shared by
 *   any number of engines and threads. A facet_engine owns the compute threads and the memory of the KV cache. A
 *   facet_session is one timeline of tokens. The caller always hands over the FULL list of tokens; the session keeps
 *   what it can of its KV cache, extends it, or rebuilds it.
 *
 *       facet_model *model;
 *       facet_engine *engine;
 *       facet_session *session;
 *       facet_error error;
 *       if (facet_model_open(&model, "gemma.gguf", NULL, &error)) puts(error.message);
 *       ...facet_engine_new, facet_session_new, facet_chat_render, facet_session_sync, facet_session_generate
 *
 *   A complete program is examples/embed.c.
 *
 * GLOSSARY
 *   token      an index into the vocabulary, 0 <= token < n_vocab; int32_t everywhere
 *   logits     n_vocab floats: the model's score of every token as the next one, after the model's own soft cap
 *   prefill    computing many prompt tokens at once;  decode: computing one token after another
 *   ubatch     the number of tokens computed together in one pass over the weights
 *   KV cache   keys and values of earlier tokens, kept so that they are computed once
 *   turn       one message of a chat, as the model sees it
 *
 * RULES THAT HOLD EVERYWHERE
 *   - Nothing here exits, prints, raises a signal or reads the environment. Every failure is a facet_status and,
 * where the caller gave a facet_error, a message that says what, where and what was expected.
 *   - Constructors set *out to NULL on failure and leave nothing behind. Every _free accepts NULL.
 *   - Option structs begin with their size in bytes. X_defaults(&x) fills every field; after that each value is
 *     literal: temperature 0 is greedy, top_k 0 is off. A NULL options pointer means the defaults. Values out of
 * range are FACET_ERROR_ARGUMENT.
 *   - Strings are UTF-8. Those returned by a function live as long as the object they came from, unless said
 * otherwise.
 *   - Results are the same bits for any number of threads, any batch size and any instruction set of the CPU.
 *   - Models may be used from any number of threads. Engine functions are thread-safe. A session, a decoder, a parser
 *     and a value have one caller at a time, with facet_session_cancel as the one exception. Callbacks run on the
 *     caller's thread; they may not call into the same session, except facet_session_cancel.
 *
 * ABI
 *   The shared library is libfacet.so.0. Before version 1.0 any minor version may change the interface. From 1.0 on,
 *   structs only grow at their end (their size field says which version the caller knows), enum values are never
 *   renumbered, and functions are never removed within a major version.
 */
#ifndef FACET_H
#define FACET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FACET_VERSION_MAJOR 0
#define FACET_VERSION_MINOR 1
#define FACET_VERSION_PATCH 0

#if defined(FACET_BUILD) && defined(__GNUC__)
#define FACET_API __attribute__((visibility("default")))
#else
#define FACET_API
#endif

/* The version of the library that is running, "0.1.0". */
FACET_API const char *facet_version(void);

/* ------------------------------------------------------------------------------------------------ errors */

/* Groups are sparse, so that new values fit beside their kin. 0 is success; everything else is a failure. */
typedef enum facet_status {
    FACET_OK = 0,
    FACET_ERROR_ARGUMENT = 10,    /* an argument or an option is out of range */
    FACET_ERROR_STATE = 11,       /* the object cannot do this now */
    FACET_ERROR_ENCODING = 12,    /* text that must be UTF-8 is not */
    FACET_ERROR_MEMORY = 20,      /* the system gave no memory or no thread */
    FACET_ERROR_BUDGET = 21,      /* the request needs more KV memory than the engine may use */
    FACET_ERROR_CONTEXT = 22,     /* more tokens than the context holds */
    FACET_ERROR_IO = 30,          /* a file could not be opened, read or written */
    FACET_ERROR_FORMAT = 40,      /* a file or a message is malformed */
    FACET_ERROR_TRUNCATED = 41,   /* a file ends before what it announces */
    FACET_ERROR_UNSUPPORTED = 42, /* well-formed, but not something facet can run: another architecture, type, ... */
    FACET_ERROR_CANCELLED = 50,   /* facet_session_cancel or a callback stopped the work; the session is usable */
    FACET_ERROR_TIMEOUT = 51,     /* what was waited for did not come in time; waiting again is possible */
    FACET_ERROR_INTERNAL = 90     /* a promise inside the library was broken: please report it */
} facet_status;

/* A short lower-case name: "ok", "out of memory", ... Never NULL, also for unknown values. */
FACET_API const char *facet_status_name(facet_status status);

/* Filled by failing functions when the caller passes one. Owned by the caller, holds no pointers. */
typedef struct facet_error {
    facet_status status;
    uint64_t position; /* byte offset in the input that is wrong, where that makes sense, else 0 */
    char message[256]; /* one line, no newline at the end, always terminated */
} facet_error;

/* Messages that are not failures: a chat template that is not Gemma's, an unusual file. Called on the thread that
 * does the work. `message` is one line and lives for the call only. */
typedef void (*facet_log_fn)(void *ctx, const char *message);

/* ------------------------------------------------------------------------------------------------ values */

/* Structured data (messages, tools, schemas, tool arguments) crosses this interface as a tree of values. Programs
 * build it from their own JSON library; facet writes JSON but never parses it. Numbers are kept as the text they were
 * written with. Objects keep their order; a key set twice keeps the last value. A value has one owner: adding it to
 * an array or an object hands it over, also when the call fails. */
typedef struct facet_value facet_value;
typedef enum facet_value_type {
    FACET_VALUE_NULL,
    FACET_VALUE_BOOL,
    FACET_VALUE_NUMBER,
    FACET_VALUE_STRING,
    FACET_VALUE_ARRAY,
    FACET_VALUE_OBJECT
} facet_value_type;

/* Constructors return NULL when there is no memory, or when the text is not UTF-8 or not a JSON number. */
FACET_API facet_value *facet_value_null(void);
FACET_API facet_value *facet_value_bool(bool b);
FACET_API facet_value *facet_value_number(const char *text, size_t n_bytes);
FACET_API facet_value *facet_value_string(const char *text, size_t n_bytes);
FACET_API facet_value *facet_value_array(void);
FACET_API facet_value *facet_value_object(void);
/* Both take `item`, which may be NULL (then they fail): so constructors nest without checks. */
FACET_API facet_status facet_value_append(facet_value *array, facet_value *item);
FACET_API facet_status facet_value_set(facet_value *object, const char *key, size_t key_bytes, facet_value *item);
FACET_API void facet_value_free(facet_value *value);

FACET_API facet_value_type facet_value_typeof(const facet_value *value); /* NULL counts as FACET_VALUE_NULL */
FACET_API bool facet_value_is_true(const facet_value *value);            /* a bool that is true */
/* The text of a string or a number, terminated; NULL for other types. `n_bytes` may be NULL. */
FACET_API const char *facet_value_text(const facet_value *value, size_t *n_bytes);
FACET_API size_t facet_value_count(const facet_value *value); /* members of an array or object, else 0 */
FACET_API const facet_value *facet_value_at(const facet_value *value, size_t i); /* NULL when there is none */
FACET_API const char *facet_value_key(const facet_value *object, size_t i, size_t *n_bytes);
FACET_API const facet_value *facet_value_get(const facet_value *object, const char *key); /* NULL when absent */
/* Compact JSON. The text is allocated with malloc and terminated; free it with facet_free. NULL: no memory. */
FACET_API char *facet_value_to_json(const facet_value *value, size_t *n_bytes);
/* Frees what this header says must be freed with it. */
FACET_API void facet_free(void *memory);

/* ------------------------------------------------------------------------------------------------ model */

typedef struct facet_model facet_model;

typedef struct facet_model_options {
    size_t size;
    bool vocabulary_only; /* false; true: skip the weights, so that a file without tensors opens */
    bool use_mmap;        /* true; false: read the file into memory, immune to changes of the file */
    bool lock_memory;     /* false; true: ask the system to keep the weights resident (a refusal is a warning) */
    facet_log_fn log;     /* NULL: warnings are dropped */
    void *log_ctx;
} facet_model_options;
FACET_API void facet_model_options_defaults(facet_model_options *options);

/* Called exactly once when the memory of facet_model_open_memory is no longer used, also when opening fails. */
typedef void (*facet_release_fn)(void *ctx, const void *data, size_t n_bytes);

/* Opens a GGUF file (version 2 or 3). For a split file ("x-00001-of-00003.gguf") name its first part. The weights are
 * mapped, not copied: the file must not change while the model is open. Before each step of a session its size and
 * time of change are looked at, and FACET_ERROR_IO says when it did, or was deleted. (What changes within a step is
 * beyond this: reading what is no longer there raises SIGBUS.) Without use_mmap the file may change or go. */
FACET_API facet_status facet_model_open(facet_model **out, const char *path, const facet_model_options *options,
                                        facet_error *error);
/* Opens a GGUF image in memory, zero copy. `data` must stay valid and unchanged until `release` is called (NULL:
 * until facet_model_free) and be aligned to 32 bytes. */
FACET_API facet_status facet_model_open_memory(facet_model **out, const void *data, size_t n_bytes,
                                               facet_release_fn release, void *ctx,
                                               const facet_model_options *options, facet_error *error);
/* Bytes that the caller fetches: from an encrypted file, an archive, a database. */
typedef struct facet_source {
    size_t size;
    uint64_t n_bytes; /* of the whole GGUF file */
    /* Fills `buffer` with the n_bytes at `offset`, always within the whole; called on the thread that opens the
     * model, one call at a time, from the front to the back, at most 4 MiB each. Anything but FACET_OK ends the
     * opening with that status; `error` (never NULL) may be filled with the reason. */
    facet_status (*read)(void *ctx, uint64_t offset, void *buffer, size_t n_bytes, facet_error *error);
    /* NULL, or called exactly once, when nothing more will be read: before the opening returns, also when it fails.
     */
    void (*release)(void *ctx);
    void *ctx;
} facet_source;
/* Opens a GGUF file that `source` gives, which is not kept. All of it is read into memory, with vocabulary_only the
 * directory alone (so that facet_fit_compute needs little of a file). The directory is judged before the rest is
 * read. use_mmap has no meaning here. */
FACET_API facet_status facet_model_open_source(facet_model **out, const facet_source *source,
                                               const facet_model_options *options, facet_error *error);
/* Models are reference counted by their engines, sessions, decoders and parsers; the memory goes with the last. */
FACET_API void facet_model_free(facet_model *model);

typedef enum facet_chat_kind {
    FACET_CHAT_SMALL, /* E2B, E4B */
    FACET_CHAT_LARGE  /* 12B, 26B-A4B, 31B: an empty thought opens answers when thinking is off */
} facet_chat_kind;

typedef struct facet_model_info {
    size_t size;
    const char *name;         /* general.name, or "" */
    const char *architecture; /* "gemma4" */
    uint64_t n_parameters;
    uint64_t weight_bytes; /* bytes of all tensors */
    int32_t n_vocab;
    int32_t n_layer;
    int32_t n_embd;
    int32_t n_context; /* the context the model was made for */
    int32_t n_expert;  /* 0 where there are none */
    bool has_weights;  /* false for a vocabulary-only model */
    bool has_template; /* the file carries a chat template */
    bool template_is_gemma4;
    facet_chat_kind chat_kind;
} facet_model_info;
/* Set info->size to sizeof *info before the call. */
FACET_API facet_status facet_model_get_info(const facet_model *model, facet_model_info *info);

/* ------------------------------------------------------------------------------------------------ loader */

/* A model whose GGUF file arrives in pieces: from the network, from another process. The pieces may come in any order
 * and size, twice, and from several threads. The model can be had, described, asked for tokens and measured
 * (facet_fit_compute) as soon as the front of the file is there, and it can compute: a step waits for the tensors of
 * each layer in turn. What it computes is the same, bit for bit, as from the file.
 *
 *     facet_loader_options_defaults(&options);
 *     options.n_bytes = size_of_the_file;
 *     facet_loader_new(&loader, &options, &error);
 *     on one thread:    while (receive(&offset, bytes, &n)) facet_loader_feed(loader, offset, bytes, n, &error);
 *                       if (connection broke for good) facet_loader_fail(loader, FACET_ERROR_IO, "the reason");
 *     on another one:   facet_loader_open(loader, &model, &error);  ...engine, session, answers...
 *
 * or on a single thread: feed everything, then facet_loader_finish. The memory it takes is that of the file, as it
 * arrives, and less than 4 MiB. Every function may be called from any thread at any time, except free, which must be
 * the last one. A model that was opened outlives the loader; if not all had arrived then, it fails from then on. */
typedef struct facet_loader facet_loader;

typedef struct facet_loader_options {
    size_t size;
    uint64_t n_bytes;       /* of the whole file; must be set */
    double timeout_seconds; /* 60; how long to wait when nothing arrives; INFINITY: for ever; 0: never wait */
    const uint8_t *sha256;  /* NULL; the 32 bytes of the whole file's SHA-256, checked when all has arrived; copied */
    bool vocabulary_only;   /* false; true: the model needs the front of the file only, and computes nothing */
    facet_log_fn log;       /* NULL: warnings are dropped */
    void *log_ctx;
} facet_loader_options;
FACET_API void facet_loader_options_defaults(facet_loader_options *options);
FACET_API facet_status facet_loader_new(facet_loader **out, const facet_loader_options *options, facet_error *error);

/* Bytes of the file from `offset` on; copied. What has arrived before is compared: FACET_ERROR_FORMAT when it
 * differs. A directory that is malformed or announces more than n_bytes is found out by the feed that completes it.
 * These, a wrong SHA-256, and facet_loader_fail or _cancel are failures of the loader, for ever: every call, and
 * every step of the model, returns them from then on. Not so FACET_ERROR_ARGUMENT (bytes outside of the file),
 * FACET_ERROR_STATE (more than 65536 separate ranges: fill holes first) and FACET_ERROR_MEMORY, after which the same
 * bytes may be fed again. */
FACET_API facet_status facet_loader_feed(facet_loader *loader, uint64_t offset, const void *bytes, size_t n_bytes,
                                         facet_error *error);
/* Who feeds gives up: whoever waits, or calls later, gets this status (not FACET_OK) and this message. Too late, and
 * without effect, once all bytes have arrived and were found right. */
FACET_API void facet_loader_fail(facet_loader *loader, facet_status status, const char *message);
/* The same with FACET_ERROR_CANCELLED; steps of the model get FACET_ERROR_STATE. */
FACET_API void facet_loader_cancel(facet_loader *loader);

typedef struct facet_loader_progress {
    size_t size;
    uint64_t n_bytes, total_bytes;   /* that have arrived, of so many */
    size_t n_tensors, total_tensors; /* whole ones; 0 of 0 while the directory is not there */
    bool has_directory;              /* facet_loader_open will not wait */
} facet_loader_progress;
/* Set progress->size to sizeof *progress before the call. */
FACET_API facet_status facet_loader_get_progress(facet_loader *loader, facet_loader_progress *progress);
/* The first range from `from` on that has not arrived: what to ask for after an interruption. False: there is none.
 */
FACET_API bool facet_loader_missing(facet_loader *loader, uint64_t from, uint64_t *offset, uint64_t *n_bytes);

/* The model, as soon as the directory has arrived. Waits for that: FACET_ERROR_TIMEOUT as options.timeout_seconds
 * says. Every call gives the same model, to be freed once for each call. Its engines wait for one small tensor
 * ("rope_freqs.weight") when they are made, its steps for each layer; then too FACET_ERROR_TIMEOUT tells that nothing
 * arrived, and the session can be asked again. facet_session_cancel ends the waiting of its session. */
FACET_API facet_status facet_loader_open(facet_loader *loader, facet_model **out, facet_error *error);
/* The same when all has arrived and been checked. Never waits: FACET_ERROR_TRUNCATED tells what is missing, and the
 * loader can go on. */
FACET_API facet_status facet_loader_finish(facet_loader *loader, facet_model **out, facet_error *error);
FACET_API void facet_loader_free(facet_loader *loader);

/* ------------------------------------------------------------------------------------------------ adapters */

/* A LoRA adapter: low-rank changes of a model's matrices, y = W x + scale * (alpha / rank) * B (A x), that sessions
 * put on and take off while the model stays as it is. Immutable; any number of sessions and threads may use one. */
typedef struct facet_adapter facet_adapter;

/* Opens a GGUF adapter (general.type "adapter", adapter.type "lora") for this model and checks every tensor against
 * it: a tensor that the model lacks or that has another shape is FACET_ERROR_FORMAT, a kind that facet cannot use (an
 * aLoRA, another architecture) FACET_ERROR_UNSUPPORTED, a model without weights FACET_ERROR_STATE. F32, F16 and BF16
 * stay where they are, mapped: the file must not change while the adapter is open. Quantised tensors are turned to
 * floats. The adapter holds the model: either may be freed first. */
FACET_API facet_status facet_adapter_open(facet_adapter **out, facet_model *model, const char *path,
                                          facet_error *error);
/* The same from a GGUF image in memory, of any alignment. `data` must stay valid and unchanged until `release` is
 * called (NULL: until the adapter is gone), which happens exactly once, also when opening fails. */
FACET_API facet_status facet_adapter_open_memory(facet_adapter **out, facet_model *model, const void *data,
                                                 size_t n_bytes, facet_release_fn release, void *ctx,
                                                 facet_error *error);
/* Adapters are reference counted by the sessions that use them; the memory goes with the last. */
FACET_API void facet_adapter_free(facet_adapter *adapter);

typedef struct facet_adapter_info {
    size_t size;
    const char *name; /* general.name, or "" */
    int32_t rank;     /* the largest of its tensors' */
    float alpha;
    size_t n_tensors;
    uint64_t n_bytes; /* of all tensors in the file */
} facet_adapter_info;
/* Set info->size to sizeof *info before the call. */
FACET_API facet_status facet_adapter_get_info(const facet_adapter *adapter, facet_adapter_info *info);

/* ------------------------------------------------------------------------------------------------ text and tokens */

/* Ids of a text. No BOS is added: facet_chat_render does, other callers put facet_token_bos() first.
 * `parse_control`: spellings such as "<|turn>" become control tokens; leave it false for text that users typed.
 * Any bytes are accepted: what is not UTF-8 becomes byte tokens. *out is malloc'ed (facet_free), NULL when *n is 0.
 */
FACET_API facet_status facet_tokenize(const facet_model *model, const char *text, size_t n_bytes, bool parse_control,
                                      int32_t **out, size_t *n, facet_error *error);
/* The text of ids as it would be printed; control tokens print nothing unless `show_control`. malloc'ed, terminated.
 */
FACET_API facet_status facet_detokenize(const facet_model *model, const int32_t *ids, size_t n, bool show_control,
                                        char **out, size_t *n_bytes, facet_error *error);

/* Streaming: token after token to text that never ends inside a UTF-8 character. */
typedef struct facet_decoder facet_decoder;
FACET_API facet_status facet_decoder_new(facet_decoder **out, facet_model *model, bool show_control,
                                         facet_error *error);
/* *text (terminated, may be empty) is valid until the next call on this decoder. */
FACET_API facet_status facet_decoder_push(facet_decoder *decoder, int32_t token, const char **text, size_t *n_bytes,
                                          facet_error *error);
/* What was held back: an unfinished character comes out as U+FFFD. The decoder can then be used for another text. */
FACET_API facet_status facet_decoder_finish(facet_decoder *decoder, const char **text, size_t *n_bytes);
FACET_API void facet_decoder_free(facet_decoder *decoder);

FACET_API int32_t facet_token_bos(const facet_model *model); /* -1 where the vocabulary has none */
FACET_API bool facet_token_is_control(const facet_model *model, int32_t token);
FACET_API bool facet_token_is_end(const facet_model *model, int32_t token); /* ends a generation */
/* The spelling in the vocabulary, not terminated. NULL when out of range. */
FACET_API const char *facet_token_spelling(const facet_model *model, int32_t token, size_t *n_bytes);
FACET_API int32_t facet_token_find(const facet_model *model, const char *spelling, size_t n_bytes); /* or -1 */

/* ------------------------------------------------------------------------------------------------ chat */

/* A chat in the shape of OpenAI's API. `messages`: array of objects {role, content, ...}; content is a string, null,
 * or an array of {type: "text", text}; assistant messages may hold reasoning (or reasoning_content) and tool_calls
 * (whose function.arguments is an OBJECT: parse the JSON string first); tool messages hold tool_call_id or name.
 * `tools`: array of {type: "function", function: {name, description, parameters}}, or NULL. */
typedef struct facet_chat {
    size_t size;
    const facet_value *messages; /* borrowed for the call */
    const facet_value *tools;    /* NULL: none */
    bool enable_thinking;        /* false */
    bool preserve_thinking;      /* false: thoughts of finished turns are dropped */
    bool add_generation_prompt;  /* true */
    bool continue_final_message; /* false; true: a last assistant message is continued instead of answered */
} facet_chat;
FACET_API void facet_chat_defaults(facet_chat *chat);

/* A rendered chat: its text, and its tokens. Control tokens come from the renderer only: whatever users, tools or
 * schemas hold stays text. */
typedef struct facet_prompt facet_prompt;
FACET_API facet_status facet_chat_render(facet_model *model, const facet_chat *chat, facet_prompt **out,
                                         facet_error *error);
FACET_API const char *facet_prompt_text(const facet_prompt *prompt, size_t *n_bytes); /* terminated */
FACET_API const int32_t *facet_prompt_tokens(const facet_prompt *prompt, size_t *n);  /* BOS first */
/* How many of the tokens come before the generation prompt: the part that later turns of the chat share. */
FACET_API size_t facet_prompt_history(const facet_prompt *prompt);
FACET_API void facet_prompt_free(facet_prompt *prompt);

/* Reads back what the model wrote. Malformed or unclosed constructs are content, never an error; every byte that is
 * not format comes out in exactly one event, whatever the cuts of the input. */
typedef enum facet_reply_event_type {
    FACET_REPLY_CONTENT,   /* text: a piece of the answer */
    FACET_REPLY_REASONING, /* text: a piece of the thought */
    FACET_REPLY_TOOL_CALL  /* text: the arguments as a JSON object; name: the function */
} facet_reply_event_type;
typedef struct facet_reply_event {
    facet_reply_event_type type;
    const char *text; /* terminated, lives for the call */
    size_t n_bytes;
    const char *name; /* FACET_REPLY_TOOL_CALL, else NULL */
    size_t name_bytes;
    const facet_value *arguments; /* FACET_REPLY_TOOL_CALL, else NULL; lives for the call */
} facet_reply_event;
typedef void (*facet_reply_fn)(void *ctx, const facet_reply_event *event);

typedef struct facet_reply_parser facet_reply_parser;
/* `prompt` says whether the prompt already opened a thought (NULL: it did not). `tools` as in facet_chat, copied: its
 * parameter names tell where a key ends. NULL: none. */
FACET_API facet_status facet_reply_parser_new(facet_reply_parser **out, const facet_prompt *prompt,
                                              const facet_value *tools, facet_reply_fn on_event, void *ctx,
                                              facet_error *error);
/* A piece of output. `control`: the piece is the spelling of a control token. Fails for lack of memory only. */
FACET_API facet_status facet_reply_parser_push(facet_reply_parser *parser, const char *text, size_t n_bytes,
                                               bool control);
FACET_API facet_status facet_reply_parser_finish(facet_reply_parser *parser);
FACET_API void facet_reply_parser_free(facet_reply_parser *parser);

/* ------------------------------------------------------------------------------------------------ constraints */

/* What an answer must look like. A grammar is made once, is immutable, belongs to a model and may be used by any
 * number of generations at the same time (facet_generation.grammar); it must outlive them. Every token is then chosen
 * among those with which the text can still become a complete one, so that the answer fits unless max_tokens or the
 * context cut it short. Control tokens are chosen only where the grammar names them, end-of-generation tokens also
 * where the text may end, and nowhere else. A text that fits the grammar in very many ways at once may end a
 * generation with FACET_ERROR_BUDGET. */
typedef struct facet_grammar facet_grammar;

/* GBNF, as llama.cpp has it: `root ::= "yes" | "no" | [0-9]{1,3} rest*`, comments from '#', <spelling> or <[id]> for
 * one token, '.' for any character. The start is the rule "root". FACET_ERROR_FORMAT with its position: malformed,
 * undefined or endless rules, rules that begin with themselves (left recursion). */
FACET_API facet_status facet_grammar_from_gbnf(facet_grammar **out, facet_model *model, const char *text,
                                               size_t n_bytes, facet_error *error);
/* JSON of a schema. Known: type (also a list), nullable, enum, const, properties, required, additionalProperties,
 * propertyNames, minProperties, maxProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, pattern,
 * format (date-time, date, time, duration, uuid, email, hostname, ipv4, uri), minimum, maximum, exclusiveMinimum,
 * exclusiveMaximum, multipleOf, $ref inside the schema (also recursive), allOf, anyOf, oneOf, and what only describes
 * (title, default, ...). What cannot be kept to is refused, never ignored: FACET_ERROR_UNSUPPORTED or
 * FACET_ERROR_FORMAT, and the message names its place ("#/properties/age/uniqueItems").
 *   Members come in the order in which the schema has them; those that are not required may be left out. An object
 * that declares properties has others only where additionalProperties says so. oneOf needs branches of which it is
 * plain that no value fits two. Integers are written with at most 18 digits and no fraction, numbers with at most 18
 * digits before the point; no string holds U+0000. Between JSON tokens there is nothing, a space, or a line break and
 * at most 32 blanks. A map may repeat a key. */
FACET_API facet_status facet_grammar_from_schema(facet_grammar **out, facet_model *model, const facet_value *schema,
                                                 facet_error *error);
/* Any JSON object. */
FACET_API facet_status facet_grammar_json_object(facet_grammar **out, facet_model *model, facet_error *error);
/* A tool call in Gemma's own notation, as facet_reply_parser reads it: of one of `tools` (as in facet_chat), or of
 * the one named by `choice` (NULL: any). `parallel`: one or more calls. Arguments fit the tool's parameters, which
 * are schemas as above, in the order of their names. */
FACET_API facet_status facet_grammar_from_tools(facet_grammar **out, facet_model *model, const facet_value *tools,
                                                const char *choice, bool parallel, facet_error *error);
FACET_API void facet_grammar_free(facet_grammar *grammar);

/* ------------------------------------------------------------------------------------------------ engine */

typedef struct facet_engine facet_engine;

typedef enum facet_kv_type { FACET_KV_F16, FACET_KV_Q8_0, FACET_KV_F32 } facet_kv_type;

typedef struct facet_engine_options {
    size_t size;
    int32_t n_threads;   /* 0: as many as this process may use; at most 256 */
    int32_t max_context; /* 0: the smaller of the model's context and 8192; the longest timeline of a session */
    int32_t ubatch;      /* 512; 1 to 4096 */
    facet_kv_type kv_type;
    uint64_t kv_bytes;     /* 0: what one session of max_context needs; a hard limit for all sessions together */
    uint32_t cpu_features; /* FACET_CPU_ALL; instruction sets the kernels may use, for tests and comparison */
    facet_log_fn log;      /* NULL: warnings are dropped */
    void *log_ctx;
    /* Where the layers are computed: NULL or "cpu"; "auto": the first device that has memory of its own, if any;
     * "cuda", "opencl", "opencl:1": by kind and number (facet_device_list). What a device computes is the same on
     * every run and in every batch, and the CPU's bits where it rounds as IEEE has it. A device that is not there, is
     * too small or fails is no error: the log says so and the CPU computes. Copied. */
    const char *device;
    int32_t n_device_layers;  /* -1: all; else at most so many, the others stay with the CPU */
    const char *kernel_cache; /* NULL; a directory that exists, for the device's compiled kernels. Copied. */
    /* NULL; tells how far the weights are on their way to the device, in KiB; false: stop (FACET_ERROR_CANCELLED). */
    bool (*upload_progress)(void *ctx, size_t done, size_t total);
    void *upload_ctx;
} facet_engine_options;
#define FACET_CPU_REFERENCE 0u /* plain C */
#define FACET_CPU_AVX2      1u /* AVX2, FMA and F16C */
#define FACET_CPU_AVX512    2u /* AVX-512 F, BW, VL, DQ and VNNI */
#define FACET_CPU_AVXVNNI   4u
#define FACET_CPU_NEON      8u /* with dot product */
#define FACET_CPU_I8MM      16u
#define FACET_CPU_ALL       0xffffffffu
FACET_API void facet_engine_options_defaults(facet_engine_options *options);

FACET_API facet_status facet_engine_new(facet_engine **out, facet_model *model, const facet_engine_options *options,
                                        facet_error *error);
/* Frees once the last session is gone. */
FACET_API void facet_engine_free(facet_engine *engine);

typedef struct facet_engine_info {
    size_t size;
    int32_t n_threads;
    int32_t max_context;
    int32_t ubatch;
    facet_kv_type kv_type;
    uint32_t cpu_features; /* the FACET_CPU_ sets in use */
    uint64_t kv_bytes;     /* reserved for the KV cache */
    uint64_t scratch_bytes;
    const char *device;      /* what computes, in words; until the next call on the engine */
    int32_t n_device_layers; /* 0: the CPU computes everything */
    uint64_t device_bytes;   /* of the device's memory */
} facet_engine_info;
FACET_API facet_status facet_engine_get_info(const facet_engine *engine, facet_engine_info *info);

/* The devices that facet_engine_options.device can name, and those that cannot be used. */
typedef struct facet_device {
    const char *kind; /* "cuda", "opencl" */
    int32_t index;
    const char *name, *version; /* of the device, of its driver; NULL where there is a problem */
    uint64_t memory_bytes;
    bool processor;      /* it is the CPU itself: of use for tests only */
    const char *problem; /* NULL, or why there is none of this kind */
} facet_device;
/* Opens the drivers that are here. `device` and its text live for the call. */
typedef void (*facet_device_fn)(void *ctx, const facet_device *device);
FACET_API void facet_device_list(facet_device_fn fn, void *ctx);

/* What running a model will take, from metadata alone (the model may be a header without weights). */
typedef struct facet_fit {
    size_t size;
    uint64_t weight_bytes;       /* mapped from the file, or read into memory without mmap */
    uint64_t kv_bytes;           /* for one session of max_context tokens */
    uint64_t kv_bytes_per_token; /* growth per token beyond the sliding window */
    uint64_t scratch_bytes;      /* activations, logits and per-thread panels */
    uint64_t vocabulary_bytes;
    uint64_t
        anonymous_bytes; /* the sum of what is not mapped from the file: the promise that peak memory stays under */
} facet_fit;
FACET_API facet_status facet_fit_compute(const facet_model *model, const facet_engine_options *options,
                                         facet_fit *fit, facet_error *error);

/* ------------------------------------------------------------------------------------------------ session */

typedef struct facet_session facet_session;

typedef struct facet_session_options {
    size_t size;
    int32_t max_context; /* 0: the engine's */
    bool share_prefix;   /* true: sessions whose tokens begin alike share that part of the KV cache; false: this one
                            shares with its own earlier timelines only */
    uint64_t cache_salt; /* 0; only sessions of the same salt share: one user's cache is not another's */
} facet_session_options;
FACET_API void facet_session_options_defaults(facet_session_options *options);

FACET_API facet_status facet_session_new(facet_session **out, facet_engine *engine,
                                         const facet_session_options *options, facet_error *error);
FACET_API void facet_session_free(facet_session *session);

/* Stops the call that runs on this session at the next ubatch or token; it returns FACET_ERROR_CANCELLED (generate:
 * FACET_OK with FACET_STOP_CANCELLED) and the session stays usable. Without a running call the next one is stopped.
 * Any thread, also a signal handler. */
FACET_API void facet_session_cancel(facet_session *session);

/* Progress of a prompt: `done` of `total` tokens that had to be computed. Return false to cancel. */
typedef bool (*facet_progress_fn)(void *ctx, size_t done, size_t total);

/* Makes the timeline exactly these n >= 1 tokens. The longest prefix whose keys and values are still known, from this
 * session or another, is reused, the rest is computed. Afterwards the logits of the last token are ready. On failure
 * the timeline is a prefix of `tokens`; FACET_ERROR_BUDGET: other sessions hold the KV memory that the tokens need,
 * and nothing was computed. *n_reused (may be NULL) tells how many tokens were not computed again. */
FACET_API facet_status facet_session_sync(facet_session *session, const int32_t *tokens, size_t n,
                                          facet_progress_fn progress, void *ctx, size_t *n_reused,
                                          facet_error *error);
FACET_API size_t facet_session_length(const facet_session *session); /* tokens on the timeline */
/* These tokens, facet_session_length of them, valid until the next call on the session. */
FACET_API const int32_t *facet_session_tokens(const facet_session *session);

/* Makes room on a timeline: the n tokens from position `from` on leave, those behind them move up. Their values are
 * kept and their keys turned to the new positions, so nothing is computed again; what they have seen of the tokens
 * that left stays in them. So the result is not what the shorter timeline alone would give, but the same whenever the
 * same calls are made, whatever other sessions do. The session goes on with it, and with facet_session_sync from the
 * part that is common; no other session ever sees it. One token at least must stay. Where the tokens behind are fewer
 * than a sliding window, and keys that it would reach back to are gone, the shorter timeline is computed like any
 * other by the next call that needs it. FACET_ERROR_BUDGET: other sessions hold the memory; the timeline is as
 * before, or empty. */
FACET_API facet_status facet_session_shift(facet_session *session, size_t from, size_t n, facet_error *error);

typedef struct facet_adapter_use {
    facet_adapter *adapter; /* opened for the engine's model */
    float scale;            /* 1: as trained; finite */
} facet_adapter_use;
/* From now on the session computes with these adapters, which add up, and no others; n 0: with none. Nothing is
 * loaded or computed here, but what was computed with other adapters is not used again: unless the set is the one the
 * session has (same adapters, scales and order), the timeline is empty afterwards and the next sync computes it anew.
 * The session holds the adapters until its next set or its end; `uses` is not kept. On failure nothing has changed.
 * At most 64 adapters. Sessions with different adapters share batches. */
FACET_API facet_status facet_session_set_adapters(facet_session *session, const facet_adapter_use *uses, size_t n,
                                                  facet_error *error);

/* The logits after the last token of the timeline: n_vocab floats, valid until the next call on the session.
 * NULL while the timeline is empty. */
FACET_API const float *facet_session_logits(facet_session *session);

/* Rows of logits as they are computed: `row` is the position of the token whose logits these are. Return false to
 * cancel. */
typedef bool (*facet_row_fn)(void *ctx, size_t row, const float *logits, size_t n_vocab);

/* Like sync, and streams the logits of every position >= first to `on_row`, in order. Positions of the timeline
 * before `first` that match are reused. */
FACET_API facet_status facet_session_score(facet_session *session, const int32_t *tokens, size_t n, size_t first,
                                           facet_row_fn on_row, void *ctx, facet_error *error);

/* The mean of the final hidden states of these tokens (after the output norm), n_embd floats, not normalised. All
 * tokens are computed, whatever the timeline holds; it is these tokens afterwards. */
FACET_API facet_status facet_session_embed(facet_session *session, const int32_t *tokens, size_t n, float *out,
                                           facet_error *error);

typedef struct facet_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids the token */
} facet_logit_bias;

/* Ways to compute several tokens at once when decoding. The text is the same with each, bit for bit. */
typedef enum facet_speculation {
    FACET_SPECULATE_NONE,
    FACET_SPECULATE_LOOKUP /* guesses from what stands earlier on the timeline: for text that repeats itself */
} facet_speculation;

/* How the next token is chosen. In this order: suppressed tokens, bias, penalties, temperature, top_k, top_p, min_p,
 * then a draw. Ties go to the lower token. The draw depends on (seed, choice, position) alone. */
typedef struct facet_sampling {
    size_t size;
    float temperature;       /* 1.0; 0: greedy */
    int32_t top_k;           /* 64; 0: off */
    float top_p;             /* 0.95; 1: off */
    float min_p;             /* 0: off */
    float repeat_penalty;    /* 1: off. Divides positive and multiplies negative logits of tokens seen */
    float presence_penalty;  /* 0: off. Subtracted once from the logits of tokens seen */
    float frequency_penalty; /* 0: off. Subtracted once per occurrence */
    int32_t penalty_last;    /* 64; how many of the last tokens count as seen, the prompt's included; -1: all */
    uint64_t seed;           /* 0 is a seed like any other */
    uint64_t choice;         /* 0; the index among several answers to one prompt */
    const facet_logit_bias *bias;
    size_t n_bias;
} facet_sampling;
FACET_API void facet_sampling_defaults(facet_sampling *sampling);

typedef enum facet_stop_reason {
    FACET_STOP_END,       /* the model ended its turn */
    FACET_STOP_STRING,    /* a stop string was written */
    FACET_STOP_LENGTH,    /* max_tokens */
    FACET_STOP_CONTEXT,   /* the context is full, and shift_keep is 0 */
    FACET_STOP_CANCELLED, /* facet_session_cancel */
    FACET_STOP_CALLBACK   /* on_token returned false */
} facet_stop_reason;

/* A token that could have been chosen. */
typedef struct facet_token_logprob {
    int32_t id;
    float logprob; /* natural log, before bias, penalties and temperature */
} facet_token_logprob;

/* One generated token. `text` never splits a UTF-8 character and never holds a stop string or a part of one: text is
 * held back while it might become one, so a token may come with the text of earlier ones, or with none. Where held
 * text must come out before a control token, or at the end, a call without a token (id -1) brings it. The
 * end-of-generation token is not reported. */
typedef struct facet_token {
    int32_t id;       /* -1: text only */
    bool control;     /* text is the spelling of a control token */
    const char *text; /* terminated; lives for the call */
    size_t n_bytes;
    float logprob; /* of the token, natural log, before bias, penalties and temperature; NaN unless asked for */
    const facet_token_logprob
        *top; /* the likeliest tokens, best first, as many as top_logprobs; lives for the call */
    size_t n_top;
} facet_token;
typedef bool (*facet_token_fn)(void *ctx, const facet_token *token);

typedef struct facet_generation {
    size_t size;
    facet_sampling sampling;
    int32_t max_tokens;      /* -1: until the context is full */
    const char *const *stop; /* strings, none empty */
    size_t n_stop;
    bool ignore_end;      /* false; true: go on after end-of-generation tokens (they are then never chosen) */
    bool logprobs;        /* false */
    int32_t top_logprobs; /* 0; 0 to 20: how many of the likeliest tokens come with each token; needs logprobs */
    const facet_grammar *grammar; /* NULL: none. When nothing more can follow the generation ends: FACET_STOP_END */
    bool grammar_after_thought; /* false; true: a thought may come first, held to nothing; so may the rest of one that
                                   the prompt has opened */
    facet_speculation speculation; /* FACET_SPECULATE_NONE */
    /* When the context is full. 0: the generation ends. Else the oldest turns leave as by facet_session_shift: the
     * first shift_keep tokens stay, of the turns that end in front of the positions turn_ends (ascending, at most the
     * length of the timeline) as many leave as make up half of what follows shift_keep, and where there are none
     * left, that half itself. */
    size_t shift_keep;
    const size_t *turn_ends;
    size_t n_turn_ends;
} facet_generation;
FACET_API void facet_generation_defaults(facet_generation *generation);

typedef struct facet_generation_result {
    size_t size;
    facet_stop_reason stop_reason;
    size_t n_generated;    /* tokens, the end-of-generation token included */
    double prompt_seconds; /* of the last sync */
    size_t prompt_tokens;  /* computed by the last sync */
    double decode_seconds;
    size_t n_guessed;   /* by speculation */
    size_t n_accepted;  /* of these, the ones that were right */
    size_t n_shifted;   /* tokens that left the timeline */
    int32_t stop_index; /* FACET_STOP_STRING: which of the strings; else -1 */
} facet_generation_result;

/* Generates after the timeline, which must not be empty. Chosen tokens join the timeline, the end-of-generation token
 * too. `on_token` may be NULL. `result` may be NULL; else set result->size first. */
FACET_API facet_status facet_session_generate(facet_session *session, const facet_generation *generation,
                                              facet_token_fn on_token, void *ctx, facet_generation_result *result,
                                              facet_error *error);

/* ------------------------------------------------------------------------------------------------ statistics */

/* The parts of a step on the processor, for facet_engine_stats. Normalisation of a layer's rows, and the preparation
 * of what products read, count where they stand. */
typedef enum facet_part {
    FACET_PART_EMBED, /* embeddings, the per-layer ones too, and rotation angles */
    FACET_PART_QKV,   /* queries, keys and values */
    FACET_PART_ATTENTION,
    FACET_PART_ATTENTION_OUTPUT,
    FACET_PART_GATE_UP, /* the feed-forward's first half */
    FACET_PART_DOWN,    /* its second */
    FACET_PART_EXPERTS,
    FACET_PART_PER_LAYER, /* the per-layer embeddings' products */
    FACET_PART_NORMS,     /* between these */
    FACET_PART_HEAD,      /* logits */
    FACET_N_PARTS
} facet_part;
/* "q, k, v" and so on; NULL beyond the last. */
FACET_API const char *facet_part_name(facet_part part);

/* What an engine does and has done, for servers and dashboards. Sessions that are called at the same time compute in
 * shared steps; n_step_sessions / n_steps is the mean size of a batch. */
typedef struct facet_engine_stats {
    size_t size;
    /* now */
    uint32_t n_sessions; /* that exist */
    uint32_t n_running;  /* in a call that computes */
    uint32_t n_waiting;  /* of these, waiting for a step or taking part in one */
    uint32_t last_step_sessions;
    uint64_t kv_bytes;        /* the budget: what the KV cache may use at most */
    uint64_t kv_used_bytes;   /* held by sessions */
    uint64_t kv_cached_bytes; /* known prefixes that no session holds, given up when the memory is needed */
    /* since the engine began */
    uint64_t n_steps;
    uint64_t n_step_sessions;           /* sessions of all steps */
    uint64_t n_tokens_prompt;           /* computed several at a time */
    uint64_t n_tokens_single;           /* computed one a step: decoding, and last tokens of prompts */
    uint64_t n_tokens_reused;           /* of prompts, not computed because they were known */
    uint32_t most_step_sessions;        /* in one step */
    double busy_seconds;                /* in steps */
    double part_seconds[FACET_N_PARTS]; /* of these, by part */
} facet_engine_stats;
/* Set stats->size to sizeof *stats before the call. */
FACET_API facet_status facet_engine_get_stats(facet_engine *engine, facet_engine_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
