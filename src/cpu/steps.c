/* The float steps and attention of cpu.h, handed to the table. What needs no kernel is here in full. */
#include <math.h>

#include "cpu/registry.h"

void cpu_rms_norm(const cpu_table *cpu, const float *x, const float *w, float eps, size_t n, float *out) {
    cpu->rms_norm(x, w, eps, n, out);
}
void cpu_rms_norm_add(const cpu_table *cpu, const float *x, const float *w, float eps, size_t n, float *residual) {
    cpu->rms_norm_add(x, w, eps, n, residual);
}
void cpu_scale(const cpu_table *cpu, float *x, float s, size_t n) { cpu->scale(x, s, n); }
void cpu_add(const cpu_table *cpu, float *x, const float *y, size_t n) { cpu->add(x, y, n); }
void cpu_add_scaled(const cpu_table *cpu, float *x, const float *y, float s, size_t n) {
    cpu->add_scaled(x, y, s, n);
}
void cpu_lora_add(const cpu_table *cpu, const matrix *b, size_t row, size_t n_rows, const float *t, size_t n_tokens,
                  float s, float *y, size_t ldy) {
    cpu->lora_add(b, row, n_rows, t, n_tokens, s, y, ldy);
}
void cpu_gelu_mul(const cpu_table *cpu, const float *gate, const float *up, size_t n, float *out) {
    cpu->gelu_mul(gate, up, n, out);
}
void cpu_soft_cap(const cpu_table *cpu, float *x, float cap, size_t n) { cpu->soft_cap(x, cap, n); }
void cpu_softmax(const cpu_table *cpu, float *x, size_t n) { cpu->softmax(x, n); }
void cpu_rope_angles(const cpu_table *cpu, int32_t position, const float *inv_freq, size_t n, float *cosine,
                     float *sine) {
    cpu->rope_angles(position, inv_freq, n, cosine, sine);
}
void cpu_rope(const cpu_table *cpu, float *x, const float *cosine, const float *sine, size_t n) {
    cpu->rope(x, cosine, sine, n);
}

static const quant_format *kv_format(facet_kv_type type) {
    return quant_format_of(type == FACET_KV_Q8_0 ? QUANT_Q8_0 : type == FACET_KV_F32 ? QUANT_F32 : QUANT_F16);
}
size_t cpu_kv_row_bytes(facet_kv_type type, size_t head_dim) {
    return (size_t)quant_row_bytes(kv_format(type), head_dim);
}
void cpu_kv_load(facet_kv_type type, const uint8_t *row, size_t head_dim, float *x) {
    const quant_format *f = kv_format(type);
    f->dequantise(row, x, head_dim / f->block);
}
void cpu_kv_store(const cpu_table *cpu, facet_kv_type type, const float *x, size_t head_dim, uint8_t *row) {
    cpu->kv_store(type, x, head_dim, row);
}

void cpu_attend(const cpu_table *cpu, const cpu_span *span) { cpu->attend(span); }

void cpu_attend_merge(const cpu_table *cpu, float *max, float *sum, float *out, float span_max, float span_sum,
                      const float *span_out, size_t head_dim) {
    if (span_max == -INFINITY) return;
    cpu->attend_merge(max, sum, out, span_max, span_sum, span_out, head_dim);
}

void cpu_attend_finish(const cpu_table *cpu, float sum, float *out, size_t head_dim) {
    cpu->attend_finish(sum, out, head_dim);
}
