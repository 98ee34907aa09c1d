/* The fault sweep of facet batch: the command runs again and again while another request for memory, a mapping, a
 * file or a thread fails. It then says so by its exit status or in an answer; what it wrote is whole lines, with the
 * right answers, and the next run completes them. Nothing is left behind. faults_batch quick   every early request,
 * then some of the rest faults_batch full    every request */
#include "inject.h"
#include "support.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "report.h"

static bool every_request;
static char folder[] = "/tmp/facet-faults-XXXXXX";
static char in[64], out[64];

/* What is asked, and a piece of the one right answer. */
static const struct {
    const char *id, *request, *answer;
} lines[] = {
    {"sum", "\"/v1/chat/completions\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"What is 3 + 4?\"}]",
     "\"3 + 4 = 7\""},
    {"italy", "\"/v1/completions\",\"body\":{\"prompt\":\"The capital of Italy\",\"max_tokens\":3", "\" is Rome.\""},
    {"wrong", "\"/v1/chat/completions\",\"body\":{\"messages\":[]", "\"messages\""},
};
enum { N_LINES = sizeof lines / sizeof *lines };

static int make_files(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(in, sizeof in, "%s/in", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    FILE *f = fopen(in, "w");
    if (!f) return 1;
    for (size_t i = 0; i < N_LINES; i++)
        fprintf(f, "{\"custom_id\":\"%s\",\"method\":\"POST\",\"url\":%s,\"temperature\":0}}\n", lines[i].id,
                lines[i].request);
    return fclose(f);
}

static int remove_files(void **state) {
    (void)state;
    unlink(in);
    unlink(out);
    return rmdir(folder);
}

/* What the command says goes nowhere. Returns its exit status; request k fails in it, of the kind *kind. */
static int run(long k, inject_kind *kind) {
    const char *words[] = {"facet", "batch", in, out, "--parallel", "2", "--threads", "2", "--context", "256", NULL};
    char why[300];
    cli_options o;
    assert_true(cli_options_parse(&o, sizeof words / sizeof *words - 1, (char **)words, why, sizeof why));
    int kept = dup(2), nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 2);
    inject_held before = inject_balance();
    inject_arm(k);
    int status = cmd_batch(&o);
    *kind = inject_disarm();
    inject_held after = inject_balance();
    dup2(kept, 2);
    close(nowhere);
    close(kept);
    cli_options_free(&o);
    if (memcmp(&before, &after, sizeof before))
        fail_msg("request %ld (kind %d) left %ld blocks, %ld maps, %ld files, %ld threads", k, *kind,
                 after.blocks - before.blocks, after.maps - before.maps, after.files - before.files,
                 after.threads - before.threads);
    return status;
}

/* Every line that was written is whole, is there once, and has the right answer or is the server's own fault. Returns
 * how many have the right answer. */
static size_t check_answers(size_t *n_lines) {
    static char line[1 << 16];
    size_t n_right = 0, n_seen[N_LINES] = {0};
    FILE *f = fopen(out, "r");
    *n_lines = 0;
    while (f && fgets(line, sizeof line, f)) {
        json_t *v = json_loads(line, 0, NULL);
        const char *id = json_string_value(json_object_get(v, "custom_id"));
        json_t *code = json_object_get(json_object_get(v, "response"), "status_code");
        size_t i = 0;
        if (!id || !code) fail_msg("no answer: %s", line);
        while (i < N_LINES && strcmp(lines[i].id, id) != 0) i++;
        assert_in_range(i, 0, N_LINES - 1);
        assert_int_equal(++n_seen[i], 1);
        if (strstr(line, lines[i].answer))
            n_right++;
        else if (json_integer_value(code) < 500)
            fail_msg("%s: %s", id, line);
        ++*n_lines;
        json_decref(v);
    }
    if (f) fclose(f);
    return n_right;
}

/* One run in which request k fails. Returns what failed. */
static inject_kind check(long k) {
    size_t n_lines;
    unlink(out);
    inject_kind kind, none;
    int status = run(k, &kind);
    if (kind == INJECT_NONE) assert_int_equal(status, EXIT_OK);
    size_t n_right = check_answers(&n_lines);
    if (status == EXIT_OK ? n_lines != N_LINES : kind == INJECT_NONE)
        fail_msg("request %ld (kind %d): status %d, %zu lines, %zu right", k, kind, status, n_lines, n_right);
    assert_true(n_right + 1 >= n_lines); /* one fault, one victim */
    assert_int_equal(run(0, &none), EXIT_OK);
    check_answers(&n_lines);
    assert_int_equal(n_lines, N_LINES);
    return kind;
}

static void answering(void **state) {
    (void)state;
    long k = 1, n_checked = 0;
    check(0);
    while (check(k) != INJECT_NONE) {
        k += every_request || k < 16 ? 1 : 1 + k / 4;
        n_checked++;
    }
    print_message("%ld faults\n", n_checked);
    assert_true(n_checked > 20);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answering)};
    json_set_alloc_funcs(inject_malloc, free); /* jansson calls a text wrong where it lacks memory */
    every_request = argc > 1 && !strcmp(argv[1], "full");
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
