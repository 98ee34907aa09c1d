/* The spellings of a reply's control tokens. See mark.h. */
#include "chat/mark.h"

#include <string.h>

static const char *const spellings[MARK_OTHER] = {
    [MARK_CHANNEL_OPEN] = "<|channel>",
    [MARK_CHANNEL_CLOSE] = "<channel|>",
    [MARK_CALL_OPEN] = "<|tool_call>",
    [MARK_CALL_CLOSE] = "<tool_call|>",
    [MARK_QUOTE] = "<|\"|>",
    [MARK_TURN_END] = "<turn|>",
    [MARK_ANSWER_OPEN] = "<|tool_response>",
    [MARK_EOS] = "<eos>",
};

mark mark_find(const char *text, size_t n) {
    mark m = 0;
    while (m < MARK_OTHER && (strlen(spellings[m]) != n || memcmp(spellings[m], text, n) != 0)) m++;
    return m;
}

bool mark_may_become(unsigned set, const char *text, size_t n) {
    for (mark m = 0; m < MARK_OTHER; m++) {
        if (set & 1u << m && strlen(spellings[m]) > n && memcmp(spellings[m], text, n) == 0) return true;
    }
    return false;
}
