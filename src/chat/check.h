/* What a chat must look like before it is rendered. */
#ifndef FACET_CHAT_CHECK_H
#define FACET_CHAT_CHECK_H

#include "base/error.h"

enum { CHAT_MAX_DEPTH = 256 }; /* of messages and tools: whoever recurses over them relies on it */

/* Refuses what the template could not render or would silently garble, and names the place: "messages[3].role is
 * missing". After it, every field that the renderer reads has the type it expects. */
facet_status check_chat(const facet_chat *chat, facet_error *err);

#endif
