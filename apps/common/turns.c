/* Turns: see turns.h. */
#include "turns.h"

#include <stdlib.h>
#include <string.h>

static bool opens_user(const facet_model *model, const int32_t *ids, size_t n) {
    char *text = NULL;
    size_t n_text = 0, look = n < 8 ? n : 8;
    if (facet_detokenize(model, ids, look, false, &text, &n_text, NULL)) return false;
    bool user = text && !strncmp(text, "user\n", 5);
    facet_free(text);
    return user;
}

bool chat_turns_find(chat_turns *out, const facet_model *model, const int32_t *ids, size_t n) {
    int32_t turn = facet_token_find(model, "<|turn>", 7);
    size_t first = 0, most = 0;
    *out = (chat_turns){.keep = 1};
    for (size_t i = 0; turn >= 0 && i < n; i++) most += ids[i] == turn;
    if (!most) return true;
    out->ends = malloc(most * sizeof *out->ends);
    if (!out->ends) return false;
    for (size_t i = 1; i < n; i++) {
        if (ids[i] != turn || !opens_user(model, ids + i + 1, n - i - 1)) continue;
        if (first)
            out->ends[out->n++] = i;
        else
            first = i;
    }
    if (first) out->keep = first;
    return true;
}

void chat_turns_free(chat_turns *turns) {
    free(turns->ends);
    *turns = (chat_turns){0};
}

void chat_turns_use(const chat_turns *turns, facet_generation *generation) {
    generation->shift_keep = turns->keep;
    generation->turn_ends = turns->ends;
    generation->n_turn_ends = turns->n;
}

static bool is_from(const facet_value *message, const char *who) {
    const facet_value *role = facet_value_get(message, "role");
    return facet_value_typeof(role) == FACET_VALUE_STRING && !strcmp(facet_value_text(role, NULL), who);
}

void chat_oldest_turn(const facet_value *messages, size_t *first, size_t *count) {
    size_t n = facet_value_count(messages), i = 0;
    while (i < n &&
           (is_from(facet_value_at(messages, i), "system") || is_from(facet_value_at(messages, i), "developer")))
        i++;
    *first = i;
    *count = 0;
    for (i++; i < n; i++) {
        if (!is_from(facet_value_at(messages, i), "user")) continue;
        *count = i - *first;
        return;
    }
}
