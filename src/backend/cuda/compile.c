/* CUDA kernels from source. See compile.h. */
#include "backend/cuda/compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/child.h"

enum { MAX_OPTIONS = 32 };

/* Words of a text, cut in place. */
static int split(char *text, const char *out[MAX_OPTIONS]) {
    int n = 0;
    char *rest;
    for (char *at = strtok_r(text, " ", &rest); at && n < MAX_OPTIONS; at = strtok_r(NULL, " ", &rest)) out[n++] = at;
    return n;
}

static bool join(const gpu_source *source, buffer *out) {
    *out = (buffer){0};
    for (size_t i = 0; i < source->n_pieces; i++) buffer_append(out, source->pieces[i], source->piece_bytes[i]);
    return !out->failed;
}

static facet_status compile_failed(const nvrtc_api *nvrtc, nvrtcProgram p, const char *name, facet_error *err) {
    size_t n = 0;
    nvrtc->GetProgramLogSize(p, &n);
    char *log = calloc(1, n + 1);
    if (!log) return error_memory(err, n + 1);
    nvrtc->GetProgramLog(p, log);
    char *line = strstr(log, "error");
    if (!line) line = log;
    line[strcspn(line, "\n")] = '\0';
    facet_status status = error_set(err, FACET_ERROR_STATE, "cannot compile %s for CUDA: %s", name, line);
    free(log);
    return status;
}

static facet_status take_image(const nvrtc_api *nvrtc, nvrtcProgram p, const char *name, bool ptx, buffer *out,
                               facet_error *err) {
    size_t n = 0;
    nvrtcResult code = ptx ? nvrtc->GetPTXSize(p, &n) : nvrtc->GetCUBINSize(p, &n);
    if (code != 0 || n == 0) return compile_failed(nvrtc, p, name, err);
    if (!buffer_reserve(out, n)) return error_memory(err, n);
    code = ptx ? nvrtc->GetPTX(p, out->data) : nvrtc->GetCUBIN(p, out->data);
    if (code != 0) return compile_failed(nvrtc, p, name, err);
    out->n = n;
    return FACET_OK;
}

static facet_status run(const nvrtc_api *nvrtc, const char *text, const gpu_source *source, cuda_target target,
                        buffer *out, facet_error *err) {
    char options[512];
    const char *words[MAX_OPTIONS];
    nvrtcProgram p;
    int n = snprintf(options, sizeof options, "%s --gpu-architecture=%s_%d %s", CUDA_COMPILE_OPTIONS,
                     target.ptx ? "compute" : "sm", target.capability, source->defines);
    if (n < 0 || (size_t)n >= sizeof options) return error_set(err, FACET_ERROR_INTERNAL, "too many definitions");
    if (nvrtc->CreateProgram(&p, text, source->name, 0, NULL, NULL) != 0) return error_memory(err, strlen(text));
    facet_status status = nvrtc->CompileProgram(p, split(options, words), words) == 0
                              ? take_image(nvrtc, p, source->name, target.ptx, out, err)
                              : compile_failed(nvrtc, p, source->name, err);
    nvrtc->DestroyProgram(&p);
    return status;
}

facet_status cuda_compile(const nvrtc_api *nvrtc, const gpu_source *source, cuda_target target, buffer *out,
                          facet_error *err) {
    buffer text;
    *out = (buffer){0};
    facet_status status = join(source, &text) ? run(nvrtc, text.data, source, target, out, err)
                                              : error_memory(err, source->piece_bytes[0]);
    buffer_free(&text);
    if (status != FACET_OK) buffer_free(out);
    return status;
}

/* ---- with the compiler that is here */

enum { MAX_ARCHITECTURES = 64, PATIENCE = 180 /* seconds; a program takes about one */ };

int cuda_compiler_knows(const nvrtc_api *nvrtc, int capability) {
    int n = 0, known[MAX_ARCHITECTURES], newest = 0;
    if (nvrtc->GetNumSupportedArchs(&n) != 0 || n > MAX_ARCHITECTURES || nvrtc->GetSupportedArchs(known) != 0) n = 0;
    for (int i = 0; i < n; i++) {
        if (known[i] <= capability && known[i] > newest) newest = known[i];
    }
    return newest;
}

/* The device's own code where the compiler knows it, else text for the driver. */
static cuda_target target_for(const nvrtc_api *nvrtc, int capability) {
    int newest = cuda_compiler_knows(nvrtc, capability);
    return newest && newest < capability ? (cuda_target){newest, true} : (cuda_target){capability, false};
}

typedef struct job {
    const gpu_source *source;
    int capability;
} job;

static facet_status compile_here(const job *j, buffer *out, facet_error *err) {
    nvrtc_api nvrtc;
    *out = (buffer){0};
    FACET_TRY(nvrtc_api_open(&nvrtc, err));
    facet_status status = cuda_compile(&nvrtc, j->source, target_for(&nvrtc, j->capability), out, err);
    nvrtc_api_close(&nvrtc);
    return status;
}

/* The answer: a status, then the image or the message. */
static void compile_and_tell(void *ctx, buffer *out) {
    buffer image;
    facet_error error;
    facet_status status = compile_here(ctx, &image, &error);
    buffer_append(out, &status, sizeof status);
    if (status == FACET_OK)
        buffer_append(out, image.data, image.n);
    else
        buffer_append(out, error.message, strlen(error.message) + 1);
    buffer_free(&image);
}

static facet_status take_answer(buffer *answer, facet_error *err) {
    facet_status status;
    if (answer->n < sizeof status)
        return error_set(err, FACET_ERROR_STATE, "the compiler for CUDA kernels is silent");
    memcpy(&status, answer->data, sizeof status);
    buffer_drop(answer, sizeof status);
    return status == FACET_OK ? FACET_OK : error_set(err, status, "%.*s", (int)answer->n, answer->data);
}

facet_status cuda_compile_apart(const gpu_source *source, int capability, buffer *out, facet_error *err) {
    job j = {source, capability};
    facet_status status;
    switch (os_child_run(compile_and_tell, &j, PATIENCE, out)) {
    case OS_CHILD_DONE: status = take_answer(out, err); break;
    case OS_CHILD_DIED:
        status = error_set(err, FACET_ERROR_STATE, "the compiler for CUDA kernels broke down over %s", source->name);
        break;
    default: status = compile_here(&j, out, err); break;
    }
    if (status != FACET_OK) buffer_free(out);
    return status;
}

gpu_cache_key cuda_cache_key(const gpu_source *source, cuda_target target) {
    gpu_limits part = {.kind = "cuda"};
    snprintf(part.name, sizeof part.name, "%s_%d", target.ptx ? "compute" : "sm", target.capability);
    return gpu_cache_key_of(&part, source, CUDA_COMPILE_OPTIONS);
}
