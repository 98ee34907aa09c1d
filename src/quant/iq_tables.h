/* The codebooks of the IQ formats, a row in 16 bits. IQ1, IQ2: eight entries of two bits, the first in the lowest;
 * IQ3: four entries of four bits. Entries are indices into the format's few values (iq.c). */
#ifndef FACET_QUANT_IQ_TABLES_H
#define FACET_QUANT_IQ_TABLES_H

#include <stdint.h>

extern const uint16_t quant_iq1_grid[2048]; /* IQ1_S, IQ1_M */
extern const uint16_t quant_iq2_xxs_grid[256];
extern const uint16_t quant_iq2_xs_grid[512];
extern const uint16_t quant_iq2_s_grid[1024];
extern const uint16_t quant_iq3_xxs_grid[256];
extern const uint16_t quant_iq3_s_grid[512];

#endif
