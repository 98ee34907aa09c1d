/* A growing run of bytes, always terminated once it holds anything. After a refused allocation it stays as it was and
 * remembers the failure, so that a writer can append freely and check once. */
#ifndef FACET_BASE_BUFFER_H
#define FACET_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct buffer {
    char *data; /* NULL until something is appended */
    size_t n;
    size_t capacity;
    bool failed;
} buffer;

bool buffer_reserve(buffer *b, size_t n_more); /* room for n_more bytes and the terminator */
bool buffer_append(buffer *b, const void *data, size_t n);
static inline bool buffer_text(buffer *b, const char *text) { return buffer_append(b, text, strlen(text)); }
bool buffer_byte(buffer *b, char c);
/* Keeps the memory. */
static inline void buffer_clear(buffer *b) {
    b->n = 0;
    b->failed = false;
    if (b->data) b->data[0] = '\0';
}
void buffer_free(buffer *b); /* leaves an empty buffer */
/* Drops the first n bytes. */
void buffer_drop(buffer *b, size_t n);

#endif
