/* A growing run of bytes. See buffer.h. */
#include "base/buffer.h"

#include <stdlib.h>

#include "base/checked.h"

bool buffer_reserve(buffer *b, size_t n_more) {
    size_t need;
    if (b->failed || !checked_add(b->n, n_more, &need) || !checked_add(need, 1, &need)) return !(b->failed = true);
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity < 32 ? 64 : b->capacity + b->capacity / 2;
    if (capacity < need) capacity = need;
    char *data = realloc(b->data, capacity);
    if (!data) return !(b->failed = true);
    b->data = data;
    b->capacity = capacity;
    return true;
}

bool buffer_append(buffer *b, const void *data, size_t n) {
    if (!buffer_reserve(b, n)) return false;
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
    b->data[b->n] = '\0';
    return true;
}

bool buffer_byte(buffer *b, char c) { return buffer_append(b, &c, 1); }

void buffer_free(buffer *b) {
    free(b->data);
    *b = (buffer){0};
}

void buffer_drop(buffer *b, size_t n) {
    if (n == 0) return;
    memmove(b->data, b->data + n, b->n - n + 1);
    b->n -= n;
}
