/* The control tokens that give a model's reply its shape. */
#ifndef FACET_CHAT_MARK_H
#define FACET_CHAT_MARK_H

#include <stdbool.h>
#include <stddef.h>

typedef enum mark {
    MARK_CHANNEL_OPEN,
    MARK_CHANNEL_CLOSE,
    MARK_CALL_OPEN,
    MARK_CALL_CLOSE,
    MARK_QUOTE,
    MARK_TURN_END, /* this and the next two end a generation */
    MARK_ANSWER_OPEN,
    MARK_EOS,
    MARK_OTHER /* any other control token; also how many marks have a spelling */
} mark;

enum {
    MARK_MAX_BYTES = 16,
    MARK_ALL = (1 << MARK_OTHER) - 1 /* a set of marks has bit m for mark m */
};

static inline bool mark_is_end(mark m) { return m >= MARK_TURN_END && m <= MARK_EOS; }
mark mark_find(const char *text, size_t n); /* the mark that is spelt so, or MARK_OTHER */
/* Whether some longer spelling of the set begins with these bytes. */
bool mark_may_become(unsigned set, const char *text, size_t n);

#endif
