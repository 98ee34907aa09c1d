/* Grammars of a model, and one generation that is held to one. Owns: struct facet_grammar, and the thought that may
 * come first. What a grammar permits is sample/grammar_match.h's business. */
#ifndef FACET_ENGINE_CONSTRAINT_H
#define FACET_ENGINE_CONSTRAINT_H

#include "engine/session.h"

typedef struct constraint constraint;

/* Of a generation after the session's timeline; *out is NULL where it has no grammar. */
facet_status constraint_new(constraint **out, const facet_generation *generation, const facet_session *s,
                            facet_error *err);
void constraint_free(constraint *c);
/* The permitted tokens, valid until the next call. */
facet_status constraint_mask(constraint *c, const uint64_t **mask, facet_error *err);
facet_status constraint_accept(constraint *c, int32_t id, facet_error *err);
bool constraint_finished(const constraint *c); /* nothing can follow */

#endif
