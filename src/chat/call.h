/* One tool call while it is being written: call:NAME{key:value,...}, a byte at a time. Knows nothing of the text
 * around it; see reply.c. */
#ifndef FACET_CHAT_CALL_H
#define FACET_CHAT_CALL_H

#include "base/buffer.h"
#include "base/value.h"
#include "chat/mark.h"

enum {
    CALL_MAX_DEPTH = 128,    /* of nested values; deeper is malformed */
    CALL_MAX_LONG_NAME = 128 /* declared names with a colon that are looked for */
};

typedef enum call_result { CALL_GOES_ON, CALL_COMPLETE, CALL_MALFORMED, CALL_NO_MEMORY } call_result;

typedef enum call_state {
    CALL_PREFIX,      /* "call:" */
    CALL_NAME,        /* up to '{' */
    CALL_KEY,         /* up to ':' */
    CALL_KEY_LONG,    /* beyond the first ':', as a declared name goes on there */
    CALL_KEY_QUOTED,  /* between quote tokens */
    CALL_KEY_CLOSED,  /* after them: ':' must follow */
    CALL_VALUE,       /* before the first byte of a value */
    CALL_STRING,      /* between quote tokens */
    CALL_WORD,        /* a bare value */
    CALL_AFTER_VALUE, /* ',' or the end of the container */
    CALL_END          /* everything is there but the closing token */
} call_state;

typedef struct call_frame {
    facet_value *container;
    const facet_value *schema; /* declared for it, or NULL */
} call_frame;

typedef struct call {
    call_state state;
    const facet_value *tools; /* borrowed: what is declared, or NULL */
    buffer name;
    buffer key;
    size_t key_end;   /* CALL_KEY_LONG: where the first ':' is */
    size_t key_limit; /* CALL_KEY_LONG: bytes to look at */
    buffer text;      /* of the string or word at hand */
    facet_value *arguments;
    call_frame frames[CALL_MAX_DEPTH];
    size_t depth;
} call;

void call_begin(call *c, const facet_value *tools); /* frees what the call before held */
/* Reads bytes until all are read or the call is over; *used tells how many. A byte that makes the call malformed is
 * not used. */
call_result call_bytes(call *c, const char *text, size_t n, size_t *used);
call_result call_mark(call *c, mark m);
bool call_in_quotes(const call *c);
void call_free(call *c);

#endif
