/* The functions of the format families, for format.c's table alone: everybody else goes through quant_format. */
#ifndef FACET_QUANT_FAMILIES_H
#define FACET_QUANT_FAMILIES_H

#include <stddef.h>

#define QUANT_READS(name)  void quant_dequantise_##name(const void *blocks, float *out, size_t n_blocks)
#define QUANT_WRITES(name) void quant_quantise_##name(const float *x, void *blocks, size_t n_blocks)

/* float.c */
QUANT_READS(f32);
QUANT_READS(f16);
QUANT_READS(bf16);
QUANT_WRITES(f32);
QUANT_WRITES(f16);
QUANT_WRITES(bf16);
/* q4_q8.c */
QUANT_READS(q4_0);
QUANT_READS(q4_1);
QUANT_READS(q5_0);
QUANT_READS(q5_1);
QUANT_READS(q8_0);
QUANT_WRITES(q4_0);
QUANT_WRITES(q4_1);
QUANT_WRITES(q5_0);
QUANT_WRITES(q5_1);
QUANT_WRITES(q8_0);
/* kquants.c */
QUANT_READS(q2_k);
QUANT_READS(q3_k);
QUANT_READS(q4_k);
QUANT_READS(q5_k);
QUANT_READS(q6_k);
/* quantise.c */
QUANT_WRITES(q2_k);
QUANT_WRITES(q3_k);
QUANT_WRITES(q4_k);
QUANT_WRITES(q5_k);
QUANT_WRITES(q6_k);
QUANT_WRITES(iq4_nl);
QUANT_WRITES(iq4_xs);
QUANT_WRITES(mxfp4);
QUANT_WRITES(nvfp4);
/* iq.c */
QUANT_READS(iq1_s);
QUANT_READS(iq1_m);
QUANT_READS(iq2_xxs);
QUANT_READS(iq2_xs);
QUANT_READS(iq2_s);
QUANT_READS(iq3_xxs);
QUANT_READS(iq3_s);
QUANT_READS(iq4_nl);
QUANT_READS(iq4_xs);
/* ternary.c */
QUANT_READS(tq1_0);
QUANT_READS(tq2_0);
QUANT_WRITES(tq1_0);
QUANT_WRITES(tq2_0);
/* fp4.c */
QUANT_READS(mxfp4);
QUANT_READS(nvfp4);

#undef QUANT_READS
#undef QUANT_WRITES

#endif
