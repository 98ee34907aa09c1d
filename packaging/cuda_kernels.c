/* Compiles the CUDA kernels that models commonly use into files, which are installed with facet: then neither a
 * compiler nor time is needed for them at run time. The build runs it: cuda_kernels DIRECTORY TARGET... where a
 * target is "sm_90", the machine code of one compute capability, or "compute_90", text for all later ones.
 *
 * The list is not written down here: a device that only compiles is given to the same code that opens a model's
 * programs (gpu/programs.c), once for each shape of model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/compile.h"
#include "backend/gpu/parts.h"

/* Of a model, as far as programs depend on it: query heads for each KV head, of full and of sliding layers. */
typedef struct shape {
    const char *name;
    uint32_t sharing[2];
    bool experts;
} shape;
static const shape shapes[] = {{"E2B", {8, 8}, false},
                               {"E4B", {4, 4}, false},
                               {"12B", {16, 2}, false},
                               {"26B-A4B", {8, 2}, true},
                               {"31B", {8, 2}, false}};
static const quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16,   QUANT_Q4_0,  QUANT_Q4_1,
                                   QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0,   QUANT_Q3_K,  QUANT_Q4_K,
                                   QUANT_Q5_K, QUANT_Q6_K, QUANT_IQ4_XS, QUANT_IQ4_NL};
static const facet_kv_type kv_types[] = {FACET_KV_F16, FACET_KV_Q8_0};
#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- a device that only compiles */

typedef struct compiler {
    gpu_device base;
    nvrtc_api nvrtc;
    cuda_target target;
    const char *directory;
    size_t n_compiled;
} compiler;

static facet_status compile_program(gpu_device *d, gpu_program **out, const gpu_source *source, const char *cache,
                                    facet_error *err) {
    compiler *c = (compiler *)d;
    buffer image;
    gpu_cache_key key = cuda_cache_key(source, c->target);
    (void)cache;
    *out = NULL;
    if (gpu_cache_read(c->directory, &key, &image)) {
        buffer_free(&image);
        return FACET_OK;
    }
    FACET_TRY(cuda_compile(&c->nvrtc, source, c->target, &image, err));
    gpu_cache_write(c->directory, &key, image.data, image.n);
    buffer_free(&image);
    if (!gpu_cache_read(c->directory, &key, &image)) {
        return error_set(err, FACET_ERROR_IO, "cannot write to %s", c->directory);
    }
    buffer_free(&image);
    c->n_compiled++;
    return FACET_OK;
}

static facet_status no_kernel(gpu_device *d, gpu_kernel **out, gpu_program *p, const char *name, facet_error *err) {
    static char any;
    (void)d, (void)p, (void)name, (void)err;
    *out = (gpu_kernel *)&any;
    return FACET_OK;
}

static void free_nothing(gpu_device *d, gpu_kernel *k) { (void)d, (void)k; }
static void free_no_program(gpu_device *d, gpu_program *p) { (void)d, (void)p; }

static const gpu_driver driver = {.program_new = compile_program,
                                  .program_free = free_no_program,
                                  .kernel_new = no_kernel,
                                  .kernel_free = free_nothing};

/* ---- models */

static facet_status compile_model(compiler *c, const shape *s, facet_kv_type kv_type, facet_error *err) {
    layer_hparams layers[2] = {{.head_dim = 512}, {.head_dim = 256, .sliding = true}};
    gpu_matrix matrices[N_OF(types)][2] = {0};
    weight any = {0};
    hparams h = {.n_layer = 2, .layers = layers};
    weights w = {.n_matrices = s->experts ? 2 * N_OF(types) : N_OF(types)};
    for (int i = 0; i < 2; i++) {
        layers[i].n_head = s->sharing[i];
        layers[i].n_head_kv = 1;
    }
    for (size_t i = 0; i < w.n_matrices; i++) {
        gpu_matrix *m = &matrices[0][0] + i;
        quant_type type = types[i % N_OF(types)];
        *m = (gpu_matrix){
            .of = &any, .type = type, .input = rows_format_of(type)->input, .expert_groups = i >= N_OF(types)};
    }
    gpu g = {.device = &c->base, .h = &h, .w = &w, .kv_type = kv_type, .matrices = &matrices[0][0], .options.end = 2};
    facet_status status = gpu_programs_open(&g, err);
    if (status == FACET_OK) status = gpu_products_open(&g, err);
    gpu_programs_close(&g);
    return status;
}

static facet_status compile_all(compiler *c, facet_error *err) {
    for (size_t i = 0; i < N_OF(shapes); i++) {
        for (size_t k = 0; k < N_OF(kv_types); k++) FACET_TRY(compile_model(c, &shapes[i], kv_types[k], err));
    }
    return FACET_OK;
}

static bool read_target(const char *text, cuda_target *out) {
    const char *number = strchr(text, '_');
    *out = (cuda_target){number ? atoi(number + 1) : 0, strncmp(text, "compute", 7) == 0};
    return out->capability > 0;
}

int main(int argc, char **argv) {
    facet_error error = {0};
    compiler c = {.base = {.driver = &driver,
                           .limits = {.kind = "cuda", .group = 1024, .local_bytes = 48 << 10, .warps = true}},
                  .directory = argc > 1 ? argv[1] : NULL};
    facet_status status = nvrtc_api_open(&c.nvrtc, &error);
    for (int i = 2; i < argc && status == FACET_OK; i++) {
        if (!read_target(argv[i], &c.target))
            status = error_set(&error, FACET_ERROR_ARGUMENT, "'%s' is no target", argv[i]);
        else if (cuda_compiler_knows(&c.nvrtc, c.target.capability) == c.target.capability)
            status = compile_all(&c, &error);
        else
            printf("%s: left out, the compiler does not know it\n", argv[i]);
    }
    if (status != FACET_OK) fprintf(stderr, "cuda_kernels: %s\n", error.message);
    printf("%zu programs compiled\n", c.n_compiled);
    nvrtc_api_close(&c.nvrtc);
    return status == FACET_OK ? 0 : 1;
}
