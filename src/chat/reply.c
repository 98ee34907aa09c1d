/* Reads a model's reply back: thoughts, tool calls, content. Owns: what is format and what is text. The notation
 * inside calls is call.c's. Source: the output side of Gemma 4's chat format.
 *
 *   <|channel>thought\n ... \n<channel|>       reasoning, streamed; the two newlines belong to the format
 *   <|tool_call>call:NAME{...}<tool_call|>     a call, reported when it is complete
 *   <turn|>, <|tool_response>, <eos>           end the reply and print nothing, nor do the newlines after them
 *
 * Everything else is text, byte for byte. What begins like a construct and turns out not to be one is text up to the
 * byte or token that broke it, and is not looked at again: so time is linear. Held back is only what may still become
 * format: a started spelling, the newline that may end a thought, the text of an open call.
 *
 * Which tokens count: those flagged as control tokens. Spellings that come as ordinary text count as well until the
 * first flagged token shows that the source flags them; a construct that was opened by text can also be closed by
 * text. Inside a construct opened by a token only tokens count, so that strings may hold any spelling.
 *
 * A thought that is never closed cannot be taken back once it has been streamed: it stays reasoning. A call made by
 * token inside a thought is a call; the thought goes on after it. */
#include <stdlib.h>

#include "base/error.h"
#include "base/utf8.h"
#include "chat/call.h"
#include "chat/prompt.h"

static const char opening[] = "thought\n";

typedef enum reply_state {
    REPLY_TEXT,    /* content, or reasoning where in_thought */
    REPLY_OPENING, /* after <|channel>, before the end of "thought\n" */
    REPLY_CALL
} reply_state;

struct facet_reply_parser {
    facet_reply_fn on_event;
    void *ctx;
    facet_value *tools;
    reply_state state;
    bool in_thought;
    bool flags_seen;      /* the source flags its control tokens */
    bool thought_by_text; /* the thought was opened by text */
    bool thought_by_prompt;
    bool by_text;      /* the construct of `state` was */
    bool newline_held; /* in_thought: may be the format's */
    bool ended;        /* after an end token, while nothing but newlines came */
    buffer ends;       /* what came since, as text */
    size_t n_opening;  /* REPLY_OPENING: bytes of "thought\n" that are there */
    char partial[MARK_MAX_BYTES];
    size_t n_partial; /* the start of a spelling */
    buffer raw;       /* of an open construct: text after all if it breaks */
    call call;
    buffer out; /* to be reported */
    facet_reply_event_type out_type;
    bool failed;
};

/* ---- events */

static void check(facet_reply_parser *p, bool ok) {
    if (!ok) p->failed = true;
}

/* Reports the first n bytes that wait. */
static void report_text(facet_reply_parser *p, size_t n) {
    if (n == 0 || p->failed) return;
    char next = p->out.data[n];
    p->out.data[n] = '\0';
    facet_reply_event event = {.type = p->out_type, .text = p->out.data, .n_bytes = n};
    p->on_event(p->ctx, &event);
    p->out.data[n] = next;
    buffer_drop(&p->out, n);
}

static void write_text(facet_reply_parser *p, facet_reply_event_type type, const char *text, size_t n) {
    if (n == 0) return;
    if (type != p->out_type) report_text(p, p->out.n);
    p->out_type = type;
    check(p, buffer_append(&p->out, text, n));
}

static void report_call(facet_reply_parser *p) {
    size_t n;
    char *json = facet_value_to_json(p->call.arguments, &n);
    check(p, json != NULL);
    report_text(p, p->out.n);
    facet_reply_event event = {.type = FACET_REPLY_TOOL_CALL,
                               .text = json,
                               .n_bytes = n,
                               .name = p->call.name.data,
                               .name_bytes = p->call.name.n,
                               .arguments = p->call.arguments};
    if (!p->failed) p->on_event(p->ctx, &event);
    free(json);
}

/* ---- text */

static void write_newline(facet_reply_parser *p) {
    if (p->newline_held) write_text(p, FACET_REPLY_REASONING, "\n", 1);
    p->newline_held = false;
}

static void write_plain(facet_reply_parser *p, const char *text, size_t n) {
    if (n == 0) return;
    if (!p->in_thought) {
        write_text(p, FACET_REPLY_CONTENT, text, n);
        return;
    }
    write_newline(p);
    p->newline_held = text[n - 1] == '\n';
    write_text(p, FACET_REPLY_REASONING, text, n - p->newline_held);
}

static void release_ends(facet_reply_parser *p) {
    p->ended = false;
    write_plain(p, p->ends.data, p->ends.n);
    buffer_clear(&p->ends);
}

/* The construct at hand is none: its bytes are text. */
static void give_up(facet_reply_parser *p) {
    p->state = REPLY_TEXT;
    write_plain(p, p->raw.data, p->raw.n);
    buffer_clear(&p->raw);
}

static void open_construct(facet_reply_parser *p, reply_state state, const char *text, size_t n, bool control) {
    release_ends(p);
    p->state = state;
    p->by_text = !control;
    p->n_opening = 0;
    check(p, buffer_append(&p->raw, text, n));
    if (state == REPLY_CALL) call_begin(&p->call, p->tools);
}

/* Each of these reads some of n > 0 bytes and tells how many. */

static size_t text_bytes(facet_reply_parser *p, const char *text, size_t n) {
    size_t newlines = 0;
    while (p->ended && newlines < n && text[newlines] == '\n') newlines++;
    if (newlines) {
        check(p, buffer_append(&p->ends, text, newlines));
        return newlines;
    }
    release_ends(p);
    write_plain(p, text, n);
    return n;
}

static size_t opening_bytes(facet_reply_parser *p, const char *text) {
    if (*text != opening[p->n_opening]) {
        give_up(p);
        return 0;
    }
    check(p, buffer_append(&p->raw, text, 1));
    if (++p->n_opening == sizeof opening - 1) {
        p->state = REPLY_TEXT;
        p->in_thought = true;
        p->thought_by_text = p->by_text;
        p->thought_by_prompt = false;
        buffer_clear(&p->raw);
    }
    return 1;
}

static size_t call_text(facet_reply_parser *p, const char *text, size_t n) {
    size_t used;
    call_result result = call_bytes(&p->call, text, n, &used);
    check(p, result != CALL_NO_MEMORY);
    check(p, buffer_append(&p->raw, text, used));
    if (result == CALL_MALFORMED) give_up(p);
    return used;
}

static void on_bytes(facet_reply_parser *p, const char *text, size_t n) {
    while (n && !p->failed) {
        size_t used = p->state == REPLY_TEXT      ? text_bytes(p, text, n)
                      : p->state == REPLY_OPENING ? opening_bytes(p, text)
                                                  : call_text(p, text, n);
        text += used;
        n -= used;
    }
}

/* ---- tokens */

static void close_thought(facet_reply_parser *p) {
    release_ends(p);
    p->newline_held = false;
    p->in_thought = false;
}

static void end_mark(facet_reply_parser *p, const char *text, size_t n, bool control) {
    p->ended = true;
    if (!control) check(p, buffer_append(&p->ends, text, n));
}

/* The marks that text may spell here. */
static unsigned spelt_marks(const facet_reply_parser *p) {
    const unsigned ends = 1u << MARK_TURN_END | 1u << MARK_ANSWER_OPEN | 1u << MARK_EOS;
    if (p->state == REPLY_OPENING) return p->by_text ? MARK_ALL : 0;
    if (p->state == REPLY_CALL) return !p->by_text ? 0 : call_in_quotes(&p->call) ? 1u << MARK_QUOTE : MARK_ALL;
    if (p->in_thought) {
        bool by_text = p->thought_by_prompt ? !p->flags_seen : p->thought_by_text;
        return by_text ? ends | 1u << MARK_CHANNEL_CLOSE : 0;
    }
    return p->flags_seen ? 0 : ends | 1u << MARK_CHANNEL_OPEN | 1u << MARK_CALL_OPEN;
}

static void text_mark(facet_reply_parser *p, mark m, const char *text, size_t n, bool control) {
    if (!control && !(spelt_marks(p) & 1u << m)) m = MARK_OTHER;
    if (mark_is_end(m)) {
        end_mark(p, text, n, control);
    } else if (m == MARK_CHANNEL_OPEN && !p->in_thought) {
        open_construct(p, REPLY_OPENING, text, n, control);
    } else if (m == MARK_CHANNEL_CLOSE && p->in_thought) {
        close_thought(p);
    } else if (m == MARK_CALL_OPEN) {
        open_construct(p, REPLY_CALL, text, n, control);
    } else {
        release_ends(p);
        write_plain(p, text, n);
    }
}

/* False where the token broke the construct and is still to be read. */
static bool opening_mark(facet_reply_parser *p, mark m) {
    bool empty = m == MARK_CHANNEL_CLOSE && p->n_opening + 2 == sizeof opening; /* "thought" */
    if (empty) {
        p->state = REPLY_TEXT;
        buffer_clear(&p->raw);
    } else {
        give_up(p);
    }
    return empty;
}

static bool in_call_mark(facet_reply_parser *p, mark m, const char *text, size_t n) {
    call_result result = call_mark(&p->call, m);
    check(p, result != CALL_NO_MEMORY);
    if (result == CALL_MALFORMED) {
        give_up(p);
        return false;
    }
    check(p, buffer_append(&p->raw, text, n));
    if (result != CALL_COMPLETE) return true;
    write_newline(p);
    report_call(p);
    p->state = REPLY_TEXT;
    buffer_clear(&p->raw);
    return true;
}

static void on_mark(facet_reply_parser *p, mark m, const char *text, size_t n, bool control) {
    if (p->failed) return;
    if (p->state == REPLY_OPENING && opening_mark(p, m)) return;
    if (p->state == REPLY_CALL && in_call_mark(p, m, text, n)) return;
    if (!p->failed) text_mark(p, m, text, n, control);
}

/* ---- spellings in text */

static void release_partial(facet_reply_parser *p) {
    char text[MARK_MAX_BYTES];
    size_t n = p->n_partial;
    memcpy(text, p->partial, n);
    p->n_partial = 0;
    on_bytes(p, text, n);
}

/* One byte that begins or continues a spelling; false where it does neither and is still to be read. */
static bool spell(facet_reply_parser *p, char c) {
    unsigned marks = spelt_marks(p);
    p->partial[p->n_partial++] = c;
    if (mark_may_become(marks, p->partial, p->n_partial)) return true;
    mark m = mark_find(p->partial, p->n_partial);
    if (m != MARK_OTHER && marks & 1u << m) {
        size_t n = p->n_partial;
        p->n_partial = 0;
        on_mark(p, m, p->partial, n, false);
        return true;
    }
    p->n_partial--;
    release_partial(p);
    return false;
}

static void on_text(facet_reply_parser *p, const char *text, size_t n) {
    while (n && !p->failed) {
        if (p->n_partial || (*text == '<' && spelt_marks(p))) {
            bool used = spell(p, *text);
            text += used;
            n -= used;
            continue;
        }
        const char *next = spelt_marks(p) ? memchr(text, '<', n) : NULL;
        size_t run = next ? (size_t)(next - text) : n;
        on_bytes(p, text, run);
        text += run;
        n -= run;
    }
}

/* ---- the public face */

facet_status facet_reply_parser_new(facet_reply_parser **out, const facet_prompt *prompt, const facet_value *tools,
                                    facet_reply_fn on_event, void *ctx, facet_error *err) {
    *out = NULL;
    if (!on_event) return error_set(err, FACET_ERROR_ARGUMENT, "facet_reply_parser_new: on_event is NULL");
    facet_reply_parser *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    p->on_event = on_event;
    p->ctx = ctx;
    p->in_thought = p->thought_by_prompt = prompt && prompt->opens_thought;
    p->tools = value_copy(tools);
    if (tools && !p->tools) {
        facet_reply_parser_free(p);
        return error_memory(err, sizeof *p);
    }
    *out = p;
    return FACET_OK;
}

facet_status facet_reply_parser_push(facet_reply_parser *p, const char *text, size_t n_bytes, bool control) {
    if (!p || (!text && n_bytes)) return FACET_ERROR_ARGUMENT;
    if (control && n_bytes) {
        release_partial(p);
        p->flags_seen = true;
        on_mark(p, mark_find(text, n_bytes), text, n_bytes, true);
    } else {
        on_text(p, text, n_bytes);
    }
    report_text(p, utf8_complete(p->out.data, p->out.n));
    return p->failed ? FACET_ERROR_MEMORY : FACET_OK;
}

facet_status facet_reply_parser_finish(facet_reply_parser *p) {
    if (!p) return FACET_ERROR_ARGUMENT;
    release_partial(p);
    if (p->state != REPLY_TEXT) give_up(p);
    write_newline(p);
    report_text(p, p->out.n);
    buffer_clear(&p->ends);
    p->ended = p->in_thought = p->flags_seen = false;
    return p->failed ? FACET_ERROR_MEMORY : FACET_OK;
}

void facet_reply_parser_free(facet_reply_parser *p) {
    if (!p) return;
    facet_value_free(p->tools);
    call_free(&p->call);
    buffer_free(&p->ends);
    buffer_free(&p->raw);
    buffer_free(&p->out);
    free(p);
}
