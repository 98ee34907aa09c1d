/* The turns of a chat in the tokens that the model reads: where they end, for contexts that run full. */
#ifndef FACET_COMMON_TURNS_H
#define FACET_COMMON_TURNS_H

#include <facet.h>

/* What facet_generation wants to know: `keep` tokens before the first message of the user; positions in front of each
 * later one, where earlier turns end. The last message of the user and what follows are no turn that may leave. */
typedef struct chat_turns {
    size_t keep;
    size_t *ends; /* NULL: none */
    size_t n;
} chat_turns;

/* False: no memory. keep is 1 at least. */
bool chat_turns_find(chat_turns *out, const facet_model *model, const int32_t *ids, size_t n);
void chat_turns_free(chat_turns *turns);
/* Sets the fields of the generation, which borrows the ends. */
void chat_turns_use(const chat_turns *turns, facet_generation *generation);

/* The messages [first, first + count) are the oldest turn behind those of the system; count 0: there is only one. */
void chat_oldest_turn(const facet_value *messages, size_t *first, size_t *count);

#endif
