/* Streaming decode. See decoder.h. */
#include "token/decoder.h"

#include "base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void decoder_init(decoder *d, const vocab *v, bool show_control) {
    *d = (decoder){.v = v, .show_control = show_control};
}

void decoder_free(decoder *d) {
    buffer_free(&d->held);
    buffer_free(&d->text);
}

/* Length of the ill-formed run at s that one U+FFFD stands for: the longest proper prefix of a character, or 1 byte.
 */
static size_t maximal_subpart(const char *s, size_t n) {
    size_t length = 1;
    while (length < 3 && length < n && utf8_complete(s, length + 1) == 0) length++;
    return length;
}

/* Moves what is decided from `held` to `text`; at the end of a text everything is. */
static bool convert(decoder *d, bool end) {
    const char *s = d->held.data;
    size_t n = end ? d->held.n : utf8_complete(s, d->held.n), at = 0;
    while (at < n) {
        size_t good = utf8_invalid(s + at, n - at);
        if (!buffer_append(&d->text, s + at, good)) return false;
        at += good;
        if (at == n) break;
        if (!buffer_text(&d->text, REPLACEMENT)) return false;
        at += maximal_subpart(s + at, n - at);
    }
    buffer_drop(&d->held, n);
    return true;
}

static bool push(decoder *d, int32_t id) {
    if (!vocab_is_control(d->v, id)) return vocab_piece(d->v, id, &d->held) && convert(d, false);
    return convert(d, true) && (!d->show_control || vocab_piece(d->v, id, &d->text));
}

static facet_status result(decoder *d, bool ok, const char **text, size_t *n_bytes, facet_error *err) {
    *text = ok && d->text.data ? d->text.data : "";
    *n_bytes = ok ? d->text.n : 0;
    return ok ? FACET_OK : error_memory(err, d->text.n + d->held.n);
}

facet_status decoder_push(decoder *d, int32_t id, const char **text, size_t *n_bytes, facet_error *err) {
    *text = "";
    *n_bytes = 0;
    if (id < 0 || id >= vocab_size(d->v))
        return error_set(err, FACET_ERROR_ARGUMENT, "token %d is not one of the %d", id, vocab_size(d->v));
    buffer_clear(&d->text);
    return result(d, push(d, id), text, n_bytes, err);
}

facet_status decoder_finish(decoder *d, const char **text, size_t *n_bytes, facet_error *err) {
    buffer_clear(&d->text);
    bool ok = convert(d, true);
    buffer_clear(&d->held);
    return result(d, ok, text, n_bytes, err);
}

facet_status vocab_decode(const vocab *v, const int32_t *ids, size_t n, bool show_control, buffer *out,
                          facet_error *err) {
    decoder d;
    decoder_init(&d, v, show_control);
    const char *text;
    size_t n_bytes;
    facet_status status = FACET_OK;
    for (size_t i = 0; i <= n && status == FACET_OK; i++) {
        status = i < n ? decoder_push(&d, ids[i], &text, &n_bytes, err) : decoder_finish(&d, &text, &n_bytes, err);
        if (status == FACET_OK && !buffer_append(out, text, n_bytes)) status = error_memory(err, n_bytes);
    }
    decoder_free(&d);
    return status;
}
