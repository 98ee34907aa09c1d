/* Routes that turn text into tokens and prompts, without generating. */
#ifndef FACET_SERVER_TOKENS_H
#define FACET_SERVER_TOKENS_H

#include "exchange.h"

void tokens_tokenize(exchange *x);
void tokens_detokenize(exchange *x);
void tokens_apply_template(exchange *x);

#endif
