/* A file's bytes, mapped read-only or read into memory. Owns: the operating system's files and mappings. Knows
 * nothing of what the bytes mean. */
#ifndef FACET_OS_MAP_H
#define FACET_OS_MAP_H

#include "base/error.h"

typedef struct os_map {
    const uint8_t *data; /* aligned to a page; NULL for an empty file */
    size_t n_bytes;
    bool mapped;                /* false: read into memory */
    struct os_map_watch *watch; /* how the mapped file looked when it was opened; NULL: it cannot change any more */
} os_map;

/* `use_mmap` false: the whole file is read. Fails on directories, devices and anything else without a size. */
facet_status os_map_open(os_map *out, const char *path, bool use_mmap, facet_error *err);
/* FACET_ERROR_IO when the mapped file has another size or time of change than when it was opened, or was deleted: its
 * bytes may be others now, and those that are gone end the program when they are read. Takes about a microsecond; any
 * thread. */
facet_status os_map_check(const os_map *map, facet_error *err);
/* Tells that of these bytes, where they are mapped, only some are read, here and there: they come in small pages. */
void os_map_sparse(const os_map *map, const uint8_t *data, size_t n_bytes);
/* Asks for the range to stay resident; false when the system refuses. */
bool os_map_lock(const os_map *map);
void os_map_close(os_map *map);

#endif
