/* SPDX-License-Identifier: Apache-2.0 */
/* Mergeable statistics of k-means: the same bits for any split of the rows, and what they say is true. */
#include <math.h>

#include "unit/kmeans_support.h"
#include "vq/exact_sum_internal.h"

enum { N = 9000, D = 19, K = 40 }; /* D: two registers of columns and a tail on every machine */

typedef struct setting {
    vq_codebook *codebook;
    float *x, *weights; /* weights may be NULL */
    vq_kmeans_stats_opts opts;
} setting;

static vq_kmeans_stats *stats_of(const setting *s)
{
    vq_kmeans_stats *stats;
    assert_ok(vq_kmeans_stats_create(&stats, s->codebook, &s->opts));
    return stats;
}

static void add(vq_kmeans_stats *stats, const setting *s, size_t first, size_t count, int threads)
{
    const vq_source rows = vq_source_from_memory(s->x + first * D, count, D);
    assert_ok(vq_kmeans_stats_accumulate(stats, s->codebook, &rows, first,
                                         s->weights ? s->weights + first : NULL, threads));
}

static void assert_same_tensors(const vq_tensors *a, const vq_tensors *b)
{
    assert_int_equal(vq_tensors_count(a), vq_tensors_count(b));
    for (size_t i = 0; i < vq_tensors_count(a); i++) {
        const vq_tensor *s = vq_tensors_at(a, i), *t = vq_tensors_at(b, i);
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->count, t->count);
        assert_memory_equal(s->data, t->data, s->count * vq_dtype_size(s->dtype));
    }
}

static vq_tensors *saved(const vq_kmeans_stats *stats)
{
    vq_tensors *tensors;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_kmeans_stats_save(tensors, stats, "stats."));
    return tensors;
}

/* The rows in `shards` shards of uneven size, each added in pieces and some through a save and a load, merged
 * from shard `from` on: the same bytes as all rows at once. */
static void assert_split(const setting *s, const vq_tensors *expected, size_t shards, size_t from,
                         int threads)
{
    vq_kmeans_stats *all = stats_of(s);
    for (size_t i = 0; i < shards; i++) {
        const size_t shard = (from + i * (shards > 2 ? 2 : 1)) % shards,
                     begin = N * shard * shard / (shards * shards),
                     end = N * (shard + 1) * (shard + 1) / (shards * shards),
                     middle = begin + (end - begin) / 3;
        vq_kmeans_stats *part = stats_of(s);
        add(part, s, middle, end - middle, threads);
        add(part, s, begin, middle - begin, threads);
        if (shard & 1) {
            vq_tensors *tensors = saved(part);
            vq_kmeans_stats_free(part);
            assert_ok(vq_kmeans_stats_load(&part, tensors, "stats.", NULL));
            vq_tensors_free(tensors);
        }
        assert_ok(vq_kmeans_stats_merge(all, part));
        vq_kmeans_stats_free(part);
    }
    vq_tensors *tensors = saved(all);
    assert_same_tensors(tensors, expected);
    vq_tensors_free(tensors);
    vq_kmeans_stats_free(all);
}

static setting make_setting(int kind)
{
    setting s = {NULL, make_rows(N, D, 5), NULL, VQ_KMEANS_STATS_OPTS_INIT};
    uint64_t random = 9;
    if (kind & 1) {
        s.weights = malloc(N * sizeof *s.weights);
        assert_non_null(s.weights);
        for (int i = 0; i < N; i++)
            s.weights[i] = (float)(i % 7 ? 3 * test_uniform(&random) : 0);
        s.opts.largest_weight = 3;
    }
    for (size_t i = 0; i < (size_t)N * D; i += 5) /* numbers of all sizes */
        s.x[i] *= ldexpf(1, -(int)(test_random(&random) % 60));
    memcpy(s.x + 100 * D, s.x + 50 * D, D * sizeof *s.x); /* equally badly served */
    assert_ok(vq_codebook_create(&s.codebook, s.x, K, D,
                                 kind & 2 ? VQ_METRIC_COSINE : VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    return s;
}

static void clear_setting(setting *s)
{
    vq_codebook_free(s->codebook);
    free(s->x);
    free(s->weights);
}

static void test_any_split(void **state)
{
    (void)state;
    static const size_t shards[] = {1, 2, 3, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    for (int kind = 0; kind < 4; kind++) {
        setting s = make_setting(kind);
        vq_kmeans_stats *whole = stats_of(&s);
        add(whole, &s, 0, N, 1);
        vq_tensors *expected = saved(whole);
        for (size_t i = 0; i < 4; i++)
            for (int threads = 1; threads <= 7; threads += 1 + threads / 3 * 3) { /* 1 2 3 7 */
                vq_cpu_set_mask(masks[(i + (size_t)threads) % 3]);
                for (size_t from = 0; from < shards[i]; from += 3)
                    assert_split(&s, expected, shards[i], from, threads);
                vq_cpu_set_mask(UINT32_MAX);
            }
        vq_tensors_free(expected);
        vq_kmeans_stats_free(whole);
        clear_setting(&s);
    }
}

/* Rows, weights and sums are what they are called. */
static void test_what_they_say(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        setting s = make_setting(kind);
        uint32_t *codes = malloc(N * sizeof *codes);
        float *scores = malloc(N * sizeof *scores);
        long double(*sum)[D] = calloc(K, sizeof *sum), weight[K] = {0}, cost[K] = {0}, all = 0;
        int64_t rows[K] = {0}, total = 0;
        assert_true(codes && scores && sum);
        vq_kmeans_stats *stats = stats_of(&s);
        add(stats, &s, 0, N, 2);
        float *unit = malloc((size_t)N * D * sizeof *unit);
        assert_non_null(unit);
        for (int i = 0; i < N; i++) {
            double square = 0;
            for (int j = 0; j < D; j++)
                square += (double)s.x[i * D + j] * (double)s.x[i * D + j];
            const double scale = kind & 2 ? 1 / sqrt(square) : 1;
            for (int j = 0; j < D; j++)
                unit[i * D + j] = (float)((double)s.x[i * D + j] * scale);
        }
        assert_ok(vq_nearest(codes, scores, s.codebook, unit, N, NULL));
        for (int i = 0; i < N; i++) {
            const uint32_t c = codes[i];
            const double w = s.weights ? (double)s.weights[i] : 1;
            const float error = kind & 2 ? 1 - scores[i] : scores[i];
            rows[c] += w > 0;
            total += w > 0;
            weight[c] += w;
            cost[c] += w * (double)error;
            all += w * (double)error;
            for (int j = 0; j < D; j++)
                sum[c][j] += w * (double)unit[i * D + j];
        }
        assert_int_equal(vq_kmeans_stats_k(stats), K);
        assert_int_equal(vq_kmeans_stats_dim(stats), D);
        assert_int_equal(vq_kmeans_stats_total(stats), total);
        assert_true(fabsl(vq_kmeans_stats_objective(stats) - all) <= 1e-15L * all);
        for (uint32_t c = 0; c < K; c++) {
            vq_kmeans_cell cell;
            double found[D];
            assert_ok(vq_kmeans_stats_cell(&cell, found, stats, c));
            assert_int_equal(cell.rows, rows[c]);
            assert_true(fabsl(cell.weight - weight[c]) <= 1e-15L * weight[c]);
            assert_true(fabsl(cell.objective - cost[c]) <= 1e-14L * fabsl(cost[c]));
            for (int j = 0; j < D; j++)
                assert_true(fabsl(found[j] - sum[c][j]) <=
                            1e-15L * fabsl(sum[c][j]) + 1e-15L * weight[c]);
        }
        vq_kmeans_cell cell;
        assert_status(VQ_E_RANGE, vq_kmeans_stats_cell(&cell, NULL, stats, K));
        vq_kmeans_stats_free(stats);
        free(codes);
        free(scores);
        free(sum);
        free(unit);
        clear_setting(&s);
    }
}

/* Shards and update by hand, iteration after iteration, are vq_kmeans_train(). */
static void test_is_training(void **state)
{
    (void)state;
    enum { ITERATIONS = 4 };
    for (int policy = VQ_EMPTY_FARTHEST; policy <= VQ_EMPTY_KEEP; policy++)
        for (int weighted = 0; weighted < 2; weighted++) {
            setting s = make_setting(weighted);
            for (size_t i = 0; i < (size_t)N * D; i++) /* training takes its bounds from the data */
                s.opts.largest_value = fmax(s.opts.largest_value, fabs((double)s.x[i]));
            float seeds[K * D];
            memcpy(seeds, s.x, sizeof seeds);
            memcpy(seeds + (K / 2) * D, s.x, (K / 2) * D * sizeof *seeds); /* half are useless */
            vq_codebook_free(s.codebook);
            assert_ok(
                vq_codebook_create(&s.codebook, seeds, K, D, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
            vq_kmeans_opts opts = options(K);
            opts.seeds = seeds;
            opts.weights = s.weights;
            opts.empty = (vq_empty_policy)policy;
            opts.max_iterations = ITERATIONS;
            opts.tolerance = -1;
            vq_codebook *expected, *next;
            vq_kmeans_report report;
            assert_ok(vq_kmeans_train(&expected, &report, s.x, N, D, &opts));
            uint32_t revived = 0, moved;
            for (int i = 0; i < ITERATIONS; i++) {
                vq_kmeans_stats *a = stats_of(&s), *b = stats_of(&s);
                add(a, &s, 4000, N - 4000, 1);
                add(b, &s, 0, 4000, 1);
                assert_ok(vq_kmeans_stats_merge(a, b));
                assert_ok(
                    vq_kmeans_stats_update(&next, &moved, a, s.codebook, (vq_empty_policy)policy));
                revived += moved;
                vq_codebook_free(s.codebook);
                s.codebook = next;
                vq_kmeans_stats_free(a);
                vq_kmeans_stats_free(b);
            }
            assert_codewords(s.codebook, vq_codebook_codewords(expected), K * D);
            assert_int_equal(revived, report.revived);
            assert_true(policy == VQ_EMPTY_KEEP ? !revived : revived > 0);
            vq_kmeans_report_clear(&report);
            vq_codebook_free(expected);
            clear_setting(&s);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    setting s = make_setting(0), heavy = make_setting(1), cosine = make_setting(2);
    vq_kmeans_stats *a = stats_of(&s), *b = stats_of(&heavy), *c = stats_of(&cosine), *none;
    vq_codebook *other, *out;
    vq_source rows = vq_source_from_memory(s.x, 10, D);
    const float zeros[2] = {0}, ones[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 5};
    assert_status(VQ_E_MISMATCH, vq_kmeans_stats_merge(a, b));
    assert_status(VQ_E_MISMATCH, vq_kmeans_stats_merge(a, c));
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(a, cosine.codebook, &rows, 0, NULL, 0));
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(a, s.codebook, &rows, 0, ones, 0));
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(a, s.codebook, &rows, 0, NULL, -1));
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(b, heavy.codebook, &rows, 0, ones, 0));
    assert_non_null(strstr(vq_last_error(), "weight 9"));
    rows.d = D - 1;
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(a, s.codebook, &rows, 0, NULL, 0));
    rows.d = D;
    s.x[3] = 1e9f; /* 65536 times the largest codeword is less */
    assert_status(VQ_E_ARG, vq_kmeans_stats_accumulate(a, s.codebook, &rows, 0, NULL, 0));
    assert_non_null(strstr(vq_last_error(), "largest_value"));
    s.x[3] = NAN;
    assert_status(VQ_E_NONFINITE, vq_kmeans_stats_accumulate(a, s.codebook, &rows, 0, NULL, 0));
    assert_status(VQ_E_ARG, vq_kmeans_stats_update(&out, NULL, a, s.codebook, (vq_empty_policy)3));
    assert_status(VQ_E_ARG, vq_kmeans_stats_update(&out, NULL, a, cosine.codebook, VQ_EMPTY_KEEP));
    assert_null(out);
    assert_int_equal(vq_kmeans_stats_total(a), 0);
    vq_kmeans_stats_free(a);

    vq_kmeans_stats_opts opts = VQ_KMEANS_STATS_OPTS_INIT;
    opts.largest_value = 1; /* codewords are larger */
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&none, s.codebook, &opts));
    assert_null(none);
    opts.largest_value = -1;
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&none, s.codebook, &opts));
    opts.largest_value = 0;
    opts.largest_weight = (double)NAN;
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&none, s.codebook, &opts));
    assert_ok(vq_codebook_create(&other, zeros, 2, 1, VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&none, other, NULL));
    opts.largest_weight = 0;
    opts.largest_value = 1;
    assert_ok(vq_kmeans_stats_create(&none, other, &opts));
    vq_kmeans_stats_free(none);
    vq_codebook_free(other);
    assert_ok(vq_codebook_create(&other, ones, 2, 1, VQ_METRIC_DOT, VQ_DTYPE_F32));
    assert_status(VQ_E_ARG, vq_kmeans_stats_create(&none, other, NULL));
    vq_codebook_free(other);
    vq_kmeans_stats_free(b);
    vq_kmeans_stats_free(c);
    vq_kmeans_stats_free(NULL);
    clear_setting(&s);
    clear_setting(&heavy);
    clear_setting(&cosine);
}

/* Each array spoiled in each way is refused by name. */
static void test_damaged(void **state)
{
    (void)state;
    setting s = make_setting(1);
    vq_kmeans_stats *stats = stats_of(&s), *loaded;
    add(stats, &s, 0, N, 2);
    vq_tensors *tensors = saved(stats);
    assert_status(VQ_E_FORMAT, vq_kmeans_stats_load(&loaded, tensors, "other.", NULL));
    assert_non_null(strstr(vq_last_error(), "other.form"));
    assert_status(VQ_E_ARG, vq_kmeans_stats_save(tensors, stats, "stats."));
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_codewords = K - 1;
    assert_status(VQ_E_LIMIT, vq_kmeans_stats_load(&loaded, tensors, "stats.", &limits));
    static const struct {
        const char *name;
        size_t at;
        int64_t value;
    } damages[] = {
        {"stats.form", 1, 2},
        {"stats.form", 2, 401},
        {"stats.form", 3, 2},
        {"stats.form", 4, -401},
        {"stats.rows", 3, -1},
        {"stats.rows", 3, INT64_MAX},
        {"stats.sum", 7, INT64_MIN},
        {"stats.sum", 7, INT64_MAX},
        {"stats.sum", (size_t)K * D + 7, -1},
        {"stats.sum", (size_t)K * D + 7, (int64_t)1 << 45},
        {"stats.cost", 2, INT64_MAX},
        {"stats.cost", 2 * K, -1},
        {"stats.weight", K, -1},
        {"stats.worst", 1, 0xff800000},
        {"stats.worst.row", 1, 0x7fc00000},
        {"stats.worst.row", 1, 0x7f000000},
        {"stats.worst.weight", 1, 0x40800001},
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const vq_tensor *t = vq_tensors_find(tensors, damages[i].name);
        assert_non_null(t);
        const size_t width = vq_dtype_size(t->dtype);
        char *at = (char *)t->data + damages[i].at * width, before[8];
        const uint32_t narrow = (uint32_t)damages[i].value;
        memcpy(before, at, width);
        memcpy(at, width == 8 ? (const void *)&damages[i].value : (const void *)&narrow, width);
        assert_status(VQ_E_FORMAT, vq_kmeans_stats_load(&loaded, tensors, "stats.", NULL));
        assert_null(loaded);
        assert_non_null(strstr(vq_last_error(), damages[i].name));
        memcpy(at, before, width);
    }
    int32_t *form = vq_tensors_find(tensors, "stats.form")->data;
    form[0] = 2;
    assert_status(VQ_E_VERSION, vq_kmeans_stats_load(&loaded, tensors, "stats.", NULL));
    form[0] = 1;
    assert_ok(vq_kmeans_stats_load(&loaded, tensors, "stats.", NULL));
    vq_kmeans_stats_free(loaded);
    vq_tensors_free(tensors);
    vq_kmeans_stats_free(stats);
    clear_setting(&s);
}

__extension__ typedef __int128 wide;

/* The exact sums themselves: limbs against 128-bit integers, and values of all sizes against long double. */
static void test_exact_sums(void **state)
{
    (void)state;
    uint64_t random = 3;
    for (int exponent = -200; exponent <= 200; exponent += 50) {
        const vqi_exact_grid grid = vqi_exact_grid_of(exponent);
        int64_t limb[2] = {0};
        wide sum = 0;
        for (int i = 0; i < 100000; i++) { /* multiples of the finest of two units */
            const int64_t whole = (int64_t)(test_random(&random) >> 11) - ((int64_t)1 << 52);
            const int shift = (int)(test_random(&random) % 19);
            sum += (wide)whole * ((int64_t)1 << shift);
            vqi_exact_add(limb, 1, &grid, 2, ldexp((double)whole, shift) * grid.unit[1]);
        }
        vqi_exact_carry(limb, 1, 2, 1);
        assert_true(limb[1] >= 0 && limb[1] < (int64_t)1 << VQI_EXACT_NEXT_BITS);
        assert_true(sum == (wide)limb[0] * ((int64_t)1 << 45) + limb[1]);
        assert_true(fabs(vqi_exact_value(limb, 1, &grid, 2) / grid.unit[1] - (double)sum) <=
                    1e-15 * fabs((double)sum));
    }
    assert_int_equal(vqi_exact_exponent(0), 0);
    assert_int_equal(vqi_exact_exponent(1), 0);
    assert_int_equal(vqi_exact_exponent(1.0000001), 1);
    assert_int_equal(vqi_exact_exponent(-8), 3);
    float x[75];
    for (uint32_t n = 0; n <= 75; n++) {
        for (uint32_t i = 0; i < n; i++)
            x[i] = i == n / 2 ? -2.5f : (float)test_uniform(&random);
        const float expected = n ? 2.5f : 0;
        for (int mask = 0; mask < 2; mask++) {
            vq_cpu_set_mask(mask ? UINT32_MAX : 0);
            const uint32_t bits = vqi_largest_bits(x, n);
            assert_memory_equal(&bits, &expected, sizeof bits);
        }
    }
    vq_cpu_set_mask(UINT32_MAX);
    x[70] = -NAN;
    assert_true(vqi_largest_bits(x, 75) > 0x7f800000u);
}

/* The kernels write their sums and nothing else. */
static void test_sum_kernels(void **state)
{
    (void)state;
    static const uint32_t masks[] = {0, VQ_CPU_AVX2, UINT32_MAX};
    enum { ROWS = 9, MOST = 70, GUARD = 5 };
    float x[ROWS * MOST], weights[ROWS];
    uint32_t order[ROWS] = {4, 0, 8, 1, 1, 7};
    uint64_t random = 12;
    for (int i = 0; i < ROWS * MOST; i++)
        x[i] = (float)(test_uniform(&random) - 0.5);
    for (int i = 0; i < ROWS; i++)
        weights[i] = (float)test_uniform(&random);
    const vqi_exact_grid grid = vqi_exact_grid_of(0);
    for (uint32_t d = 1; d <= MOST; d++)
        for (int limbs = 2; limbs <= 3; limbs++)
            for (size_t count = 0; count <= 6; count += 3) {
                const size_t stride = d + GUARD;
                int64_t expected[3 * (MOST + GUARD)], sums[3 * (MOST + GUARD)];
                for (int weighted = 0; weighted < 2; weighted++)
                    for (int m = 0; m < 3; m++) {
                        for (size_t i = 0; i < 3 * stride; i++)
                            expected[i] = sums[i] = (int64_t)(i * i);
                        for (size_t o = 0; o < count; o++)
                            for (uint32_t j = 0; j < d; j++)
                                vqi_exact_add(expected + j, stride, &grid, limbs,
                                              (weighted ? (double)weights[order[o]] : 1) *
                                                  (double)x[order[o] * d + j]);
                        vq_cpu_set_mask(masks[m]);
                        vqi_exact_rows_kernel(limbs)(sums, stride, &grid, x, order, count, d,
                                                     weighted ? weights : NULL);
                        vq_cpu_set_mask(UINT32_MAX);
                        assert_memory_equal(sums, expected, 3 * stride * sizeof *sums);
                    }
            }
}

static vq_status all_of_it(void *context)
{
    const setting *s = context;
    vq_kmeans_stats *a = NULL, *b = NULL;
    vq_tensors *tensors = NULL;
    vq_codebook *next = NULL;
    const vq_source rows = vq_source_from_memory(s->x, 200, D);
    vq_status status = vq_kmeans_stats_create(&a, s->codebook, &s->opts);
    if (!status)
        status = vq_kmeans_stats_accumulate(a, s->codebook, &rows, 0, s->weights, 1);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_kmeans_stats_save(tensors, a, "");
    if (!status)
        status = vq_kmeans_stats_load(&b, tensors, "", NULL);
    if (!status)
        status = vq_kmeans_stats_merge(a, b);
    if (!status)
        status = vq_kmeans_stats_update(&next, NULL, a, s->codebook, VQ_EMPTY_FARTHEST);
    vq_codebook_free(next);
    vq_tensors_free(tensors);
    vq_kmeans_stats_free(a);
    vq_kmeans_stats_free(b);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    setting s = make_setting(3);
    test_allocation_failures(all_of_it, &s);
    clear_setting(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split),   cmocka_unit_test(test_what_they_say),
        cmocka_unit_test(test_is_training), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_damaged),     cmocka_unit_test(test_exact_sums),
        cmocka_unit_test(test_sum_kernels), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
