/* A file that is being downloaded: "FILE.part" beside its place, with "FILE.part.info" telling which file on the
 * server it is a part of, so that another run can go on. Owns: both, and the lock that keeps a second run away. */
#ifndef FACET_COMMON_PART_FILE_H
#define FACET_COMMON_PART_FILE_H

#include <facet.h>

typedef struct part_file part_file;

/* Goes on with what an earlier run left. */
facet_status part_file_open(part_file **out, const char *path, facet_error *error);
uint64_t part_file_length(const part_file *p);
uint64_t part_file_total(const part_file *p);   /* as the server told; 0: unknown */
const char *part_file_mark(const part_file *p); /* "" */
/* From now on it is a part of this file: told before the first byte. */
facet_status part_file_describe(part_file *p, uint64_t total, const char *mark, facet_error *error);
facet_status part_file_append(part_file *p, const void *bytes, size_t n, facet_error *error);
/* Bytes that are there. */
facet_status part_file_read(const part_file *p, uint64_t offset, void *bytes, size_t n, facet_error *error);
facet_status part_file_restart(part_file *p, facet_error *error); /* empty again */
/* It becomes the file, whole; frees in any case. What could not be finished stays for another run. */
facet_status part_file_commit(part_file *p, facet_error *error);
void part_file_close(part_file *p); /* stays for another run, unless it is empty */

#endif
