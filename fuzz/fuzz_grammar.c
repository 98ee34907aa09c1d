/* Grammars in GBNF of any kind: parsed and compiled, then followed for a while. */
#include <stdint.h>

#include "fuzz_matching.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    fuzz_words w;
    grammar *g;
    facet_error error = {0};
    fuzz_words_open(&w);
    grammar_vocab names = fuzz_names(&w);
    facet_status status = grammar_parse_gbnf(&g, &names, (const char *)data, n, &error);
    if (status == FACET_OK) {
        for (uint32_t seed = 0; seed < 3; seed++) fuzz_babble(&w, g, seed + (uint32_t)n);
    } else {
        check(!g && error.message[0] && error.position <= n);
        check(status == FACET_ERROR_FORMAT || status == FACET_ERROR_UNSUPPORTED || status == FACET_ERROR_MEMORY);
    }
    grammar_free(g);
    fuzz_words_close(&w);
    return 0;
}
