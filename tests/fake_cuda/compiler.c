/* See compiler.h. The text is preprocessed, so that the kernels can be found by their marker, gets a function for
 * each that takes its arguments from an array, and is compiled; results are kept in the build's directory by a
 * digest. */
#include "compiler.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZE " -fsanitize=address --param asan-globals=0" /* these would not stay in a section */
#else
#define SANITIZE ""
#endif
#define FLAGS                                                                                                        \
    " -std=c++17 -O2 -fPIC -shared -march=native -ffp-contract=off -fno-strict-aliasing -fno-gnu-unique -w" SANITIZE

struct emulated_module {
    emulated_module *next;
    uint8_t digest[SHA256_BYTES];
    void *library;
    emulated_hooks **hooks;
    char *shared, *shared_end;
};

static bool read_file(const char *path, buffer *out) {
    FILE *f = fopen(path, "rb");
    char block[4096];
    size_t n;
    if (!f) return false;
    while ((n = fread(block, 1, sizeof block, f)) > 0) buffer_append(out, block, n);
    fclose(f);
    return !out->failed;
}

static bool write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool ok = fwrite(data, 1, n, f) == n;
    return fclose(f) == 0 && ok;
}

/* Runs a command; its messages become `out` when it fails. */
static bool run(const char *command, const char *log, buffer *out) {
    if (system(command) == 0) return true;
    read_file(log, out);
    return false;
}

/* A function for every kernel of the preprocessed text, as its name in quotes has it. */
static void add_entries(buffer *text) {
    static const char marker[] = "emulated_kernel";
    buffer entries = {0};
    const char *p = strchr(text->data, '\n'); /* behind the marker's definition */
    while ((p = strstr(p, marker)) != NULL) {
        const char *open = strchr(p, '('), *end = open, *name;
        p += sizeof marker - 1;
        if (!open) break;
        while (end[-1] == ' ') end--;
        for (name = end; name[-1] != ' ' && name[-1] != '\n'; name--) continue;
        char line[400];
        int n = (int)(end - name);
        snprintf(line, sizeof line,
                 "\nextern \"C\" { void emulated_%.*s(void **a) { emulated_call(%.*s, a); }"
                 " extern const size_t *const arguments_of_%.*s = emulated_arguments(%.*s); }",
                 n, name, n, name, n, name, n, name);
        buffer_text(&entries, line);
    }
    buffer_append(text, entries.data, entries.n);
    buffer_byte(text, '\n');
    buffer_free(&entries);
}

typedef struct work {
    char directory[512], source[600], preprocessed[600], library[600], log[600], kept[700];
} work;

static bool open_work(work *w, const char *text, const char *options) {
    sha256 s;
    uint8_t digest[SHA256_BYTES];
    char name[2 * SHA256_BYTES + 1];
    sha256_begin(&s);
    sha256_add(&s, text, strlen(text));
    sha256_add(&s, options, strlen(options));
    sha256_add(&s, FLAGS FACET_EMULATOR_VERSION, sizeof FLAGS FACET_EMULATOR_VERSION);
    sha256_end(&s, digest);
    sha256_text(digest, name);
    mkdir(FACET_EMULATOR_CACHE, 0777);
    snprintf(w->kept, sizeof w->kept, "%s/%s.so", FACET_EMULATOR_CACHE, name);
    snprintf(w->directory, sizeof w->directory, "%s/work-XXXXXX", FACET_EMULATOR_CACHE);
    if (!mkdtemp(w->directory)) return false;
    snprintf(w->source, sizeof w->source, "%s/kernels.cu", w->directory);
    snprintf(w->preprocessed, sizeof w->preprocessed, "%s/kernels.ii", w->directory);
    snprintf(w->library, sizeof w->library, "%s/kernels.so", w->directory);
    snprintf(w->log, sizeof w->log, "%s/log", w->directory);
    return true;
}

static void close_work(const work *w) {
    const char *files[] = {w->source, w->preprocessed, w->library, w->log, w->directory};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) remove(files[i]);
}

static bool compile(const work *w, const char *text, const char *options, buffer *out) {
    char command[4096];
    buffer whole = {0};
    if (!write_file(w->source, text, strlen(text))) return false;
    snprintf(command, sizeof command,
             FACET_EMULATOR_CXX " -E -P -x c++ -std=c++17 -march=native -include " FACET_EMULATOR_SOURCE
                                "/device.hpp %s '%s' -o '%s' 2>'%s'",
             options, w->source, w->preprocessed, w->log);
    if (!run(command, w->log, out)) return false;
    buffer_text(&whole, "#define emulated_kernel\n");
    bool ok = read_file(w->preprocessed, &whole);
    if (ok) add_entries(&whole);
    ok = ok && !whole.failed && write_file(w->source, whole.data, whole.n);
    buffer_free(&whole);
    snprintf(command, sizeof command, FACET_EMULATOR_CXX FLAGS " -x c++ '%s' -o '%s' 2>'%s'", w->source, w->library,
             w->log);
    return ok && run(command, w->log, out) && rename(w->library, w->kept) == 0;
}

bool emulator_compile(const char *text, const char *defines, int capability, buffer *out) {
    char options[1200];
    work w;
    *out = (buffer){0};
    snprintf(options, sizeof options, "-DFACET_EMULATOR -D__CUDACC__ -D__CUDA_ARCH__=%d0 %s", capability, defines);
    if (!open_work(&w, text, options)) return false;
    bool ok = access(w.kept, R_OK) == 0 || compile(&w, text, options, out);
    close_work(&w);
    return ok && read_file(w.kept, out);
}

/* Modules stay as long as the process: tests load the same ones again and again. */
static emulated_module *modules;

static bool open_library(emulated_module *m, const void *image, size_t n_bytes) {
    char path[64];
    int file = memfd_create("kernels", 0);
    if (file < 0) return false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (write_file(path, image, n_bytes)) m->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m->library) return false; /* the file stays open: the loader knows libraries by their paths */
    m->hooks = dlsym(m->library, "emulated");
    m->shared = dlsym(m->library, "__start_emulated_shared");
    m->shared_end = dlsym(m->library, "__stop_emulated_shared");
    return m->hooks != NULL;
}

emulated_module *emulator_load(const void *image, size_t n_bytes) {
    sha256 s;
    uint8_t digest[SHA256_BYTES];
    sha256_begin(&s);
    sha256_add(&s, image, n_bytes);
    sha256_end(&s, digest);
    for (emulated_module *m = modules; m; m = m->next) {
        if (memcmp(m->digest, digest, sizeof digest) == 0) return m;
    }
    emulated_module *m = calloc(1, sizeof *m);
    if (!m || !open_library(m, image, n_bytes)) {
        free(m);
        return NULL;
    }
    memcpy(m->digest, digest, sizeof digest);
    m->next = modules;
    return modules = m;
}

emulated_kernel_fn emulator_find(const emulated_module *m, const char *name) {
    char symbol[200];
    snprintf(symbol, sizeof symbol, "emulated_%s", name);
    return (emulated_kernel_fn)(uintptr_t)dlsym(m->library, symbol);
}

const size_t *emulator_arguments(const emulated_module *m, const char *name) {
    char symbol[200];
    snprintf(symbol, sizeof symbol, "arguments_of_%s", name);
    const size_t *const *sizes = dlsym(m->library, symbol);
    return sizes ? *sizes : NULL;
}

void emulated_module_attach(emulated_module *m, emulated_hooks *hooks) { *m->hooks = hooks; }

void emulated_module_spoil(emulated_module *m) {
    if (m->shared) memset(m->shared, 0xa5, (size_t)(m->shared_end - m->shared));
}
