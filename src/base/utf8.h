/* UTF-8 as the Unicode standard defines it: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef FACET_BASE_UTF8_H
#define FACET_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the well-formed character at s (n >= 1 bytes are there), or 0. *code may be NULL. */
size_t utf8_decode(const char *s, size_t n, uint32_t *code);
/* Writes a character (code <= 0x10FFFF, no surrogate) as 1 to 4 bytes; returns how many. */
size_t utf8_encode(uint32_t code, char out[4]);
/* Offset of the first byte that is not part of a well-formed character; n if there is none. */
size_t utf8_invalid(const char *s, size_t n);
/* The largest length <= n that does not end inside a character that the next bytes could complete. */
size_t utf8_complete(const char *s, size_t n);

#endif
