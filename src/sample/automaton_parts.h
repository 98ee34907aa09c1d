/* What the files of the automaton share; nobody else includes it. */
#ifndef FACET_SAMPLE_AUTOMATON_PARTS_H
#define FACET_SAMPLE_AUTOMATON_PARTS_H

#include "sample/automaton.h"

/* automaton_sets.c: frames and configurations, each there once */
facet_status automaton_reserve(automaton *a, list *l, size_t n_more, size_t size);
size_t automaton_sort_ways(way *ways, size_t n); /* drops what is there twice */
/* The frame of the links from `first` on, which are dropped where it is known. */
facet_status automaton_intern_frame(automaton *a, size_t first, uint32_t *out);
facet_status automaton_intern(automaton *a, const way *ways, size_t n, bool may_end, uint32_t *out);

/* automaton_step.c: every way after byte `byte`, or after token `id` where byte is negative; before anything is read
 */
facet_status automaton_make_step(automaton *a, uint32_t at, int byte, int32_t id, uint32_t *out);
facet_status automaton_make_start(automaton *a, uint32_t *out);

#endif
