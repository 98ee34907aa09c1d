/* Files as bytes (os/map.h), files that appear whole (os/output.h), and sources (source/source.h). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/map.h"
#include "os/output.h"
#include "source/source.h"
#include "support.h"

/* A directory of its own for each test, removed with all that a test may have left. */
typedef struct place {
    char directory[64];
    char path[3][128];
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof *p);
    char directory[] = "/tmp/facet-map-XXXXXX";
    if (!p || !mkdtemp(directory)) return -1;
    strcpy(p->directory, directory);
    for (int i = 0; i < 3; i++)
        snprintf(p->path[i], sizeof p->path[i], "%s/x-0000%d-of-00003.gguf", directory, i + 1);
    *state = p;
    return 0;
}

static int tear_down(void **state) {
    place *p = *state;
    for (int i = 0; i < 3; i++) {
        chmod(p->path[i], 0600);
        remove(p->path[i]);
    }
    int status = rmdir(p->directory); /* fails when a temporary file was left behind */
    free(p);
    return status;
}

static void fill(const char *path, const char *text, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void mapped_and_read_are_the_same(void **state) {
    const place *p = *state;
    static char text[100000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7 + i / 251);
    fill(p->path[0], text, sizeof text);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        os_map map;
        facet_error error = {0};
        assert_ok(os_map_open(&map, p->path[0], use_mmap, &error), &error);
        assert_int_equal(map.mapped, use_mmap);
        assert_int_equal(map.n_bytes, sizeof text);
        assert_memory_equal(map.data, text, sizeof text);
        assert_int_equal((uintptr_t)map.data % 4096, 0);
        os_map_lock(&map);
        os_map_close(&map);
        assert_null(map.data);
        os_map_close(&map);
    }
}

static void empty_file(void **state) {
    const place *p = *state;
    fill(p->path[0], "", 0);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        os_map map;
        facet_error error = {0};
        assert_ok(os_map_open(&map, p->path[0], use_mmap, &error), &error);
        assert_int_equal(map.n_bytes, 0);
        assert_true(os_map_lock(&map));
        os_map_close(&map);
    }
}

static void expect_refusal(const char *path, const char *why) {
    os_map map;
    facet_error error = {0};
    assert_int_equal(os_map_open(&map, path, true, &error), FACET_ERROR_IO);
    assert_null(map.data);
    assert_non_null(strstr(error.message, path));
    if (!strstr(error.message, why)) fail_msg("'%s' does not say '%s'", error.message, why);
}

static void what_is_no_file_is_refused(void **state) {
    const place *p = *state;
    expect_refusal(p->path[0], "No such file or directory");
    expect_refusal(p->directory, "directory");
    expect_refusal("/dev/zero", "no ordinary file");
    assert_int_equal(mkfifo(p->path[1], 0600), 0);
    expect_refusal(p->path[1], "no ordinary file"); /* and does not wait for a writer */
}

static void expect_contents(const char *path, const char *text) {
    size_t n;
    char *found = test_read(path, &n);
    assert_int_equal(n, strlen(text));
    assert_string_equal(found, text);
    free(found);
}

static void output_appears_at_commit(void **state) {
    const place *p = *state;
    facet_error error = {0};
    os_output *o;
    assert_ok(os_output_open(&o, p->path[0], &error), &error);
    assert_ok(os_output_write(o, "abc", 3, &error), &error);
    assert_int_equal(access(p->path[0], F_OK), -1);
    assert_ok(os_output_write(o, "def", 3, &error), &error);
    assert_ok(os_output_commit(o, &error), &error);
    expect_contents(p->path[0], "abcdef");
}

static void discarded_output_leaves_the_old_file(void **state) {
    const place *p = *state;
    facet_error error = {0};
    os_output *o;
    fill(p->path[0], "old", 3);
    assert_int_equal(chmod(p->path[0], 0640), 0);
    assert_ok(os_output_open(&o, p->path[0], &error), &error);
    assert_ok(os_output_write(o, "new!", 4, &error), &error);
    os_output_discard(o);
    expect_contents(p->path[0], "old");
    assert_ok(os_output_open(&o, p->path[0], &error), &error);
    assert_ok(os_output_write(o, "new!", 4, &error), &error);
    assert_ok(os_output_commit(o, &error), &error);
    expect_contents(p->path[0], "new!");
    struct stat info;
    assert_int_equal(stat(p->path[0], &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    os_output_discard(NULL);
}

static void output_follows_links(void **state) {
    const place *p = *state;
    facet_error error = {0};
    os_output *o;
    fill(p->path[0], "old", 3);
    assert_int_equal(symlink(p->path[0], p->path[1]), 0);
    assert_ok(os_output_open(&o, p->path[1], &error), &error);
    assert_ok(os_output_write(o, "new", 3, &error), &error);
    assert_ok(os_output_commit(o, &error), &error);
    expect_contents(p->path[0], "new");
}

static void full_device_is_an_error(void **state) {
    (void)state;
    facet_error error = {0};
    os_output *o;
    assert_ok(os_output_open(&o, "/dev/full", &error), &error);
    assert_int_equal(os_output_write(o, "x", 1, &error), FACET_ERROR_IO);
    assert_string_equal(error.message, "cannot write '/dev/full': No space left on device");
    assert_int_equal(os_output_commit(o, &error), FACET_ERROR_IO);
    assert_int_equal(access("/dev/full", F_OK), 0);
}

static void output_that_cannot_be(void **state) {
    const place *p = *state;
    facet_error error = {0};
    os_output *o;
    assert_int_equal(os_output_open(&o, p->directory, &error), FACET_ERROR_IO);
    assert_null(o);
    assert_int_equal(os_output_open(&o, "/nowhere/at/all", &error), FACET_ERROR_IO);
    assert_string_equal(error.message, "cannot write '/nowhere/at/all': No such file or directory");
}

/* ---- sources */

static void split_file_opens_all_parts(void **state) {
    const place *p = *state;
    facet_error error = {0};
    source *s;
    for (int i = 0; i < 3; i++) fill(p->path[i], &"012"[i], 1);
    for (int named = 0; named < 3; named++) {
        assert_ok(source_open_path(&s, p->path[named], true, &error), &error);
        size_t n;
        const gguf_part *parts = source_parts(s, &n);
        assert_int_equal(n, 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(parts[i].n_bytes, 1);
            assert_int_equal(parts[i].data[0], '0' + i);
        }
        source_lock(s);
        source_free(s);
    }
    assert_ok(source_open_one(&s, p->path[1], false, &error), &error);
    size_t n;
    assert_int_equal(source_parts(s, &n)->data[0], '1');
    assert_int_equal(n, 1);
    source_free(s);
}

static void missing_part_is_named(void **state) {
    const place *p = *state;
    facet_error error = {0};
    source *s;
    fill(p->path[0], "0", 1);
    fill(p->path[2], "2", 1);
    assert_int_equal(source_open_path(&s, p->path[0], true, &error), FACET_ERROR_IO);
    assert_null(s);
    assert_non_null(strstr(error.message, p->path[1]));
}

static void count_release(void *ctx, const void *data, size_t n_bytes) {
    (void)data;
    *(size_t *)ctx += n_bytes ? n_bytes : 1000;
}

static void memory_is_released_once(void **state) {
    (void)state;
    facet_error error = {0};
    source *s;
    size_t released = 0;
    assert_ok(source_open_memory(&s, "abc", 3, count_release, &released, &error), &error);
    assert_int_equal(released, 0);
    assert_false(source_lock(s));
    source_free(s);
    assert_int_equal(released, 3);
    assert_int_equal(source_open_memory(&s, NULL, 5, count_release, &released, &error), FACET_ERROR_ARGUMENT);
    assert_null(s);
    assert_int_equal(released, 8);
    assert_ok(source_open_memory(&s, "abc", 3, NULL, NULL, &error), &error);
    source_free(s);
    source_free(NULL);
}

static void blame_keeps_status_and_place(void **state) {
    (void)state;
    facet_error error = {.status = FACET_ERROR_FORMAT, .position = 77, .message = "bad"};
    source_blame("x.gguf", &error);
    assert_int_equal(error.status, FACET_ERROR_FORMAT);
    assert_int_equal(error.position, 77);
    assert_string_equal(error.message, "x.gguf: bad");
    source_blame("x.gguf", NULL);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_PLACE(mapped_and_read_are_the_same),         IN_PLACE(empty_file),
        IN_PLACE(what_is_no_file_is_refused),           IN_PLACE(output_appears_at_commit),
        IN_PLACE(discarded_output_leaves_the_old_file), IN_PLACE(output_follows_links),
        cmocka_unit_test(full_device_is_an_error),      IN_PLACE(output_that_cannot_be),
        IN_PLACE(split_file_opens_all_parts),           IN_PLACE(missing_part_is_named),
        cmocka_unit_test(memory_is_released_once),      cmocka_unit_test(blame_keeps_status_and_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
