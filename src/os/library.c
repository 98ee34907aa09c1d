/* Opening shared libraries. See library.h. */
#include "os/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

os_library *os_library_open(const char *const *names) {
    void *handle = NULL;
    for (; *names && !handle; names++) handle = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    return handle;
}

void os_library_close(os_library *library) {
    if (library) dlclose(library);
}

/* C has no conversion from a pointer to data to one to a function; POSIX says that both are alike here. */
os_function os_library_find(const os_library *library, const char *name) {
    void *symbol = dlsym((void *)(size_t)library, name);
    os_function function = NULL;
    memcpy(&function, &symbol, sizeof function);
    return function;
}

/* The loader's name for the file with this code; of a program it is whatever the program was started by. */
static const char *own_file(void) {
    static const char here = 0;
    Dl_info info;
    struct link_map *map = NULL;
    if (!dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return NULL;
    return map->l_name && map->l_name[0] == '/' ? map->l_name : "/proc/self/exe";
}

bool os_library_own_directory(char *out, size_t n_bytes) {
    char path[PATH_MAX];
    const char *file = own_file();
    if (!file || !realpath(file, path)) return false;
    *strrchr(path, '/') = '\0';
    int n = snprintf(out, n_bytes, "%s", path);
    return n >= 0 && (size_t)n < n_bytes;
}
