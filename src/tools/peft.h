/* A directory that PEFT wrote: which pairs of matrices it holds for which tensors, and how strong they are. Private
 * to src/tools. */
#ifndef FACET_TOOLS_PEFT_H
#define FACET_TOOLS_PEFT_H

#include "safetensors.h"
#include "sample/schema_lang.h"

enum { PEFT_MAX_NAME = 96 };

typedef enum peft_kind {
    PEFT_LINEAR,    /* a [rank, in], b [out, rank] */
    PEFT_EMBEDDING, /* a [rank, n_vocab], b [width, rank] */
    PEFT_EXPERTS,   /* of all experts: a [experts * rank, .], b [., rank * experts], experts last; see peft_settle */
    PEFT_STACKED    /* a [experts, rank, in], b [experts, out, rank] */
} peft_kind;

typedef struct peft_pair {
    peft_kind kind;
    char module[256];         /* as in the file, for messages */
    char name[PEFT_MAX_NAME]; /* "blk.3.ffn_up.weight"; of PEFT_EXPERTS "blk.3." alone until their shapes are known */
    const safetensor *a, *b;
    uint64_t rank; /* of PEFT_EXPERTS times the experts */
    double alpha;  /* its own, or the adapter's */
} peft_pair;

/* Of the modules that an entry of alpha_pattern matches. */
typedef struct peft_strength {
    lang *modules;
    double alpha;
} peft_strength;

typedef struct peft_adapter {
    safetensors files;
    json_t *config;
    double alpha;
    peft_strength *strengths; /* the first that matches counts */
    size_t n_strengths;
    bool rank_stabilised; /* strength alpha / sqrt(rank) instead of alpha / rank */
    peft_pair *pairs;     /* layer by layer */
    size_t n;
} peft_adapter;

/* What facet cannot express is refused by its name. On failure nothing is left. */
facet_status peft_open(peft_adapter *p, const char *dir, facet_error *error);
/* Which parameter a pair of PEFT_EXPERTS changes, for those who know the model. */
void peft_settle(const peft_adapter *p, peft_pair *pair, bool is_down);
void peft_close(peft_adapter *p);

#endif
