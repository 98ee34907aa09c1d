/* A chat that outgrows its context: which turns leave, and what the session keeps of the others. */
#include "chat.h"

#include <stdio.h>

static int render(const chat_state *c, facet_prompt **out) {
    facet_error error = {0};
    facet_chat chat;
    facet_value *messages = chat_history_copy(&c->history);
    *out = NULL;
    if (!messages) return report_no_memory();
    facet_chat_defaults(&chat);
    chat.messages = messages;
    chat.enable_thinking = c->settings.think;
    int status = facet_chat_render(c->a.model, &chat, out, &error) ? report_failure(&error, NULL) : EXIT_OK;
    facet_value_free(messages);
    return status;
}

static size_t context_of(const chat_state *c) {
    facet_engine_info info = {.size = sizeof info};
    return facet_engine_get_info(c->a.engine, &info) ? 0 : (size_t)info.max_context;
}

/* With room for an answer: a quarter of the context, or less where the answer is limited to that. */
static size_t room_for_prompt(const chat_state *c) {
    size_t context = context_of(c), reserve = context / 4;
    int32_t most = c->setup.generation.max_tokens;
    return context - (most >= 0 && (size_t)most < reserve ? (size_t)most : reserve);
}

static bool drop_oldest_turn(chat_state *c) {
    size_t first, count;
    facet_value *messages = chat_history_copy(&c->history);
    chat_oldest_turn(messages, &first, &count);
    facet_value_free(messages);
    if (count) chat_history_remove(&c->history, first, count);
    return count > 0;
}

static size_t common_tokens(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    size_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

/* How many tokens behind `from` have to leave the timeline, so that it goes on with as much as can be of the prompt.
 */
static size_t best_shift(const int32_t *timeline, size_t length, const int32_t *tokens, size_t n, size_t from) {
    size_t best = 0, most = 8; /* for less it is not worth it */
    for (size_t gone = 1; from + gone < length; gone++) {
        size_t same = common_tokens(timeline + from + gone, length - from - gone, tokens + from, n - from);
        if (same <= most) continue;
        most = same;
        best = gone;
    }
    return best;
}

/* Turns have left the prompt, which was `whole` before: they leave the timeline too, so that what follows them need
 * not be read again. Where the timeline has lost turns already, while an answer was made, they have to be looked for.
 */
static int shift_timeline(chat_state *c, const facet_prompt *whole, const facet_prompt *prompt) {
    facet_error error = {0};
    size_t n, n_whole, length = facet_session_length(c->a.session);
    const int32_t *tokens = facet_prompt_tokens(prompt, &n), *before = facet_prompt_tokens(whole, &n_whole);
    const int32_t *timeline = facet_session_tokens(c->a.session);
    size_t from = common_tokens(timeline, length, tokens, n), gone = n_whole - n;
    size_t common = common_tokens(timeline, length, before, n_whole);
    if (common + 1 < length)
        gone = best_shift(timeline, length, tokens, n, from);
    else if (from + gone >= common)
        gone = 0; /* nothing of what is kept has been read */
    if (gone == 0) return EXIT_OK;
    return facet_session_shift(c->a.session, from, gone, &error) ? report_failure(&error, NULL) : EXIT_OK;
}

/* Drops turns until half of the room is free, so that this does not come with each message. */
static int drop_turns(chat_state *c, facet_prompt **prompt) {
    char message[80];
    size_t n, n_dropped = 0;
    facet_prompt *whole = *prompt;
    int status = EXIT_OK;
    facet_prompt_tokens(whole, &n);
    while (!status && n > room_for_prompt(c) / 2 && drop_oldest_turn(c)) {
        if (*prompt != whole) facet_prompt_free(*prompt);
        status = render(c, prompt);
        if (!status) facet_prompt_tokens(*prompt, &n);
        n_dropped++;
    }
    if (!status && n_dropped) {
        snprintf(message, sizeof message, "the context is full: %zu of the oldest turns left it", n_dropped);
        report_warning(NULL, message);
        status = shift_timeline(c, whole, *prompt);
    }
    if (*prompt != whole) facet_prompt_free(whole);
    return status;
}

int chat_prompt(chat_state *c, facet_prompt **out) {
    size_t n;
    int status = render(c, out);
    if (status || !c->settings.context_shift) return status;
    facet_prompt_tokens(*out, &n);
    return n < room_for_prompt(c) ? EXIT_OK : drop_turns(c, out);
}
