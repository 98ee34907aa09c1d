/* The files of a batch: see batch_file.h. */
#include "batch_file.h"
#include "app.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *string_of(const facet_value *object, const char *key, size_t *n) {
    const facet_value *value = facet_value_get(object, key);
    return facet_value_typeof(value) == FACET_VALUE_STRING ? facet_value_text(value, n) : NULL;
}

static bool is_blank(const char *line) { return line[strspn(line, " \t\r\n")] == '\0'; }

/* ---- requests */

/* The next line that is not blank; false at the end, or where there is no memory for it or the file cannot be read.
 */
static bool read_line(batch_file *f, size_t *n) {
    for (ssize_t length; (length = getline(&f->line, &f->capacity, f->in)) >= 0;) {
        f->n_line++;
        *n = (size_t)length;
        if (memchr(f->line, '\0', *n) || !is_blank(f->line)) return true;
    }
    f->failed = !feof(f->in);
    if (f->failed) report_error("cannot read %s: %s", f->in_path, strerror(errno));
    return false;
}

static int wrong_line(const batch_file *f, const char *what) {
    return report_error("%s: line %zu: %s", f->in_path, f->n_line, what);
}

static int note_request(batch_file *f, size_t n) {
    char why[200];
    size_t n_id = 0;
    facet_value *value = json_parse(f->line, n, why, sizeof why);
    const char *id = string_of(value, "custom_id", &n_id);
    int status = EXIT_OK;
    if (!value)
        status = wrong_line(f, why);
    else if (!id || !n_id)
        status = wrong_line(f, "custom_id is missing or no string");
    else if (json_object_getn(f->ids, id, n_id))
        status = report_error("%s: line %zu: custom_id '%.100s' is there twice", f->in_path, f->n_line, id);
    else if (json_object_setn_new(f->ids, id, n_id, json_false()))
        status = report_no_memory();
    facet_value_free(value);
    f->n_lines++;
    return status;
}

static int read_requests(batch_file *f) {
    int status = EXIT_OK;
    size_t n;
    f->in = fopen(f->in_path, "re");
    if (!f->in) return report_error("cannot open %s: %s", f->in_path, strerror(errno));
    while (!status && read_line(f, &n)) status = note_request(f, n);
    if (f->failed) status = EXIT_ERROR;
    rewind(f->in);
    f->n_line = 0;
    return status;
}

/* ---- answers of an earlier run */

/* False: the line is no answer. */
static bool note_answer(batch_file *f, const char *line, size_t n) {
    char why[200];
    size_t n_id = 0;
    facet_value *value = json_parse(line, n, why, sizeof why);
    const char *id = string_of(value, "custom_id", &n_id);
    json_t *known = id ? json_object_getn(f->ids, id, n_id) : NULL;
    bool ok = id != NULL;
    if (known && json_is_false(known)) {
        f->n_known++;
        ok = !json_object_setn_new(f->ids, id, n_id, json_true());
    }
    facet_value_free(value);
    return ok;
}

/* Whole lines are answers; what follows the last of them was being written when the program was ended. */
static int take_answers(batch_file *f, const text *all) {
    const char *data = cli_text_get(all), *end;
    size_t at = 0, n_line = 0;
    while (at < all->n && (end = memchr(data + at, '\n', all->n - at))) {
        size_t n = (size_t)(end - data) - at;
        n_line++;
        if (n && !note_answer(f, data + at, n)) {
            return report_error("%s: line %zu is no answer of a batch; it is left as it is", f->out_path, n_line);
        }
        at += n + 1;
    }
    if (at == all->n) return EXIT_OK;
    if (ftruncate(f->out, (off_t)at))
        return report_error("cannot cut the torn end off %s: %s", f->out_path, strerror(errno));
    fprintf(stderr, "facet: %s: the last line was torn and has been cut off\n", f->out_path);
    return EXIT_OK;
}

static int read_answers(batch_file *f) {
    text all = {0};
    struct stat info = {0};
    f->out = open(f->out_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (f->out >= 0 && !fstat(f->out, &info) && !S_ISREG(info.st_mode))
        return report_error("%s is no file: answers are kept in one, for the next run", f->out_path);
    FILE *file = f->out >= 0 ? fopen(f->out_path, "re") : NULL;
    int status = EXIT_OK;
    if (!file || !cli_text_read(&all, file))
        status = report_error("cannot open %s: %s", f->out_path, strerror(errno));
    else
        status = take_answers(f, &all);
    if (file) fclose(file);
    cli_text_free(&all);
    return status;
}

int batch_file_open(batch_file *f, const char *in_path, const char *out_path) {
    *f = (batch_file){.in_path = in_path, .out_path = out_path, .out = -1, .ids = json_object()};
    if (!f->ids) return report_no_memory();
    int status = read_requests(f);
    return status ? status : read_answers(f);
}

void batch_file_close(batch_file *f) {
    if (f->in) fclose(f->in);
    if (f->in && f->out >= 0) close(f->out);
    free(f->line);
    json_decref(f->ids);
}

/* ---- one after the other */

static void read_request(batch_request *r) {
    size_t n = 0;
    const char *method = string_of(r->value, "method", &n);
    r->id = string_of(r->value, "custom_id", &r->id_bytes);
    r->url = string_of(r->value, "url", NULL);
    r->body = facet_value_get(r->value, "body");
    if (!method || strcmp(method, "POST") != 0)
        r->error = "method must be POST";
    else if (!r->url)
        r->error = "url is missing";
    else if (facet_value_typeof(r->body) != FACET_VALUE_OBJECT)
        r->error = "body is missing or no object";
}

bool batch_file_next(batch_file *f, batch_request *out) {
    char why[200];
    size_t n;
    while (read_line(f, &n)) {
        *out = (batch_request){.value = json_parse(f->line, n, why, sizeof why)};
        if (!out->value) { /* it was there before, so there is no memory */
            report_no_memory();
            f->failed = true;
            return false;
        }
        read_request(out);
        if (out->id && json_is_false(json_object_getn(f->ids, out->id, out->id_bytes))) return true;
        facet_value_free(out->value);
    }
    return false;
}

void batch_request_free(batch_request *r) { facet_value_free(r->value); }

static json_t *answer_json(const batch_request *r, const batch_answer *a) {
    unsigned char random[12] = {0};
    char id[40];
    size_t at = (size_t)snprintf(id, sizeof id, "batch_req_");
    if (getrandom(random, sizeof random, 0) < 0) memset(random, 0, sizeof random);
    for (size_t i = 0; i < sizeof random; i++, at += 2) snprintf(id + at, sizeof id - at, "%02x", random[i]);
    json_t *response = json_null(), *error = json_null();
    if (a->error)
        error = json_pack("{s:s,s:s}", "code", "invalid_request", "message", a->error);
    else
        response = json_pack("{s:i,s:s,s:o}", "status_code", a->status, "request_id", a->request_id, "body",
                             json_loadb(a->body->data, a->body->n, JSON_ALLOW_NUL, NULL));
    return json_pack("{s:s,s:o,s:o,s:o}", "id", id, "custom_id", json_stringn(r->id, r->id_bytes), "response",
                     response, "error", error);
}

bool batch_file_write(batch_file *f, const batch_request *r, const batch_answer *answer) {
    json_t *json = answer_json(r, answer);
    char *line = json ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;
    text t = {0};
    bool ok = line && cli_text_append(&t, line, strlen(line)) && cli_text_append(&t, "\n", 1);
    if (!ok) {
        report_no_memory();
    } else if (write(f->out, t.data, t.n) != (ssize_t)t.n) {
        report_write_error(f->out_path);
        ok = false;
    }
    cli_text_free(&t);
    free(line);
    json_decref(json);
    return ok;
}
