/* Prompt lookup. See lookup.h. */
#include "engine/lookup.h"

#include <string.h>

/* The longest and the shortest run of last tokens that is looked for, the first length of a guess, and the longest
 * pause after misses. */
enum { LONGEST = 4, SHORTEST = 2, FIRST_LENGTH = 3, MAX_PAUSE = 32 };

/* Where the text goes on after the most recent earlier occurrence of the last `run` tokens; 0: there is none. */
static size_t find(const int32_t *tokens, size_t n, size_t run) {
    const int32_t *last = tokens + n - run;
    for (size_t end = n - 1; end >= run; end--) {
        if (memcmp(tokens + end - run, last, run * sizeof *last) == 0) return end;
    }
    return 0;
}

size_t lookup_guess(lookup *l, const int32_t *tokens, size_t n, size_t most, int32_t draft[LOOKUP_MAX_DRAFT]) {
    if (l->pause) {
        l->pause--;
        return 0;
    }
    size_t length = l->length ? l->length : FIRST_LENGTH;
    if (length > most) length = most;
    for (size_t run = LONGEST; run >= SHORTEST && length; run--) {
        size_t at = n > run ? find(tokens, n, run) : 0;
        if (at == 0) continue;
        if (length > n - at) length = n - at;
        memcpy(draft, tokens + at, length * sizeof *draft);
        return length;
    }
    return 0;
}

void lookup_learn(lookup *l, size_t n_draft, size_t n_right) {
    if (n_right == n_draft) {
        l->length = 2 * n_draft < LOOKUP_MAX_DRAFT ? 2 * n_draft : LOOKUP_MAX_DRAFT;
    } else {
        l->length = n_right + 1;
    }
    l->misses = n_right ? 0 : l->misses + 1;
    if (l->misses > 1) l->pause = l->misses * 4 < MAX_PAUSE ? l->misses * 4 : MAX_PAUSE;
}
