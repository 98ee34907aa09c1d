/* One answer of the model: computed, parsed, shown as it comes, and kept. Used by run and chat. */
#ifndef FACET_CLI_ANSWER_H
#define FACET_CLI_ANSWER_H

#include "app.h"
#include "turns.h"

typedef struct answer {
    text content, reasoning;
    facet_value *tool_calls; /* an array as in OpenAI's messages, or NULL */
    facet_generation_result result;
    size_t n_reused;  /* tokens of the prompt that were in the session already */
    bool interrupted; /* Ctrl-C ended it */
} answer;

/* Brings the session to `prompt` and streams the answer to the standard output; the thought is shown dimmed there on
 * a terminal, else on the standard error. `tools` may be NULL. An interrupted answer is success with `interrupted`.
 * The answer must be empty before and freed after, also on failure. */
int answer_chat(answer *out, app *a, const facet_prompt *prompt, const facet_value *tools,
                const facet_generation *generation);
/* The same for plain tokens: whatever the model writes is shown, control tokens by their spelling. */
int answer_raw(answer *out, app *a, const int32_t *tokens, size_t n, const facet_generation *generation);
/* Lets the context be shifted while an answer to these tokens is made; `turns` is for the caller to free, after it.
 */
int answer_allow_shift(chat_turns *turns, const app *a, const int32_t *tokens, size_t n,
                       facet_generation *generation);
void answer_free(answer *out);

/* The lines of --stats and /stats, on the standard error. */
void answer_print_stats(const answer *a, uint64_t seed);

#endif
