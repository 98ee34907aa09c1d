/* CUDA kernels from source. See compile.h. */
#include "backend/cuda/compile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static facet_status take_cubin(const nvrtc_api *nvrtc, nvrtcProgram p, const char *name, buffer *out,
                               facet_error *err) {
    size_t n = 0;
    if (nvrtc->GetCUBINSize(p, &n) != 0 || n == 0) return compile_failed(nvrtc, p, name, err);
    if (!buffer_reserve(out, n)) return error_memory(err, n);
    if (nvrtc->GetCUBIN(p, out->data) != 0) return compile_failed(nvrtc, p, name, err);
    out->n = n;
    return FACET_OK;
}

static facet_status run(const nvrtc_api *nvrtc, const char *text, const gpu_source *source, int capability,
                        buffer *out, facet_error *err) {
    char options[512];
    const char *words[MAX_OPTIONS];
    nvrtcProgram p;
    int n = snprintf(options, sizeof options, "%s --gpu-architecture=sm_%d %s", CUDA_COMPILE_OPTIONS, capability,
                     source->defines);
    if (n < 0 || (size_t)n >= sizeof options) return error_set(err, FACET_ERROR_INTERNAL, "too many definitions");
    if (nvrtc->CreateProgram(&p, text, source->name, 0, NULL, NULL) != 0) return error_memory(err, strlen(text));
    facet_status status = nvrtc->CompileProgram(p, split(options, words), words) == 0
                              ? take_cubin(nvrtc, p, source->name, out, err)
                              : compile_failed(nvrtc, p, source->name, err);
    nvrtc->DestroyProgram(&p);
    return status;
}

facet_status cuda_compile(const nvrtc_api *nvrtc, const gpu_source *source, int capability, buffer *out,
                          facet_error *err) {
    buffer text;
    *out = (buffer){0};
    facet_status status = join(source, &text) ? run(nvrtc, text.data, source, capability, out, err)
                                              : error_memory(err, source->piece_bytes[0]);
    buffer_free(&text);
    if (status != FACET_OK) buffer_free(out);
    return status;
}
