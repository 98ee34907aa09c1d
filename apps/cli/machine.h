/* What the machine can do and what this process takes of it, for bench. */
#ifndef FACET_CLI_MACHINE_H
#define FACET_CLI_MACHINE_H

#include <stdint.h>

/* Bytes per second that n_threads read from memory together: the best of a few passes over 256 MiB. 0: no memory. */
double machine_read_bandwidth(int n_threads);

/* RssAnon + RssShmem of this process now; 0 where the system does not tell. */
uint64_t machine_private_bytes(void);

/* The largest machine_private_bytes while it runs, looked at every few milliseconds by a thread of its own. */
typedef struct machine_watch machine_watch;
machine_watch *machine_watch_new(void); /* NULL: no memory or no thread */
uint64_t machine_watch_free(machine_watch *watch);

#endif
