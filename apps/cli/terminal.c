/* Terminal and signals. The two variables of the signal handler are the program's only global state: a handler gets
 * no other argument. */
#include "terminal.h"
#include "report.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool terminal_has_colour(FILE *file) {
    const char *no_colour = getenv("NO_COLOR"), *kind = getenv("TERM");
    if (no_colour && no_colour[0]) return false;
    return isatty(fileno(file)) && kind && kind[0] && strcmp(kind, "dumb") != 0;
}

double terminal_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_begin(progress *p, const char *what, const char *unit) {
    *p = (progress){.what = what, .unit = unit, .started = terminal_seconds(), .enabled = isatty(STDERR_FILENO)};
}

void progress_update(progress *p, size_t done, size_t total) {
    double now = terminal_seconds(), elapsed = now - p->started;
    bool soon = p->shown > 0 ? now - p->shown < 0.1 : elapsed < 0.5;
    if (!p->enabled || soon || !total || !done) return;
    double rate = (double)done / elapsed, left = (double)(total - done) / rate;
    fprintf(stderr, "\r%s: %3.0f%%, %.0f %s/s, %.0f s left   ", p->what, 100.0 * (double)done / (double)total, rate,
            p->unit, left);
    p->shown = now;
}

void progress_end(progress *p) {
    if (p->shown > 0) fprintf(stderr, "\r%60s\r", "");
    p->shown = 0;
}

static _Atomic(facet_session *) watched;
static atomic_int interrupts;

static void on_signal(int number) {
    (void)number;
    facet_session *session = atomic_load(&watched);
    if (!session || atomic_fetch_add(&interrupts, 1) > 0) _exit(EXIT_INTERRUPTED);
    facet_session_cancel(session);
}

/* What the parent has set to be ignored (nohup does) stays ignored. */
static void catch_signal(int number) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) || action.sa_handler == SIG_IGN) return;
    action = (struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* A mapped file lost the bytes that were being read: there is no going on. Nothing but system calls here. */
static void on_lost_file(int number) {
    static const char told[] = "facet: a file that is in use became shorter, or its disk failed; "
                               "--no-mmap reads models into memory\n";
    (void)number;
    (void)!write(STDERR_FILENO, told, sizeof told - 1);
    _exit(EXIT_ERROR);
}

void interrupt_install(void) {
    struct sigaction lost = {.sa_handler = on_lost_file};
    sigemptyset(&lost.sa_mask);
    sigaction(SIGBUS, &lost, NULL);
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
    catch_signal(SIGHUP);
    signal(SIGPIPE, SIG_IGN);
}

void interrupt_watch(facet_session *session) { atomic_store(&watched, session); }
bool interrupt_seen(void) { return atomic_load(&interrupts) > 0; }
void interrupt_raise(void) { atomic_store(&interrupts, 1); }
void interrupt_clear(void) { atomic_store(&interrupts, 0); }
