/* GGUF back to safetensors: the tensors of a checkpoint that went to GGUF and returned are the checkpoint's, byte for
 * byte; those of a quantised file are its numbers in bfloat16. The files are read with a reader that is no part of
 * the project's. */
#include "lora_files.h"

#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"
#include "facet_tools.h"

static const char checkpoint[] = FACET_TEST_DATA "/hf/moe-keqv";
static const char golden_model[] = FACET_TEST_DATA "/models/moe-keqv.gguf";
static char folder[] = "/tmp/facet-back-XXXXXX";

static const char *path_of(const char *name) {
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- a folder of safetensors */

typedef struct shard {
    char *bytes;
    json_t *header;
    const char *data;
    size_t n_data;
} shard;

typedef struct checkpoint_files {
    shard shards[32];
    size_t n;
    json_t *index; /* NULL: one file */
} checkpoint_files;

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

static bool open_shard(const char *dir, const char *name, shard *s) {
    char path[256];
    size_t n;
    uint64_t length;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    *s = (shard){.bytes = read_all(path, &n)};
    if (!s->bytes) return false;
    memcpy(&length, s->bytes, 8);
    assert_int_equal(length % 8, 0);
    s->header = json_loadb(s->bytes + 8, length, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(s->header);
    s->data = s->bytes + 8 + length;
    s->n_data = n - 8 - (size_t)length;
    return true;
}

static checkpoint_files open_folder(const char *dir) {
    checkpoint_files c = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    c.index = json_load_file(path, 0, NULL);
    if (!c.index) {
        assert_true(open_shard(dir, "model.safetensors", &c.shards[0]));
        c.n = 1;
        return c;
    }
    const char *last =
        json_string_value(json_object_iter_value(json_object_iter(json_object_get(c.index, "weight_map"))));
    unsigned k, n;
    assert_int_equal(sscanf(last, "model-%5u-of-%5u.safetensors", &k, &n), 2);
    for (k = 1; k <= n; k++) {
        snprintf(path, sizeof path, "model-%05u-of-%05u.safetensors", k, n);
        assert_true(open_shard(dir, path, &c.shards[c.n++]));
    }
    return c;
}

static void close_folder(checkpoint_files *c) {
    for (size_t i = 0; i < c->n; i++) {
        json_decref(c->shards[i].header);
        free(c->shards[i].bytes);
    }
    json_decref(c->index);
}

static size_t begin_of(const json_t *entry) {
    return (size_t)json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
}
static size_t end_of(const json_t *entry) {
    return (size_t)json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 1));
}

static const json_t *find(const checkpoint_files *c, const char *name, const char **data, size_t *n) {
    for (size_t i = 0; i < c->n; i++) {
        const json_t *entry = json_object_get(c->shards[i].header, name);
        if (!entry) continue;
        *data = c->shards[i].data + begin_of(entry);
        *n = end_of(entry) - begin_of(entry);
        assert_true(end_of(entry) <= c->shards[i].n_data);
        return entry;
    }
    return NULL;
}

static size_t count(const checkpoint_files *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += json_object_size(c->shards[i].header) - 1; /* and __metadata__ */
    return n;
}

/* ---- there and back */

static facet_status back(const char *in, const char *dir, const char *type, uint64_t shard_bytes, size_t *n_files,
                         facet_error *error) {
    facet_to_safetensors_options o;
    facet_to_safetensors_options_defaults(&o);
    o.type = type;
    o.shard_bytes = shard_bytes;
    o.threads = 2;
    return facet_to_safetensors(in, dir, &o, n_files, error);
}

static void clear(const char *dir) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static void check_equal(const checkpoint_files *want, const checkpoint_files *got) {
    size_t n_compared = 0;
    for (size_t i = 0; i < want->n; i++) {
        const char *name;
        json_t *entry;
        json_object_foreach(want->shards[i].header, name, entry) {
            if (!strncmp(name, "model.vision_tower.", 19) || !strcmp(name, "__metadata__")) continue;
            const char *a, *b;
            size_t n_a, n_b;
            const json_t *first = find(want, name, &a, &n_a), *second = find(got, name, &b, &n_b);
            if (!second) fail_msg("no tensor %s", name);
            assert_string_equal(json_string_value(json_object_get(first, "dtype")),
                                json_string_value(json_object_get(second, "dtype")));
            assert_true(json_equal(json_object_get(first, "shape"), json_object_get(second, "shape")));
            assert_int_equal(n_a, n_b);
            assert_memory_equal(a, b, n_a);
            n_compared++;
        }
    }
    assert_int_equal(n_compared, count(got));
}

static void a_checkpoint_comes_back(void **state) {
    (void)state;
    facet_error error = {0};
    facet_convert_options o;
    size_t n_files;
    facet_convert_options_defaults(&o);
    assert_ok(facet_convert(checkpoint, path_of("model.gguf"), &o, &error), &error);
    checkpoint_files want = open_folder(checkpoint);
    for (int sharded = 0; sharded < 2; sharded++) {
        uint64_t limit = sharded ? 100000 : 0;
        const char *dir = path_of(sharded ? "many" : "one");
        assert_ok(back(path_of("model.gguf"), dir, NULL, limit, &n_files, &error), &error);
        checkpoint_files got = open_folder(dir);
        assert_int_equal(got.n, n_files);
        assert_true(sharded ? n_files > 4 : n_files == 1);
        check_equal(&want, &got);
        size_t total = 0;
        for (size_t i = 0; i < got.n; i++) {
            if (sharded) assert_true(got.shards[i].n_data <= limit);
            total += got.shards[i].n_data;
        }
        if (sharded) {
            const json_t *map = json_object_get(got.index, "weight_map");
            assert_int_equal(json_object_size(map), count(&got));
            const json_t *size = json_object_get(json_object_get(got.index, "metadata"), "total_size");
            assert_int_equal(json_integer_value(size), total);
        }
        close_folder(&got);
        /* the folder is full: the other form would make two models of it */
        assert_int_equal(back(path_of("model.gguf"), dir, NULL, sharded ? 0 : 100000, NULL, &error),
                         FACET_ERROR_ARGUMENT);
        clear(dir);
    }
    close_folder(&want);
}

/* ---- numbers */

static facet_gguf *view(const char *path) {
    facet_gguf *g;
    facet_error error = {0};
    assert_ok(facet_gguf_open(&g, path, false, &error), &error);
    return g;
}

typedef struct check {
    const char *data;
    int type; /* 0: F32, 1: BF16 */
    size_t n, n_wrong;
} check;

static bool compare(void *ctx, const float *x, size_t n) {
    check *c = ctx;
    for (size_t i = 0; i < n; i++, c->n++) {
        float f;
        uint16_t h;
        memcpy(&f, c->data + 4 * c->n * (c->type == 0), 4);
        memcpy(&h, c->data + 2 * c->n * (c->type == 1), 2);
        c->n_wrong += c->type ? h != f32_to_bf16(x[i]) : memcmp(&f, &x[i], 4) != 0;
    }
    return true;
}

static void check_tensor(const char *gguf, const char *ours, const char *dir, const char *theirs, int type) {
    facet_gguf *g = view(gguf);
    checkpoint_files c = open_folder(dir);
    facet_error error = {0};
    check state = {.type = type};
    size_t i, n;
    const json_t *entry = find(&c, theirs, &state.data, &n);
    if (!entry) fail_msg("no tensor %s", theirs);
    assert_string_equal(json_string_value(json_object_get(entry, "dtype")), type ? "BF16" : "F32");
    assert_true(facet_gguf_find_tensor(g, ours, &i));
    assert_ok(facet_gguf_read_floats(g, i, compare, &state, &error), &error);
    assert_int_equal(n, state.n * (type ? 2 : 4));
    assert_int_equal(state.n_wrong, 0);
    facet_gguf_free(g);
    close_folder(&c);
}

static void floats_stay_and_blocks_become_bfloat16(void **state) {
    (void)state;
    static const char quantised[] = FACET_SOURCE_DIR "/models/tiny-q8_0.gguf";
    static const char up[] = "blk.1.ffn_up.weight", theirs[] = "model.language_model.layers.1.mlp.up_proj.weight";
    facet_error error = {0};
    const char *dir = path_of("floats");
    assert_ok(back(golden_model, dir, NULL, 0, NULL, &error), &error);
    check_tensor(golden_model, up, dir, theirs, 0);
    assert_ok(back(golden_model, dir, "bf16", 0, NULL, &error), &error);
    check_tensor(golden_model, up, dir, theirs, 1);
    assert_ok(back(quantised, dir, NULL, 0, NULL, &error), &error);
    check_tensor(quantised, up, dir, theirs, 1);
    check_tensor(quantised, "per_layer_token_embd.weight", dir, "model.language_model.embed_tokens_per_layer.weight",
                 1);
    assert_ok(back(quantised, dir, "F32", 0, NULL, &error), &error);
    check_tensor(quantised, up, dir, theirs, 0);
    clear(dir);
}

/* The model with tensors of their own for gate, up and head: its folder is that of the model with one. */
static void experts_held_apart_are_one_parameter(void **state) {
    (void)state;
    facet_error error = {0};
    facet_gguf *g = view(golden_model);
    facet_model *m;
    facet_gguf_free(g);
    assert_ok(facet_model_open(&m, golden_model, NULL, &error), &error);
    lora_model out = {0};
    assert_ok(gguf_writer_new(&out.w, 0, &error), &error);
    for (size_t i = 0; i < gguf_n_kv(m->file); i++) gguf_add_copy(out.w, gguf_kv_at(m->file, i));
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < gguf_n_tensors(m->file); i++) {
            const gguf_tensor *t = gguf_tensor_at(m->file, i);
            lora_put_tensor(&out, t, true, (const float *)(const void *)t->data);
        }
        if (turn == 0) assert_ok(gguf_writer_begin(out.w, lora_to_buffer, &out.image, &error), &error);
        out.data = true;
    }
    gguf_writer_free(out.w);
    FILE *f = fopen(path_of("apart.gguf"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(out.image.data, 1, out.image.n, f), out.image.n);
    fclose(f);
    buffer_free(&out.image);
    facet_model_free(m);

    const char *one = path_of("whole"), *two = path_of("apart"), *head, *embedding;
    assert_ok(back(golden_model, one, NULL, 0, NULL, &error), &error);
    assert_ok(back(path_of("apart.gguf"), two, NULL, 0, NULL, &error), &error);
    checkpoint_files want = open_folder(one), got = open_folder(two);
    size_t n, n_embedding;
    const json_t *entry = find(&got, "lm_head.weight", &head, &n);
    assert_non_null(entry);
    assert_non_null(find(&got, "model.language_model.embed_tokens.weight", &embedding, &n_embedding));
    assert_int_equal(n, n_embedding);
    assert_memory_equal(head, embedding, n);
    json_object_del(got.shards[0].header, "lm_head.weight");
    check_equal(&want, &got);
    close_folder(&want);
    close_folder(&got);
    clear(one);
    clear(two);
}

static void what_has_no_way_back_is_refused(void **state) {
    (void)state;
    facet_error error = {0};
    const char *dir = path_of("none");
    assert_int_equal(back(FACET_SOURCE_DIR "/models/tiny-pirate-lora.gguf", dir, NULL, 0, NULL, &error),
                     FACET_ERROR_UNSUPPORTED);
    assert_int_equal(back(golden_model, dir, "q8_0", 0, NULL, &error), FACET_ERROR_ARGUMENT);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(back(golden_model, path_of("no/such/folder"), NULL, 0, NULL, &error), FACET_ERROR_IO);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
    (void)state;
    clear(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_comes_back),
        cmocka_unit_test(floats_stay_and_blocks_become_bfloat16),
        cmocka_unit_test(experts_held_apart_are_one_parameter),
        cmocka_unit_test(what_has_no_way_back_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
