/* SPDX-License-Identifier: Apache-2.0 */
/* The packing entropy: a pipeline's own model drives the coder. */
#include "store_support.h"

/* Each code is as likely as it is near to the one before it and to the one a level below: weights that fall with the distance squared. */
typedef struct near_model {
    uint32_t sharpness; /* 0 = all alike; another number is another model */
    int broken;         /* gives intervals that cannot be */
} near_model;

static uint32_t expected(const vq_code_place *place)
{
    const vq_tokens *t = place->tokens;
    const size_t positions = vq_tokens_positions(t),
                 at = place->level * positions + place->position;
    if (place->position)
        return t->codes[at - 1];
    return place->level ? t->codes[at - positions] : 0;
}

/* The start of a code's interval: sums of weights, scaled to VQ_MODEL_TOTAL less 1 each, so that none is 0. */
static uint32_t start_of(const near_model *m, const vq_code_place *place, uint32_t code)
{
    const uint32_t k = place->tokens->k[place->level], centre = expected(place) % k;
    uint64_t before = 0, all = 0;
    for (uint32_t c = 0; c < k; c++) {
        const uint32_t away = c > centre ? c - centre : centre - c;
        const uint64_t weight = 1000000 / (1 + (uint64_t)m->sharpness * away * away);
        before += c < code ? weight : 0;
        all += weight;
    }
    return (uint32_t)(before * (VQ_MODEL_TOTAL - k) / all) + code;
}

static void interval(void *context, const vq_code_place *place, uint32_t code, uint32_t *start,
                     uint32_t *frequency)
{
    const near_model *m = context;
    *start = start_of(m, place, code);
    *frequency = m->broken ? 0 : start_of(m, place, code + 1) - *start;
}

static void find(void *context, const vq_code_place *place, uint32_t value, uint32_t *code,
                 uint32_t *start, uint32_t *frequency)
{
    const near_model *m = context;
    for (*code = 0; *code + 1 < place->tokens->k[place->level]; ++*code)
        if (start_of(m, place, *code + 1) > value)
            break;
    *start = start_of(m, place, *code);
    *frequency = start_of(m, place, *code + 1) - *start;
}

static vq_code_model model_of(near_model *m)
{
    return (vq_code_model){m, interval, find};
}

/* A walk: each code is the one before it and a step. */
static vq_tokens *make_walk(uint64_t number)
{
    static const uint32_t k[2] = {64, 50};
    static const size_t grid[1] = {300};
    vq_tokens *t;
    uint64_t random = number;
    assert_ok(vq_tokens_create(&t, 1, grid, 2, k));
    t->source_ndim = 0;
    uint32_t at = 0;
    for (size_t i = 0; i < 600; i++) {
        at = (uint32_t)((at + 50 + test_random(&random) % 3 - 1) % 50);
        t->codes[i] = at;
    }
    return t;
}

static vq_status write_walks(const char *path, const vq_code_model *model, vq_packing packing,
                             int count, int append, vq_shard_info *info)
{
    vq_store_schema schema = {.streams = 1};
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = (int)packing + 1;
    opts.model = model;
    opts.append = append;
    opts.no_sync = 1;
    vq_tokens *t = make_walk(0);
    assert_ok(vq_store_stream_of(&schema.stream[0], "walk", t));
    vq_tokens_free(t);
    vq_shard_writer *w;
    vq_status status = vq_shard_create(&w, path, &schema, &opts);
    if (status)
        return status;
    for (uint64_t i = vq_shard_writer_records(w); !status && i < (uint64_t)count; i++) {
        t = make_walk(i);
        status = vq_shard_add(w, NULL, (const vq_tokens *const *)&t);
        vq_tokens_free(t);
    }
    if (!status)
        status = vq_shard_finish(w, info);
    vq_shard_writer_discard(w);
    return status;
}

static void assert_walks(const char *path, const vq_code_model *model, uint64_t count)
{
    vq_shard *shard;
    vq_record *record;
    assert_ok(vq_shard_open_with(&shard, path, model, NULL));
    assert_ok(vq_record_create(&record));
    assert_int_equal(vq_shard_records(shard), count);
    for (uint64_t i = 0; i < count; i++) {
        vq_tokens *t = make_walk(i);
        assert_ok(vq_shard_read(record, shard, i));
        assert_memory_equal(record->tokens[0]->codes, t->codes, 600 * sizeof *t->codes);
        vq_tokens_free(t);
    }
    assert_ok(vq_shard_verify(shard, NULL, NULL));
    vq_record_free(record);
    vq_shard_free(shard);
}

static void a_model_drives_the_coder(void **state)
{
    (void)state;
    near_model near = {.sharpness = 1};
    const vq_code_model model = model_of(&near);
    const char *path = store_path("model.vqs"), *other = store_path("other.vqs");
    vq_shard_info coded, bits;
    assert_ok(write_walks(path, &model, VQ_PACKING_ENTROPY, 20, 0, &coded));
    assert_ok(write_walks(other, NULL, VQ_PACKING_BITS, 20, 0, &bits));
    assert_int_equal(coded.packing, VQ_PACKING_ENTROPY);
    assert_true(coded.block_bytes < bits.block_bytes * 6 / 10);
    assert_walks(path, &model, 20);
    /* Appended to, and repaired. */
    assert_ok(write_walks(other, &model, VQ_PACKING_ENTROPY, 7, 0, NULL));
    assert_ok(write_walks(other, &model, VQ_PACKING_ENTROPY, 20, 1, NULL));
    assert_same_files(path, other);
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.model = &model;
    uint64_t lost;
    assert_ok(vq_shard_repair(other, path, &opts, NULL, NULL, &lost, NULL));
    assert_int_equal(lost, 0);
    assert_same_files(path, other);
}

static void another_model_is_refused(void **state)
{
    (void)state;
    near_model near = {.sharpness = 1}, wrong = {.sharpness = 2}, broken = {.broken = 1};
    const vq_code_model model = model_of(&near), other = model_of(&wrong), bad = model_of(&broken);
    const char *path = store_path("refused.vqs");
    assert_ok(write_walks(path, &model, VQ_PACKING_ENTROPY, 3, 0, NULL));
    vq_shard *shard;
    vq_record *record;
    assert_ok(vq_record_create(&record));
    assert_ok(vq_shard_open_with(&shard, path, &other, NULL));
    assert_status(VQ_E_FORMAT, vq_shard_read(record, shard, 1));
    vq_shard_free(shard);
    assert_ok(vq_shard_open(&shard, path, NULL));
    assert_status(VQ_E_UNSUPPORTED, vq_shard_read(record, shard, 1));
    assert_non_null(strstr(vq_last_error(), "model"));
    vq_shard_free(shard);
    vq_record_free(record);
    assert_status(VQ_E_ARG, write_walks(path, &bad, VQ_PACKING_ENTROPY, 3, 0, NULL));
    assert_non_null(strstr(vq_last_error(), "interval"));
    assert_status(VQ_E_ARG, write_walks(path, NULL, VQ_PACKING_ENTROPY, 3, 0, NULL));
}

static vq_status write_and_read(void *context)
{
    near_model near = {.sharpness = 1};
    const vq_code_model model = model_of(&near);
    const uint32_t k[1] = {9};
    const size_t grid[1] = {70};
    vq_tokens *t = NULL;
    vq_shard_writer *w = NULL;
    vq_shard *shard = NULL;
    vq_record *record = NULL;
    vq_store_schema schema = {.streams = 1};
    vq_shard_opts opts = VQ_SHARD_OPTS_INIT;
    opts.packing = VQ_PACKING_ENTROPY + 1;
    opts.model = &model;
    opts.no_sync = 1;
    vq_status status = vq_tokens_create(&t, 1, grid, 1, k);
    if (!status) {
        t->source_ndim = 0;
        status = vq_store_stream_of(&schema.stream[0], "t", t);
    }
    if (!status)
        status = vq_shard_create(&w, context, &schema, &opts);
    if (!status)
        status = vq_shard_add(w, NULL, (const vq_tokens *const *)&t);
    if (!status)
        status = vq_shard_finish(w, NULL);
    if (!status)
        status = vq_shard_open_with(&shard, context, &model, NULL);
    if (!status)
        status = vq_record_create(&record);
    if (!status)
        status = vq_shard_read(record, shard, 0);
    vq_record_free(record);
    vq_shard_free(shard);
    vq_shard_writer_discard(w);
    vq_tokens_free(t);
    return status;
}

static void allocations_may_fail(void **state)
{
    (void)state;
    char path[160];
    strcpy(path, store_path("memory.vqs"));
    test_allocation_failures(write_and_read, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_drives_the_coder),
        cmocka_unit_test(another_model_is_refused),
        cmocka_unit_test(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, store_make_folder, store_remove_folder);
}
