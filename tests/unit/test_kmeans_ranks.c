/* SPDX-License-Identifier: Apache-2.0 */
/* k-means in several ranks: the codebook and the report of one process, bit for bit, and no rank waits for one that failed. */
#include "test_support.h"

#include <math.h>

#include "kmeans_support.h"
#include "ranks_support.h"

enum { N = 3000, D = 7 };

/* A source that is not in memory. */
static vq_status read_rows(void *context, const float **rows, float *buffer, size_t first,
                           size_t count)
{
    memcpy(buffer, (const float *)context + first * D, count * D * sizeof *buffer);
    *rows = buffer;
    return VQ_OK;
}

/* What all ranks are to do, and what came of it. */
typedef struct task {
    const float *x;
    size_t n;
    vq_kmeans_opts opts;
    int uneven;    /* shards of very different sizes, some of no rows */
    int streamed;  /* not in memory */
    int odd_rank;  /* this rank trains with another seed; -1 = none */
    int stop_rank; /* this one's progress function stops; -1 = none */
    vq_codebook *codebook[RANKS_MOST];
    vq_kmeans_report report[RANKS_MOST];
} task;

static int stop(void *context, const vq_kmeans_progress *progress)
{
    (void)context;
    return progress->iteration == 2;
}

static void train(ranks_member *self)
{
    task *t = self->context;
    const uint32_t rank = self->comm.rank, size = self->comm.size;
    size_t first = t->n * rank / size, end = t->n * (rank + 1) / size;
    if (t->uneven) { /* 0, n / 3, 0, the rest */
        first = rank <= 1 ? 0 : t->n / 3;
        end = rank == 0 ? 0 : rank < size - 1 || size < 2 ? t->n / 3 : t->n;
    }
    vq_source source = vq_source_from_memory(t->x + first * D, end - first, D);
    vq_kmeans_opts opts = t->opts;
    if (t->streamed) {
        source.memory = NULL;
        source.read = read_rows;
        source.context = (void *)(uintptr_t)(t->x + first * D);
    }
    opts.threads = 1 + (int)(rank % 2);
    opts.seed += (int)rank == t->odd_rank;
    if ((int)rank == t->stop_rank)
        opts.progress = stop;
    self->status =
        vq_kmeans_train_ranks(&t->codebook[rank], &t->report[rank], &source, &opts, &self->comm);
}

static void clear(task *t)
{
    for (int i = 0; i < RANKS_MOST; i++) {
        vq_codebook_free(t->codebook[i]);
        vq_kmeans_report_clear(&t->report[i]);
        t->codebook[i] = NULL;
    }
}

static task task_of(const float *x, uint32_t k)
{
    return (task){.x = x, .n = N, .opts = options(k), .odd_rank = -1, .stop_rank = -1};
}

/* One process, then 1, 2, 4 and 7 ranks. */
static void assert_ranks(task *t)
{
    static const uint32_t sizes[] = {1, 2, 4, 7};
    ranks_member members[RANKS_MOST];
    vq_codebook *expected;
    vq_kmeans_report report;
    assert_ok(vq_kmeans_train(&expected, &report, t->x, t->n, D, &t->opts));
    for (int i = 0; i < 4; i++) {
        if (t->uneven && sizes[i] < 4)
            continue;
        ranks_meet(members, sizes[i], train, t, -1);
        for (uint32_t rank = 0; rank < sizes[i]; rank++) {
            if (members[rank].status)
                fail_msg("rank %u of %u: %s", rank, sizes[i], members[rank].error);
            const vq_kmeans_report *got = &t->report[rank];
            assert_codewords(t->codebook[rank], vq_codebook_codewords(expected),
                             (size_t)t->opts.k * D);
            assert_int_equal(got->iterations, report.iterations);
            assert_int_equal(got->converged, report.converged);
            assert_int_equal(got->revived, report.revived);
            assert_int_equal(got->used, report.used);
            assert_memory_equal(got->mse, report.mse, (report.iterations + 1) * sizeof *report.mse);
            assert_true(got->entropy_bits == report.entropy_bits);
        }
        clear(t);
    }
    vq_codebook_free(expected);
    vq_kmeans_report_clear(&report);
}

static void the_codebook_of_one_process(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 3);
    for (int way = 0; way < 12; way++) {
        task t = task_of(x, 37);
        t.streamed = way & 1;
        t.uneven = way % 4 == 2;
        t.opts.metric = way % 3 == 2 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN;
        t.opts.seeding = way < 6 ? VQ_SEEDING_KMEANSPP : VQ_SEEDING_RANDOM;
        t.opts.seeding_rows = way % 5 == 4 ? 0 : 401; /* a sample, or all rows */
        t.opts.storage = way == 7 ? VQ_DTYPE_F16 : VQ_DTYPE_F32;
        t.opts.max_iterations = 6;
        t.opts.seed = (uint64_t)way;
        assert_ranks(&t);
    }
    free(x);
}

/* Cells without rows: the worst rows of all ranks fill them. Many rows are equal, so that errors tie and numbers decide. */
static void empty_cells(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 3), seeds[60 * D];
    for (size_t i = 0; i < (size_t)N * D; i++)
        x[i] = roundf(x[i]);
    for (int c = 0; c < 60; c++) /* most of them far away from all rows */
        for (int j = 0; j < D; j++)
            seeds[c * D + j] = c < 5 ? (float)(c * (j % 5 - 2)) : (float)(1000 + c);
    for (int policy = VQ_EMPTY_FARTHEST; policy <= VQ_EMPTY_KEEP; policy++)
        for (int way = 0; way < 3; way++) {
            task t = task_of(x, 60);
            t.opts.seeds = seeds;
            t.opts.empty = (vq_empty_policy)policy;
            t.opts.max_iterations = 8;
            t.streamed = way & 1;
            t.uneven = way & 2;
            assert_ranks(&t);
        }
    free(x);
}

/* The options or the data of one rank are wrong, or one is stopped: all fail, and say so. */
static void one_rank_fails(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 3);
    ranks_member members[RANKS_MOST];
    task t = task_of(x, 20);
    t.odd_rank = 2;
    ranks_meet(members, 4, train, &t, -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(members[i].status, VQ_E_MISMATCH);
    t.odd_rank = -1;
    t.stop_rank = 1;
    ranks_meet(members, 4, train, &t, -1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(members[i].status, VQ_E_CANCELLED);
        assert_true((strstr(members[i].error, "another rank") != NULL) == (i != 1));
        assert_null(t.codebook[i]);
    }
    t.stop_rank = -1;
    x[N * D - 3] = NAN;
    ranks_meet(members, 4, train, &t, -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(members[i].status, VQ_E_NONFINITE);
    assert_non_null(strstr(members[3].error, "row 2999"));
    t.opts.repair_rounds = 1;
    ranks_meet(members, 2, train, &t, -1);
    assert_int_equal(members[1].status, VQ_E_ARG);
    t.opts.repair_rounds = 0;
    t.opts.weights = x;
    ranks_meet(members, 2, train, &t, -1);
    assert_int_equal(members[1].status, VQ_E_ARG);
    t.opts.weights = NULL;
    t.n = 19; /* too few in all ranks together */
    ranks_meet(members, 4, train, &t, -1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(members[i].status, VQ_E_ARG);
    t.n = 0;
    ranks_meet(members, 4, train, &t, -1);
    assert_int_equal(members[0].status, VQ_E_ARG);
    clear(&t);
    free(x);
}

/* A communicator that fails at any of its calls. */
static void the_communicator_fails(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 3);
    ranks_member members[RANKS_MOST];
    task t = task_of(x, 20);
    t.n = 300;
    t.opts.max_iterations = 3;
    t.opts.seeding_rows = 100;
    const long meetings = ranks_meet(members, 3, train, &t, -1);
    assert_int_equal(members[2].status, VQ_OK);
    clear(&t);
    for (long at = 0; at < meetings; at++) {
        assert_int_equal(ranks_meet(members, 3, train, &t, at),
                         at + 1); /* and none is called again */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(members[i].status, VQ_E_IO);
            assert_null(t.codebook[i]);
        }
    }
    vq_communicator bad = VQ_COMMUNICATOR_INIT;
    vq_source source = vq_source_from_memory(x, 300, D);
    assert_status(VQ_E_ARG, vq_kmeans_train_ranks(&t.codebook[0], NULL, &source, &t.opts, &bad));
    bad.allreduce = ranks_allreduce;
    bad.size = 0;
    assert_status(VQ_E_ARG, vq_kmeans_train_ranks(&t.codebook[0], NULL, &source, &t.opts, &bad));
    bad.size = VQ_MAX_RANKS + 1;
    assert_status(VQ_E_ARG, vq_kmeans_train_ranks(&t.codebook[0], NULL, &source, &t.opts, &bad));
    bad.size = bad.rank = 3;
    assert_status(VQ_E_ARG,
                  vq_kmeans_train_ranks(&t.codebook[0], &t.report[0], &source, &t.opts, &bad));
    free(x);
}

static vq_status train_two(void *context)
{
    task *t = context;
    ranks_member members[RANKS_MOST];
    ranks_meet(members, 2, train, t, -1);
    clear(t);
    assert_int_equal(members[0].status, members[1].status); /* both, whichever it was */
    return members[0].status;
}

static void no_memory(void **state)
{
    (void)state;
    float *x = make_rows(N, D, 3);
    task t = task_of(x, 5);
    t.n = 100;
    t.opts.max_iterations = 2;
    t.opts.seeding_rows = 50;
    t.streamed = 1;
    test_allocation_failures(train_two, &t);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_codebook_of_one_process),
        cmocka_unit_test(empty_cells),
        cmocka_unit_test(one_rank_fails),
        cmocka_unit_test(the_communicator_fails),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
