/* The terminal: what it can do, dimmed text, the progress line, and interruption by Ctrl-C. */
#ifndef FACET_CLI_TERMINAL_H
#define FACET_CLI_TERMINAL_H

#include <facet.h>
#include <stdio.h>

/* True when escape sequences for colour may be written to `file`: a terminal that is not dumb, NO_COLOR not set. */
bool terminal_has_colour(FILE *file);

double terminal_seconds(void); /* a monotonic clock */

/* A line on the standard error with percent, rate and time left; nothing when that is no terminal. It appears after
 * half a second, so short work stays quiet. */
typedef struct progress {
    const char *what, *unit;
    double started, shown; /* seconds; shown 0: nothing is on the line */
    bool enabled;
} progress;
void progress_begin(progress *p, const char *what, const char *unit);
void progress_update(progress *p, size_t done, size_t total);
void progress_end(progress *p); /* clears the line */

/* Ctrl-C, SIGTERM and SIGHUP: cancel the watched session; with none watched, or the second time, end the program with
 * status 130. SIGPIPE is ignored: a closed output is an error that is told. SIGBUS, which reading a mapped file that
 * became shorter raises, ends the program with a message and status 1. */
void interrupt_install(void);
void interrupt_watch(facet_session *session); /* NULL: none */
bool interrupt_seen(void);
void interrupt_raise(void); /* as if it had come */
void interrupt_clear(void);

#endif
