/* Embeddings: the mean of the final hidden states of a text, after the output norm and before the head. */
#include <stdlib.h>

#include "engine/session.h"

typedef struct mean {
    double *sums; /* [n_embd], in the order of the tokens */
    size_t n_embd;
} mean;

static bool add_rows(void *ctx, const float *rows, size_t n_rows) {
    mean *m = ctx;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < m->n_embd; i++) m->sums[i] += (double)rows[r * m->n_embd + i];
    }
    return true;
}

facet_status facet_session_embed(facet_session *s, const int32_t *tokens, size_t n, float *out, facet_error *err) {
    error_clear(err);
    mean m = {.n_embd = s->engine->model->hparams.n_embd};
    m.sums = calloc(m.n_embd, sizeof *m.sums);
    if (!m.sums) return error_memory(err, m.n_embd * sizeof *m.sums);
    facet_status status = session_hidden(s, tokens, n, add_rows, &m, err);
    for (size_t i = 0; status == FACET_OK && i < m.n_embd; i++) out[i] = (float)(m.sums[i] / (double)n);
    free(m.sums);
    return status;
}
