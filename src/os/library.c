/* Opening shared libraries. See library.h. */
#include "os/library.h"

#include <dlfcn.h>
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
