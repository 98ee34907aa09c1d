/* Moving keys and values to other positions, for sequences that lost some from their middle. Values do not know their
 * position and are copied as they are stored. A key does: the rotation by the angles of its old position is undone,
 * and the one by those of its new position done, on what is stored, so that keys of F16 and Q8_0 are rounded once
 * more. */
#include <fenv.h>
#include <string.h>

#include "model/pass.h"

typedef struct mover {
    const forward *f;
    const kv_sequence *kv;
    const kv_shift *shift;
    facet_kv_type type;
    float *old_cosine[2], *old_sine[2], *cosine[2], *sine[2]; /* [sliding][pairs] */
    float *head;
} mover;

size_t forward_shift_floats(const forward *f) { return 4 * (f->pairs[0] + f->pairs[1]) + hparams_max_head_dim(f->h); }

static void take_work(mover *m, float *work) {
    for (int kind = 0; kind < 2; kind++) {
        float **parts[] = {&m->old_cosine[kind], &m->old_sine[kind], &m->cosine[kind], &m->sine[kind]};
        for (size_t i = 0; i < 4; i++, work += m->f->pairs[kind]) *parts[i] = work;
    }
    m->head = work;
}

static void prepare_angles(const mover *m, size_t position) {
    const forward *f = m->f;
    for (int kind = 0; kind < 2; kind++) {
        size_t n = f->pairs[kind];
        if (n == 0) continue;
        cpu_rope_angles(f->cpu, (int32_t)(position + m->shift->n), f->inv_freq[kind], n, m->old_cosine[kind],
                        m->old_sine[kind]);
        cpu_rope_angles(f->cpu, (int32_t)position, f->inv_freq[kind], n, m->cosine[kind], m->sine[kind]);
        for (size_t i = 0; i < n; i++) m->old_sine[kind][i] = -m->old_sine[kind][i];
    }
}

static void move_row(const mover *m, uint32_t layer, uint32_t head, size_t position) {
    const forward *f = m->f;
    const layer_hparams *l = &f->h->layers[layer];
    size_t row_bytes = cpu_kv_row_bytes(m->type, l->head_dim), pairs = l->head_dim / 2;
    size_t from = position + m->shift->n, old_page = from / CPU_PAGE, page = position / CPU_PAGE;
    size_t old_at = from % CPU_PAGE * row_bytes, at = position % CPU_PAGE * row_bytes;
    cpu_kv_load(m->type, kv_shift_keys(m->shift, m->kv, layer, head, old_page) + old_at, l->head_dim, m->head);
    cpu_rope(f->cpu, m->head, m->old_cosine[l->sliding], m->old_sine[l->sliding], pairs);
    cpu_rope(f->cpu, m->head, m->cosine[l->sliding], m->sine[l->sliding], pairs);
    cpu_kv_store(f->cpu, m->type, m->head, l->head_dim, kv_keys(m->kv, layer, head, page) + at);
    memmove(kv_values(m->kv, layer, head, page) + at,
            kv_shift_values(m->shift, m->kv, layer, head, old_page) + old_at, row_bytes);
}

void forward_shift(const forward *f, const kv_sequence *kv, const kv_shift *shift, float *work) {
    mover m = {.f = f, .kv = kv, .shift = shift, .type = kv_sequence_type(kv)};
    fenv_t saved;
    take_work(&m, work);
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    for (size_t position = shift->from; position < shift->length; position++) {
        prepare_angles(&m, position);
        for (uint32_t layer = 0; layer < f->h->n_own; layer++) {
            if (position < kv_shift_first(shift, kv, layer)) continue;
            for (uint32_t head = 0; head < f->h->layers[layer].n_head_kv; head++) move_row(&m, layer, head, position);
        }
    }
    fesetenv(&saved);
}
