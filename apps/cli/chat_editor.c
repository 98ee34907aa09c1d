/* Reading messages: libedit on a terminal that can move its cursor, plain lines otherwise. Owns the history file.
 *
 * While libedit edits, the terminal sends Ctrl-C as a character (isig is off), so that it can clear the line or, on
 * an empty line the second time, leave. Pasted text arrives between ESC [200~ and ESC [201~ and is taken as it is. */
#include "chat.h"

#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, PATH_BYTES = 4096 };

struct chat_editor {
    EditLine *el; /* NULL: plain lines */
    History *history;
    bool interactive;
    bool more;      /* the line goes on */
    int interrupts; /* Ctrl-C in a row on an empty line */
    char *line;     /* of getline */
    size_t capacity;
    text message;
    char history_path[PATH_BYTES];
};

bool chat_editor_interactive(const chat_editor *e) { return e->interactive; }

static chat_editor *client(EditLine *el) {
    void *data = NULL;
    el_get(el, EL_CLIENTDATA, &data);
    return data;
}

static char *prompt(EditLine *el) {
    static char first[] = "> ", more[] = ". "; /* libedit wants them writable */
    return client(el)->more ? more : first;
}

/* The rest of a paste goes into the line. */
static unsigned char paste(EditLine *el, int ch) {
    static const wchar_t end[] = L"\033[201~";
    size_t matched = 0;
    wchar_t c;
    (void)ch;
    while (end[matched] && el_wgetc(el, &c) == 1) {
        if (c == end[matched]) {
            matched++;
            continue;
        }
        for (size_t i = 0; i < matched; i++)
            if (i) el_winsertstr(el, (wchar_t[]){end[i], 0}); /* the escape itself is of no use in a message */
        matched = c == end[0];
        if (!matched) el_winsertstr(el, (wchar_t[]){c == L'\r' ? L'\n' : c, 0});
    }
    return CC_REFRESH;
}

static unsigned char interrupt(EditLine *el, int ch) {
    chat_editor *e = client(el);
    const LineInfoW *line = el_wline(el);
    int n = (int)(line->lastchar - line->buffer);
    (void)ch;
    e->interrupts = n || e->more ? 0 : e->interrupts + 1;
    e->more = false;
    cli_text_clear(&e->message);
    if (e->interrupts > 1) return CC_EOF;
    fputs(n ? "^C" : "^C (again, or Ctrl-D, to leave)", stdout);
    el_cursor(el, (int)(line->lastchar - line->cursor));
    el_deletestr(el, n);
    el_winsertstr(el, L"\n");
    fputc('\n', stdout);
    return CC_NEWLINE;
}

static void find_history_path(chat_editor *e) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char folder[PATH_BYTES - 16];
    int n = 0;
    if (state && state[0] == '/')
        n = snprintf(folder, sizeof folder, "%s", state);
    else if (home && home[0] == '/')
        n = snprintf(folder, sizeof folder, "%s/.local/state", home);
    if (n <= 0 || (size_t)n >= sizeof folder) return;
    for (char *p = folder + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(folder, 0700);
        *p = '/';
    }
    mkdir(folder, 0700);
    snprintf(e->history_path, sizeof e->history_path, "%s/facet", folder);
    mkdir(e->history_path, 0700);
    snprintf(e->history_path, sizeof e->history_path, "%s/facet/history", folder);
}

static void open_editor(chat_editor *e) {
    HistEvent event;
    e->el = el_init("facet", stdin, stdout, stderr);
    e->history = e->el ? history_init() : NULL;
    if (!e->history) return;
    find_history_path(e);
    history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (e->history_path[0]) history(e->history, &event, H_LOAD, e->history_path);
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, prompt);
    el_set(e->el, EL_HIST, history, e->history);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_SIGNAL, 0);
    el_set(e->el, EL_SETTY, "-d", "-isig", NULL);
    el_set(e->el, EL_ADDFN, "facet-paste", "insert pasted text", paste);
    el_set(e->el, EL_ADDFN, "facet-interrupt", "clear the line or leave", interrupt);
    el_set(e->el, EL_BIND, "\\e[200~", "facet-paste", NULL);
    el_set(e->el, EL_BIND, "^C", "facet-interrupt", NULL);
    el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(e->el, EL_BIND, "\\e[A", "ed-prev-history", NULL);
    el_set(e->el, EL_BIND, "\\e[B", "ed-next-history", NULL);
    el_source(e->el, NULL);
}

chat_editor *chat_editor_new(void) {
    chat_editor *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    const char *kind = getenv("TERM");
    bool can_edit = kind && kind[0] && strcmp(kind, "dumb") != 0 && isatty(STDOUT_FILENO);
    e->interactive = isatty(STDIN_FILENO);
    if (e->interactive && can_edit) open_editor(e);
    return e;
}

void chat_editor_free(chat_editor *e) {
    HistEvent event;
    if (!e) return;
    if (e->history && e->history_path[0]) history(e->history, &event, H_SAVE, e->history_path);
    if (e->history) history_end(e->history);
    if (e->el) el_end(e->el);
    free(e->line);
    cli_text_free(&e->message);
    free(e);
}

static bool read_edited(chat_editor *e) {
    HistEvent event;
    do {
        int n = 0;
        fputs("\033[?2004h", stdout);
        fflush(stdout);
        const char *line = el_gets(e->el, &n);
        fputs("\033[?2004l", stdout);
        fflush(stdout);
        if (!line || n <= 0) return false;
        if (line[n - 1] == '\n') n--;
        if (n) e->interrupts = 0;
        e->more = n > 0 && line[n - 1] == '\\';
        if (!cli_text_append(&e->message, line, (size_t)(n - e->more))) return false;
        if (e->more && !cli_text_append(&e->message, "\n", 1)) return false;
    } while (e->more);
    if (e->history && e->message.n) history(e->history, &event, H_ENTER, e->message.data);
    return true;
}

static bool read_plain(chat_editor *e) {
    if (e->interactive) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    ssize_t n = getline(&e->line, &e->capacity, stdin);
    if (n < 0) return false;
    if (n > 0 && e->line[n - 1] == '\n') n--;
    if (n > 0 && e->line[n - 1] == '\r') n--;
    return cli_text_append(&e->message, e->line, (size_t)n);
}

const char *chat_editor_read(chat_editor *e, size_t *n) {
    cli_text_clear(&e->message);
    bool ok = e->el ? read_edited(e) : read_plain(e);
    if (!ok && e->interactive) fputc('\n', stdout);
    *n = e->message.n;
    return ok ? cli_text_get(&e->message) : NULL;
}
