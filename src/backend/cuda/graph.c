/* Steps as graphs: a sequence of launches that comes again is handed to the driver as a whole, which takes a few
 * microseconds instead of a few for each launch. A graph is kept for every sequence of kernels and grids; before it
 * is launched those arguments are brought up to date that have changed since its last use.
 *
 * A sequence is launched one by one when it is new: only what was seen before becomes a graph, so that prompts, whose
 * steps are all different, do not build graphs for nothing. Whatever fails here costs nothing but the graphs: they
 * are off from then on, and the launches go their ordinary way. See parts.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/parts.h"

enum { FEW_LAUNCHES = 8 }; /* not worth a graph */

/* ---- sequences */

/* FNV-1a over what makes a sequence: kernels and grids. */
static uint64_t digest_of(const cuda_launches *s) {
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < s->n; i++) {
        const cuda_launch *l = &s->launches[i];
        const uint64_t parts[] = {(uintptr_t)l->function, (uint64_t)l->groups_x << 32 | l->groups_y,
                                  (uint64_t)l->group << 32 | l->n};
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) h = (h ^ parts[k]) * 0x100000001b3;
    }
    return h;
}

static bool same_launch(const cuda_launch *a, const cuda_launch *b) {
    return a->function == b->function && a->groups_x == b->groups_x && a->groups_y == b->groups_y &&
           a->group == b->group && a->n == b->n;
}

static bool same_sequence(const cuda_launches *a, const cuda_launches *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!same_launch(&a->launches[i], &b->launches[i])) return false;
    }
    return true;
}

static bool copy_sequence(cuda_launches *to, const cuda_launches *from) {
    *to = *from;
    to->launches = malloc(from->n * sizeof *to->launches);
    to->words = malloc((from->n_words + 1) * sizeof *to->words);
    if (!to->launches || !to->words) return false;
    memcpy(to->launches, from->launches, from->n * sizeof *to->launches);
    memcpy(to->words, from->words, from->n_words * sizeof *to->words);
    return true;
}

/* True from the second time on. Of many sequences the oldest are forgotten. */
static bool was_seen(cuda_graphs *g, uint64_t digest) {
    for (size_t i = 0; i < CUDA_SEEN && i < g->n_seen; i++) {
        if (g->seen[i] == digest) return true;
    }
    g->seen[g->n_seen++ % CUDA_SEEN] = digest;
    return false;
}

/* ---- one graph */

static CUDA_KERNEL_NODE_PARAMS parameters(const cuda_launch *l, void **arguments) {
    return (CUDA_KERNEL_NODE_PARAMS){.func = l->function,
                                     .gridDimX = l->groups_x,
                                     .gridDimY = l->groups_y,
                                     .gridDimZ = 1,
                                     .blockDimX = l->group,
                                     .blockDimY = 1,
                                     .blockDimZ = 1,
                                     .kernelParams = arguments};
}

/* The launches one behind the other; `overlaps`: as programmatic dependent launches. */
static bool add_nodes(cuda_device *c, cuda_graph *g, bool overlaps) {
    const CUgraphEdgeData early = {.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC,
                                   .type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC};
    for (size_t i = 0; i < g->content.n; i++) {
        void *arguments[CUDA_ARGUMENTS];
        const cuda_launch *l = &g->content.launches[i];
        cuda_launch_arguments(&g->content, l, arguments);
        CUgraphNodeParams node = {.type = CU_GRAPH_NODE_TYPE_KERNEL};
        node.kernel = parameters(l, arguments);
        if (c->cu.GraphAddNode(&g->nodes[i], g->graph, i ? &g->nodes[i - 1] : NULL, i && overlaps ? &early : NULL,
                               i > 0, &node) != CUDA_SUCCESS)
            return false;
    }
    return true;
}

static void drop_graph(cuda_device *c, cuda_graph *g) {
    if (g->exec) c->cu.GraphExecDestroy(g->exec);
    if (g->graph) c->cu.GraphDestroy(g->graph);
    g->exec = NULL;
    g->graph = NULL;
}

static void close_graph(cuda_device *c, cuda_graph *g) {
    drop_graph(c, g);
    free(g->nodes);
    free(g->content.launches);
    free(g->content.words);
    *g = (cuda_graph){0};
}

static bool make_graph(cuda_device *c, cuda_graph *g, bool overlaps) {
    if (c->cu.GraphCreate(&g->graph, 0) != CUDA_SUCCESS) {
        g->graph = NULL;
        return false;
    }
    if (add_nodes(c, g, overlaps)) {
        if (c->cu.GraphInstantiate(&g->exec, g->graph, 0) == CUDA_SUCCESS) return true;
        g->exec = NULL;
    }
    drop_graph(c, g);
    return false;
}

static bool open_graph(cuda_device *c, cuda_graph *g, const cuda_launches *sequence) {
    *g = (cuda_graph){.nodes = calloc(sequence->n, sizeof(CUgraphNode))};
    bool ok = copy_sequence(&g->content, sequence) && g->nodes &&
              ((c->overlaps && make_graph(c, g, true)) || make_graph(c, g, false));
    if (!ok) close_graph(c, g);
    return ok;
}

/* The arguments of those launches that have others than before. */
static bool update_graph(cuda_device *c, cuda_graph *g, const cuda_launches *sequence) {
    for (size_t i = 0; i < sequence->n; i++) {
        const cuda_launch *l = &sequence->launches[i];
        uint64_t *known = g->content.words + l->first;
        const uint64_t *wanted = sequence->words + l->first;
        if (memcmp(known, wanted, l->n * sizeof *known) == 0) continue;
        void *arguments[CUDA_ARGUMENTS];
        memcpy(known, wanted, l->n * sizeof *known);
        cuda_launch_arguments(&g->content, l, arguments);
        CUDA_KERNEL_NODE_PARAMS node = parameters(l, arguments);
        if (c->cu.GraphExecKernelNodeSetParams(g->exec, g->nodes[i], &node) != CUDA_SUCCESS) return false;
    }
    return true;
}

/* ---- all graphs */

static cuda_graph *find(cuda_graphs *all, const cuda_launches *sequence) {
    for (size_t i = 0; i < CUDA_GRAPHS; i++) {
        cuda_graph *g = &all->kept[i];
        if (g->exec && same_sequence(&g->content, sequence)) return g;
    }
    return NULL;
}

/* A free place, or that of the graph that was not used for longest. */
static cuda_graph *place(cuda_device *c) {
    cuda_graph *best = &c->graphs.kept[0];
    for (size_t i = 1; i < CUDA_GRAPHS; i++) {
        if (c->graphs.kept[i].last_use < best->last_use) best = &c->graphs.kept[i];
    }
    close_graph(c, best);
    return best;
}

static bool has_graphs(const cuda_api *cu) {
    return cu->GraphCreate && cu->GraphDestroy && cu->GraphAddNode && cu->GraphInstantiate &&
           cu->GraphExecKernelNodeSetParams && cu->GraphLaunch && cu->GraphExecDestroy;
}

static bool try_launch(cuda_device *c, cuda_graph *g, const cuda_launches *sequence) {
    if (!update_graph(c, g, sequence) || c->cu.GraphLaunch(g->exec, c->stream) != CUDA_SUCCESS) return false;
    g->last_use = ++c->graphs.uses;
    return true;
}

bool cuda_graphs_launch(cuda_device *c, const cuda_launches *sequence) {
    cuda_graphs *all = &c->graphs;
    if (all->off || sequence->n < FEW_LAUNCHES) return false;
    cuda_graph *g = find(all, sequence);
    if (!g && !was_seen(all, digest_of(sequence))) return false;
    if (!g && has_graphs(&c->cu)) {
        g = place(c);
        if (!open_graph(c, g, sequence)) g = NULL;
    }
    if (g && try_launch(c, g, sequence)) return true;
    cuda_graphs_close(c);
    all->off = true;
    return false;
}

void cuda_graphs_close(cuda_device *c) {
    for (size_t i = 0; i < CUDA_GRAPHS; i++) close_graph(c, &c->graphs.kept[i]);
}
