/* Tells the two kinds of chat format apart by a file's Jinja template, which spells newlines as \n inside its string
 * literals, or holds them as they are. */
#include "chat/render.h"

static bool contains(const char *text, size_t n, const char *needle) {
    return text && memmem(text, n, needle, strlen(needle)) != NULL;
}

facet_chat_kind chat_kind_detect(const char *chat_template, size_t n_bytes, bool has_ple, bool *is_gemma4) {
    bool has_turns = contains(chat_template, n_bytes, "<|turn>") && contains(chat_template, n_bytes, "<turn|>");
    if (is_gemma4) *is_gemma4 = !chat_template || has_turns;
    if (!chat_template) return has_ple ? FACET_CHAT_SMALL : FACET_CHAT_LARGE;
    bool empty_thought = contains(chat_template, n_bytes, "<|channel>thought\\n<channel|>") ||
                         contains(chat_template, n_bytes, "<|channel>thought\n<channel|>");
    return empty_thought ? FACET_CHAT_LARGE : FACET_CHAT_SMALL;
}
