/* The public functions on text, tokens and chats: the model's vocabulary behind facet.h. */
#include <stdlib.h>
#include <string.h>

#include "chat/prompt.h"
#include "engine/model.h"
#include "token/decoder.h"

struct facet_decoder {
    facet_model *model;
    decoder decoder;
};

facet_status facet_tokenize(const facet_model *m, const char *text, size_t n_bytes, bool parse_control, int32_t **out,
                            size_t *n, facet_error *err) {
    error_clear(err);
    token_list list = {0};
    facet_status status = vocab_encode(m->vocab, text, n_bytes, parse_control, &list, err);
    if (status != FACET_OK || list.n == 0) {
        free(list.ids);
        list = (token_list){0};
    }
    *out = list.ids;
    *n = list.n;
    return status;
}

facet_status facet_detokenize(const facet_model *m, const int32_t *ids, size_t n, bool show_control, char **out,
                              size_t *n_bytes, facet_error *err) {
    error_clear(err);
    buffer text = {0};
    *out = NULL;
    *n_bytes = 0;
    facet_status status =
        buffer_reserve(&text, 0) ? vocab_decode(m->vocab, ids, n, show_control, &text, err) : error_memory(err, 1);
    if (status != FACET_OK) {
        buffer_free(&text);
        return status;
    }
    text.data[text.n] = '\0';
    *out = text.data;
    *n_bytes = text.n;
    return FACET_OK;
}

facet_status facet_decoder_new(facet_decoder **out, facet_model *model, bool show_control, facet_error *err) {
    error_clear(err);
    facet_decoder *d = *out = calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d);
    d->model = model_ref(model);
    decoder_init(&d->decoder, model->vocab, show_control);
    return FACET_OK;
}

facet_status facet_decoder_push(facet_decoder *d, int32_t token, const char **text, size_t *n_bytes,
                                facet_error *err) {
    error_clear(err);
    return decoder_push(&d->decoder, token, text, n_bytes, err);
}

facet_status facet_decoder_finish(facet_decoder *d, const char **text, size_t *n_bytes) {
    return decoder_finish(&d->decoder, text, n_bytes, NULL);
}

void facet_decoder_free(facet_decoder *d) {
    if (!d) return;
    decoder_free(&d->decoder);
    facet_model_free(d->model);
    free(d);
}

int32_t facet_token_bos(const facet_model *m) { return vocab_bos(m->vocab); }
bool facet_token_is_control(const facet_model *m, int32_t token) { return vocab_is_control(m->vocab, token); }
bool facet_token_is_end(const facet_model *m, int32_t token) { return vocab_is_end(m->vocab, token); }
const char *facet_token_spelling(const facet_model *m, int32_t token, size_t *n_bytes) {
    return vocab_spelling(m->vocab, token, n_bytes);
}
int32_t facet_token_find(const facet_model *m, const char *spelling, size_t n_bytes) {
    return vocab_find(m->vocab, spelling, n_bytes);
}

facet_status facet_chat_render(facet_model *m, const facet_chat *chat, facet_prompt **out, facet_error *err) {
    *out = NULL;
    error_clear(err);
    FACET_TRY(options_check("facet_chat", chat->size, sizeof *chat, err));
    return chat_prompt_new(out, m->vocab, m->chat_kind, chat, err);
}
