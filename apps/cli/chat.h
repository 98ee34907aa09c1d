/* The state of facet chat, and its parts: the list of messages, the line editor, the commands. */
#ifndef FACET_CLI_CHAT_H
#define FACET_CLI_CHAT_H

#include "answer.h"

/* Messages as in OpenAI's API; a system message can only be the first. */
typedef struct chat_history {
    facet_value **items;
    size_t n, capacity;
} chat_history;
bool chat_history_push(chat_history *h, facet_value *message); /* takes it; NULL or no memory: false */
void chat_history_truncate(chat_history *h, size_t n);
void chat_history_free(chat_history *h);
void chat_history_remove(chat_history *h, size_t first, size_t count);
facet_value *chat_history_copy(const chat_history *h); /* an array */
size_t chat_history_last_user(const chat_history *h);  /* its index; n: there is none */
bool chat_history_has_system(const chat_history *h);
bool chat_history_set_system(chat_history *h, const char *content); /* "": none */

typedef struct chat_editor chat_editor;
/* NULL: no memory. */
chat_editor *chat_editor_new(void);
void chat_editor_free(chat_editor *e);
bool chat_editor_interactive(const chat_editor *e);
/* The next message without its line break, valid until the next call; NULL at the end. */
const char *chat_editor_read(chat_editor *e, size_t *n);

typedef struct chat_state {
    app a;
    cli_options settings; /* a copy that /set changes; what it points to is the command line's */
    generation_setup setup;
    chat_history history;
    answer last;    /* of the last answer, for /stats */
    uint64_t retry; /* answers to the same messages so far */
    bool has_answer, quit;
} chat_state;

/* The prompt for the messages, short enough for the context and an answer: with --context-shift the oldest turns
 * leave the history, and the session's timeline too. */
int chat_prompt(chat_state *c, facet_prompt **out);

/* Answers the messages of the history and adds the answer to it. */
int chat_answer(chat_state *c);
/* A line that starts with '/'. Errors are told and returned; they don't end the chat. */
int chat_command(chat_state *c, const char *line);

#endif
