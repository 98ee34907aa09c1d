/* Work in a process of its own: what it sends, how it may end. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/child.h"
#include "support.h"

enum { N_WORDS = 100000 };

/* More than a pipe holds. */
static void send_words(void *ctx, buffer *out) {
    int *changed = ctx;
    *changed = 7;
    for (int i = 0; i < N_WORDS; i++) buffer_append(out, &i, sizeof i);
}

static void test_message(void **state) {
    (void)state;
    buffer out;
    int changed = 1, word;
    assert_int_equal(os_child_run(send_words, &changed, 60, &out), OS_CHILD_DONE);
    assert_int_equal(changed, 1); /* it was the copy's */
    assert_int_equal(out.n, N_WORDS * sizeof word);
    for (int i = 0; i < N_WORDS; i++) {
        memcpy(&word, out.data + (size_t)i * sizeof word, sizeof word);
        assert_int_equal(word, i);
    }
    buffer_free(&out);
}

static void send_nothing(void *ctx, buffer *out) { (void)ctx, (void)out; }
static void crash(void *ctx, buffer *out) {
    buffer_text(out, "half a message");
    signal(SIGSEGV, SIG_DFL); /* sanitizers would report */
    raise(ctx ? SIGKILL : SIGSEGV);
}
static void leave(void *ctx, buffer *out) {
    (void)ctx;
    buffer_text(out, "half a message");
    _exit(0);
}
static void hang(void *ctx, buffer *out) {
    (void)ctx, (void)out;
    for (;;) pause();
}

static void test_ends(void **state) {
    (void)state;
    buffer out;
    assert_int_equal(os_child_run(send_nothing, NULL, 60, &out), OS_CHILD_DONE);
    assert_int_equal(out.n, 0);
    buffer_free(&out);
    assert_int_equal(os_child_run(crash, NULL, 60, &out), OS_CHILD_DIED);
    assert_int_equal(os_child_run(crash, &out, 60, &out), OS_CHILD_DIED);
    assert_int_equal(os_child_run(leave, NULL, 60, &out), OS_CHILD_DIED);
    assert_int_equal(os_child_run(hang, NULL, 1, &out), OS_CHILD_DIED);
    assert_null(out.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_message), cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
