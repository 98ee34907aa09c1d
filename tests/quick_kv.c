/* The KV cache without a model: rows are filled with what depends on all tokens up to them, as real keys and values
 * do, so a page that is shared, copied, kept or evicted wrongly shows. Then what must be reused is, to the token; and
 * memory is never more than the budget. */
#include <stdlib.h>
#include <string.h>

#include "kv/cache.h"
#include "support.h"

enum { WINDOW = 150, UBATCH = 64, CONTEXT = 2048, DIM = 32, N_LAYER = 3 };

typedef struct setup {
    layer_hparams layers[N_LAYER];
    hparams h;
    kv_need need;
    kv_cache *cache;
} setup;

/* A budget of `n` sessions' needs; 0 pages of a kind where a model has none. */
static void setup_open(setup *x, double n, bool full, bool sliding) {
    facet_error error;
    memset(x, 0, sizeof *x);
    x->h = (hparams){.n_layer = N_LAYER, .n_own = N_LAYER, .window = WINDOW, .layers = x->layers};
    for (uint32_t i = 0; i < N_LAYER; i++) {
        bool slides = sliding && (!full || i != 1);
        x->layers[i] = (layer_hparams){
            .sliding = slides, .owns_kv = true, .kv_layer = i, .head_dim = DIM, .n_head = 2, .n_head_kv = 1 + i % 2};
    }
    assert_ok(kv_plan(&x->h, FACET_KV_F16, CONTEXT, UBATCH, &x->need, &error), &error);
    uint64_t bytes = (uint64_t)((double)kv_need_bytes(&x->need) * n);
    assert_ok(kv_cache_new(&x->cache, &x->h, FACET_KV_F16, &x->need, bytes, &error), &error);
}

static void setup_close(setup *x) {
    assert_int_equal(kv_cache_used_bytes(x->cache), 0);
    assert_int_equal(x->cache->n_promised, 0);
    kv_cache_free(x->cache);
}

/* ---- a sequence and its tokens */

typedef struct timeline {
    kv_sequence *kv;
    int32_t tokens[CONTEXT];
    uint32_t marks[CONTEXT]; /* of the first n_marks positions, which were moved: of what they were computed from */
    size_t n_marks;
} timeline;

static timeline *timeline_new(setup *x, kv_key key) {
    facet_error error;
    timeline *t = calloc(1, sizeof *t);
    assert_ok(kv_sequence_new(&t->kv, x->cache, CONTEXT, key, &error), &error);
    return t;
}

static void timeline_free(timeline *t) {
    kv_sequence_free(t->kv);
    free(t);
}

static uint32_t prefix_mark(uint32_t mark, int32_t token) { return (mark ^ (uint32_t)token) * 2654435761u + 97; }

/* Writes, or compares, the rows of one position. */
static void visit_position(const setup *x, const timeline *t, size_t at, uint32_t mark, bool write) {
    for (uint32_t layer = 0; layer < N_LAYER; layer++) {
        const layer_hparams *l = &x->layers[layer];
        size_t length = kv_sequence_length(t->kv);
        if (!write && l->sliding && at + WINDOW < length + 1) continue; /* nobody sees it any more */
        for (uint32_t k = 0; k < 2 * l->n_head_kv; k++) {
            uint32_t row[DIM / 2], head = k / 2;
            uint8_t *page =
                k % 2 ? kv_values(t->kv, layer, head, at / CPU_PAGE) : kv_keys(t->kv, layer, head, at / CPU_PAGE);
            assert_non_null(page);
            for (size_t i = 0; i < DIM / 2; i++) row[i] = mark + layer * 1000 + k * 100 + (uint32_t)i;
            uint8_t *place = page + at % CPU_PAGE * sizeof row;
            if (write)
                memcpy(place, row, sizeof row);
            else if (memcmp(place, row, sizeof row))
                fail_msg("position %zu of %zu, layer %u: not its own keys", at, length, layer);
        }
    }
}

static void visit(const setup *x, const timeline *t, size_t first, size_t end, bool write) {
    uint32_t mark = 1;
    for (size_t i = 0; i < end; i++) {
        mark = i < t->n_marks ? t->marks[i] : prefix_mark(mark, t->tokens[i]);
        if (i >= first) visit_position(x, t, i, mark, write);
    }
}

static void check_budget(const setup *x) {
    const kv_pages *p = &x->cache->pages;
    uint64_t held = 0;
    for (int kind = 0; kind < KV_KINDS; kind++) {
        const kv_page_pool *pool = &p->pools[kind];
        assert_int_equal(pool->n_used + pool->n_cached + pool->n_free + pool->n_bare, pool->n_touched);
        held += (uint64_t)(pool->n_used + pool->n_cached + pool->n_free) * pool->page_bytes;
    }
    assert_int_equal(held, p->resident_bytes);
    assert_true(p->resident_bytes <= p->budget_bytes);
}

/* Computes up to n positions of the timeline. */
static facet_status compute(const setup *x, timeline *t, size_t n, facet_error *error) {
    for (size_t at; (at = kv_sequence_length(t->kv)) < n;) {
        size_t step = n - at < UBATCH ? n - at : UBATCH;
        FACET_TRY(kv_sequence_extend(t->kv, step, error));
        visit(x, t, at, at + step, true);
        kv_sequence_publish(t->kv, t->tokens);
        check_budget(x);
    }
    return FACET_OK;
}

/* Makes the timeline `tokens`; returns how many of them were known. */
static size_t sync(const setup *x, timeline *t, const int32_t *tokens, size_t n) {
    facet_error error;
    assert_ok(kv_sequence_begin(t->kv, tokens, n, n - 1, &error), &error);
    t->n_marks = 0;
    memcpy(t->tokens, tokens, n * sizeof *tokens);
    size_t known = kv_sequence_length(t->kv);
    visit(x, t, 0, known, false);
    assert_ok(compute(x, t, n, &error), &error);
    visit(x, t, 0, n, false);
    return known;
}

/* Adds tokens one after the other, as a generation does. */
static void generate(const setup *x, timeline *t, int32_t first, size_t n) {
    facet_error error;
    for (size_t i = 0; i < n; i++) {
        size_t at = kv_sequence_length(t->kv);
        t->tokens[at] = first + (int32_t)i;
        assert_ok(compute(x, t, at + 1, &error), &error);
    }
}

/* tokens[i] = i + first: no two runs share a token in the same place unless they are meant to */
static void fill(int32_t *tokens, size_t n, int32_t first) {
    for (size_t i = 0; i < n; i++) tokens[i] = first + (int32_t)i;
}

/* ---- what is reused */

/* Several answers to one prompt: the second sequence holds the first one's pages. */
static void test_same_prompt(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 2, true, true);
    int32_t prompt[500];
    fill(prompt, 500, 0);
    timeline *a = timeline_new(&x, (kv_key){0}), *b = timeline_new(&x, (kv_key){0});
    assert_int_equal(sync(&x, a, prompt, 500), 0);
    uint64_t one = kv_cache_used_bytes(x.cache);
    assert_int_equal(sync(&x, b, prompt, 500), 499);
    uint64_t page = x.need.full_page_bytes + x.need.sliding_page_bytes;
    assert_true(kv_cache_used_bytes(x.cache) - one <= page); /* the page that both go on writing */
    generate(&x, a, 10000, 100);
    generate(&x, b, 20000, 100);
    visit(&x, a, 0, 600, false);
    visit(&x, b, 0, 600, false);
    timeline_free(a);
    assert_int_equal(sync(&x, b, prompt, 500), 499);
    timeline_free(b);
    setup_close(&x);
}

/* A prefix of any length. */
static void test_any_length(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 20, true, true);
    int32_t prompt[400], other[400];
    fill(prompt, 400, 0);
    timeline *a = timeline_new(&x, (kv_key){0});
    sync(&x, a, prompt, 400);
    for (size_t n = 1; n < 400; n += n < 130 ? 1 : 7) {
        timeline *b = timeline_new(&x, (kv_key){0});
        memcpy(other, prompt, sizeof prompt);
        fill(other + n, 400 - n, 5000 + (int32_t)n);
        assert_int_equal(sync(&x, b, other, n + 1), n);
        timeline_free(b);
    }
    visit(&x, a, 0, 400, false);
    timeline_free(a);
    setup_close(&x);
}

/* Turns of a chat whose history differs from what was generated. `suffix`: tokens at the end of each prompt that the
 * history lacks (the large kind's empty thought), `thought`: generated tokens that it drops. What follows the last
 * common token is computed, nothing else, with no more memory than one session needs. */
static void check_chat(size_t suffix, size_t thought, bool fresh_sequence) {
    setup x;
    setup_open(&x, 1, true, true);
    int32_t history[CONTEXT], prompt[CONTEXT];
    size_t n = 300;
    fill(history, n, 0);
    timeline *t = timeline_new(&x, (kv_key){0});
    for (int32_t turn = 0; turn < 4; turn++) {
        memcpy(prompt, history, n * sizeof *prompt);
        fill(prompt + n, suffix, 90000);
        size_t known = sync(&x, t, prompt, n + suffix), answer = 60;
        size_t expected = turn == 0 ? 0 : suffix + thought ? n - answer - 40 : n - 40;
        if (known < expected) fail_msg("turn %d: %zu of %zu tokens known, expected %zu", turn, known, n, expected);
        generate(&x, t, 50000 + 1000 * turn, thought);
        generate(&x, t, 60000 + 1000 * turn, answer);
        if (fresh_sequence) {
            timeline_free(t);
            t = timeline_new(&x, (kv_key){0});
        }
        fill(history + n, answer, 60000 + 1000 * turn);
        fill(history + n + answer, 40, 70000 + 1000 * turn); /* what the user says next */
        n += answer + 40;
    }
    timeline_free(t);
    setup_close(&x);
}

static void test_chat(void **state) {
    (void)state;
    for (int fresh = 0; fresh < 2; fresh++) {
        check_chat(0, 0, fresh);   /* nothing dropped */
        check_chat(0, 250, fresh); /* thinking */
        check_chat(4, 0, fresh);   /* an empty thought before the answer */
        check_chat(5, 130, fresh);
    }
}

/* A beginning that several prompts share: the second one finds that its window is gone and keeps it, the third has
 * it. */
static void test_common_beginning(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 1, true, true);
    int32_t prompt[1200];
    size_t known[4];
    for (int32_t i = 0; i < 4; i++) {
        timeline *t = timeline_new(&x, (kv_key){0});
        fill(prompt, 700, 0);
        fill(prompt + 700, 500, 10000 * (i + 1));
        known[i] = sync(&x, t, prompt, 1200);
        timeline_free(t);
    }
    assert_int_equal(known[0], 0);
    assert_int_equal(known[2], 700);
    assert_int_equal(known[3], 700);
    setup_close(&x);
}

static void test_keys(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 4, true, true);
    static const kv_key keys[] = {{0}, {.salt = 1}, {.context = 1}, {.owner = 1}, {.owner = 2}};
    int32_t prompt[200];
    fill(prompt, 200, 0);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        timeline *t = timeline_new(&x, keys[i]);
        assert_int_equal(sync(&x, t, prompt, 200), 0);
        timeline_free(t);
        t = timeline_new(&x, keys[i]);
        assert_int_equal(sync(&x, t, prompt, 200), 199);
        kv_sequence_set_key(t->kv, keys[0]);
        assert_int_equal(sync(&x, t, prompt, 200), 199);
        timeline_free(t);
    }
    setup_close(&x);
}

/* ---- memory */

/* What was promised to a prompt is there, whatever others ask meanwhile. */
static void test_promise(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 1, true, true);
    facet_error error;
    int32_t prompt[CONTEXT], other[CONTEXT];
    fill(prompt, CONTEXT, 0);
    fill(other, CONTEXT, 100000);
    timeline *a = timeline_new(&x, (kv_key){0}), *b = timeline_new(&x, (kv_key){0});
    memcpy(a->tokens, prompt, sizeof prompt);
    assert_ok(kv_sequence_begin(a->kv, prompt, CONTEXT, CONTEXT - 1, &error), &error);
    assert_ok(compute(&x, a, 100, &error), &error);
    assert_int_equal(kv_sequence_begin(b->kv, other, CONTEXT, CONTEXT - 1, &error), FACET_ERROR_BUDGET);
    assert_true(strlen(error.message) > 0);
    assert_int_equal(kv_sequence_length(b->kv), 0);
    assert_ok(compute(&x, a, CONTEXT, &error), &error);
    visit(&x, a, 0, CONTEXT, false);
    assert_int_equal(kv_sequence_extend(a->kv, 1, &error), FACET_ERROR_CONTEXT);
    timeline_free(a); /* cached now, and given up for the other */
    assert_int_equal(sync(&x, b, other, CONTEXT), 0);
    timeline_free(b);
    setup_close(&x);
}

/* A prompt that stops half-way gives back what it does not use. */
static void test_trim(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 1, true, true);
    facet_error error;
    int32_t prompt[CONTEXT];
    fill(prompt, CONTEXT, 0);
    timeline *a = timeline_new(&x, (kv_key){0}), *b = timeline_new(&x, (kv_key){.salt = 1});
    memcpy(a->tokens, prompt, sizeof prompt);
    assert_ok(kv_sequence_begin(a->kv, prompt, CONTEXT, CONTEXT - 1, &error), &error);
    assert_ok(compute(&x, a, 100, &error), &error);
    kv_sequence_trim(a->kv);
    assert_int_equal(sync(&x, b, prompt, CONTEXT / 2), 0);
    visit(&x, a, 0, 100, false);
    assert_int_equal(sync(&x, a, prompt, 300), 100);
    timeline_free(a);
    timeline_free(b);
    setup_close(&x);
}

/* The oldest goes first. */
static void test_oldest_first(void **state) {
    (void)state;
    setup x;
    setup_open(&x, 1, true, true);
    int32_t prompt[600];
    timeline *t = timeline_new(&x, (kv_key){0});
    for (int32_t i = 0; i < 3; i++) { /* 1800 of 2048 positions */
        fill(prompt, 600, 10000 * i);
        sync(&x, t, prompt, 600);
    }
    fill(prompt, 600, 0);
    assert_true(sync(&x, t, prompt, 600) > 500); /* used again: now 1 is the oldest */
    fill(prompt, 600, 30000);
    sync(&x, t, prompt, 600);
    fill(prompt, 600, 0);
    assert_true(sync(&x, t, prompt, 600) > 500);
    fill(prompt, 600, 10000);
    assert_true(sync(&x, t, prompt, 600) < 500);
    timeline_free(t);
    setup_close(&x);
}

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- positions that leave the middle */

static void move_rows(const setup *x, timeline *t, const kv_shift *shift) {
    for (size_t at = shift->from; at < shift->length; at++) {
        size_t old = at + shift->n, row = DIM * sizeof(uint16_t), page = at / CPU_PAGE, old_page = old / CPU_PAGE;
        for (uint32_t layer = 0; layer < N_LAYER; layer++) {
            if (at < kv_shift_first(shift, t->kv, layer)) continue;
            for (uint32_t head = 0; head < x->layers[layer].n_head_kv; head++) {
                memmove(kv_keys(t->kv, layer, head, page) + at % CPU_PAGE * row,
                        kv_shift_keys(shift, t->kv, layer, head, old_page) + old % CPU_PAGE * row, row);
                memmove(kv_values(t->kv, layer, head, page) + at % CPU_PAGE * row,
                        kv_shift_values(shift, t->kv, layer, head, old_page) + old % CPU_PAGE * row, row);
            }
        }
    }
}

/* The marks of all positions as they are now. */
static void fix_marks(timeline *t) {
    uint32_t mark = 1;
    for (size_t i = 0; i < kv_sequence_length(t->kv); i++) {
        if (i >= t->n_marks) t->marks[i] = prefix_mark(i ? t->marks[i - 1] : mark, t->tokens[i]);
    }
    t->n_marks = kv_sequence_length(t->kv);
}

static facet_status shift(const setup *x, timeline *t, size_t from, size_t n, facet_error *error) {
    kv_shift moved;
    size_t length = kv_sequence_length(t->kv), behind = length - from - n;
    fix_marks(t);
    FACET_TRY(kv_shift_begin(&moved, t->kv, from, n, error));
    move_rows(x, t, &moved);
    kv_shift_end(&moved, t->kv);
    memmove(t->tokens + from, t->tokens + from + n, behind * sizeof *t->tokens);
    memmove(t->marks + from, t->marks + from + n, behind * sizeof *t->marks);
    t->n_marks = length - n;
    assert_int_equal(kv_sequence_length(t->kv), length - n);
    check_budget(x);
    return FACET_OK;
}

/* Every cut of a page by both ends, with memory for one session and no more; others' pages stay as they are. */
static void test_shift(void **state) {
    (void)state;
    uint32_t seed = 7;
    int32_t prompt[CONTEXT];
    fill(prompt, CONTEXT, 0);
    for (int i = 0; i < 300; i++) {
        setup x;
        facet_error error;
        bool beside = i % 2;
        setup_open(&x, beside ? 2 : 1, i % 7 != 0, i % 5 != 0);
        size_t length = beside ? 1500 : CONTEXT;
        timeline *a = timeline_new(&x, (kv_key){0}), *b = timeline_new(&x, (kv_key){0});
        assert_int_equal(sync(&x, a, prompt, length), 0);
        if (beside) assert_true(sync(&x, b, prompt, length - 1) > 0);
        size_t from = next_random(&seed) % (length - 2), n = 1 + next_random(&seed) % (length - from - 1);
        if (kv_shift_possible(a->kv, from, n)) {
            assert_ok(shift(&x, a, from, n, &error), &error);
            visit(&x, a, 0, length - n, false);
            generate(&x, a, 10000, n < 200 ? n : 200);
            visit(&x, a, 0, kv_sequence_length(a->kv), false);
        } else {
            assert_true(length - n - from < WINDOW + CPU_PAGE);
        }
        if (beside) visit(&x, b, 0, length - 1, false);
        timeline_free(a);
        timeline_free(b);
        setup_close(&x);
    }
}

/* What was moved is not what those tokens give, so nobody else gets it; the sequence itself goes on with it. */
static void test_moved_is_private(void **state) {
    (void)state;
    setup x;
    facet_error error;
    facet_status status;
    size_t from;
    setup_open(&x, 3, true, true);
    int32_t prompt[1000], tokens[CONTEXT];
    fill(prompt, 1000, 0);
    timeline *a = timeline_new(&x, (kv_key){0}), *b = timeline_new(&x, (kv_key){0});
    sync(&x, a, prompt, 1000);
    assert_false(kv_sequence_moved(a->kv, &from));
    assert_ok(shift(&x, a, 100, 333, &error), &error);
    assert_true(kv_sequence_moved(a->kv, &from));
    assert_int_equal(from, 100);
    generate(&x, a, 20000, 150);
    size_t n = kv_sequence_length(a->kv);
    memcpy(tokens, a->tokens, n * sizeof *tokens);
    tokens[n] = 5;
    assert_true(sync(&x, b, tokens, n + 1) <= 100);
    assert_true(kv_sequence_continue(a->kv, n - 10, n + 1, &status, &error));
    assert_int_equal(status, FACET_OK);
    assert_int_equal(kv_sequence_length(a->kv), n - 10);
    a->n_marks = a->n_marks < n - 10 ? a->n_marks : n - 10;
    assert_ok(compute(&x, a, n, &error), &error);
    visit(&x, a, 0, n, false);
    assert_false(kv_sequence_continue(a->kv, 200, n, &status, &error)); /* the window of that is gone */
    sync(&x, a, prompt, 1000);
    assert_false(kv_sequence_moved(a->kv, &from));
    timeline_free(a);
    timeline_free(b);
    setup_close(&x);
}

/* ---- everything at once */

/* Prompts that branch often: a token depends on few choices. */
static void random_prompt(uint32_t *seed, int32_t *tokens, size_t n) {
    int32_t branch = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 50 == 0) branch = branch * 2 + (next_random(seed) % 3 == 0);
        tokens[i] = branch + (int32_t)i;
    }
}

static void random_step(const setup *x, timeline *t, uint32_t *seed, size_t *refused) {
    facet_error error;
    int32_t prompt[CONTEXT];
    size_t length = kv_sequence_length(t->kv), n = 1 + next_random(seed) % 700;
    size_t from = length ? next_random(seed) % length : 0, gone = 1 + next_random(seed) % 300;
    if (next_random(seed) % 6 == 0 && kv_shift_possible(t->kv, from, gone)) {
        *refused += shift(x, t, from, gone, &error) == FACET_ERROR_BUDGET;
        visit(x, t, 0, kv_sequence_length(t->kv), false);
        return;
    }
    if (next_random(seed) % 3 == 0 || length == 0) {
        random_prompt(seed, prompt, n);
        size_t most = next_random(seed) % 4 ? n - 1 : next_random(seed) % n;
        facet_status status = kv_sequence_begin(t->kv, prompt, n, most, &error);
        t->n_marks = 0;
        *refused += status == FACET_ERROR_BUDGET;
        if (status == FACET_OK) memcpy(t->tokens, prompt, n * sizeof *prompt);
        assert_true(kv_sequence_length(t->kv) <= most);
        visit(x, t, 0, kv_sequence_length(t->kv), false);
        if (status != FACET_OK) return;
        if (next_random(seed) % 5) {
            assert_ok(compute(x, t, n, &error), &error); /* promised */
        } else {
            assert_ok(compute(x, t, kv_sequence_length(t->kv) + 1, &error), &error);
            kv_sequence_trim(t->kv);
        }
    } else {
        for (size_t i = n % 90; i && length < CONTEXT; i--, length++) {
            t->tokens[length] = (int32_t)(next_random(seed) % 2 + length);
            facet_status status = compute(x, t, length + 1, &error);
            *refused += status == FACET_ERROR_BUDGET;
            if (status != FACET_OK) return;
        }
    }
}

static void check_random(double sessions, bool full, bool sliding, uint32_t seed) {
    enum { N = 6, STEPS = 250 };
    setup x;
    setup_open(&x, sessions, full, sliding);
    timeline *lines[N] = {0};
    size_t refused = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t i = next_random(&seed) % N;
        if (!lines[i]) {
            lines[i] = timeline_new(&x, (kv_key){.salt = next_random(&seed) % 2});
        } else if (next_random(&seed) % 6 == 0) {
            timeline_free(lines[i]);
            lines[i] = NULL;
        } else {
            random_step(&x, lines[i], &seed, &refused);
        }
        check_budget(&x);
        for (int k = 0; k < N && step % 10 == 0; k++) {
            if (lines[k]) visit(&x, lines[k], 0, kv_sequence_length(lines[k]->kv), false);
        }
    }
    print_message("%g sessions' memory: %zu refusals\n", sessions, refused);
    assert_true(sessions > 1 || refused > 0);
    for (int i = 0; i < N; i++) {
        if (lines[i]) timeline_free(lines[i]);
    }
    setup_close(&x);
}

static void test_random(void **state) {
    (void)state;
    for (uint32_t seed = 1; seed <= 3; seed++) {
        check_random(1, true, true, seed);
        check_random(2.5, true, true, seed + 10);
    }
    check_random(2, true, false, 20);
    check_random(6, false, true, 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_prompt), cmocka_unit_test(test_any_length),
        cmocka_unit_test(test_chat),        cmocka_unit_test(test_common_beginning),
        cmocka_unit_test(test_keys),        cmocka_unit_test(test_promise),
        cmocka_unit_test(test_trim),        cmocka_unit_test(test_oldest_first),
        cmocka_unit_test(test_shift),       cmocka_unit_test(test_moved_is_private),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
