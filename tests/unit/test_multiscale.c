/* SPDX-License-Identifier: Apache-2.0 */
/* The multi-scale quantizer: against a plain rendering of VAR's formulas in double, and the usual properties. */
#include "rvq/multiscale.h"
#include "parts_support.h"

enum { ROWS = 7, COLUMNS = 5, D = 6, SCALES = 4, PHIS = 4, N = 9, K = 24, CELLS = ROWS * COLUMNS };

static const uint32_t sizes[SCALES * 2] = {1, 1, 2, 3, 5, 4, ROWS, COLUMNS};
static const uint32_t one_size[1] = {K};

static float phi_weight[PHIS * D * D * 9], phi_bias[PHIS * D], grids[N * CELLS * D];

static int fill(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (size_t i = 0; i < PHIS * D * D * 9; i++)
        phi_weight[i] = (float)(0.2 * test_uniform(&seed) - 0.1);
    for (size_t i = 0; i < PHIS * D; i++)
        phi_bias[i] = (float)(0.1 * test_uniform(&seed));
    for (size_t i = 0; i < N * CELLS * D; i++)
        grids[i] = (float)(i / D % 11) / 4 + (float)test_uniform(&seed);
    return 0;
}

static vq_multiscale_design design_of(vq_multiscale_up up, uint32_t phis)
{
    vq_multiscale_design design = VQ_MULTISCALE_DESIGN_INIT;
    design.rows = ROWS;
    design.columns = COLUMNS;
    design.channels = D;
    design.scales = SCALES;
    design.sizes = sizes;
    design.up = up;
    design.phis = phis;
    design.phi_weight = phis ? phi_weight : NULL;
    design.phi_bias = phis ? phi_bias : NULL;
    return design;
}

static vq_multiscale *make(vq_multiscale_up up, uint32_t phis, uint32_t count)
{
    const vq_multiscale_design design = design_of(up, phis);
    vq_quantizer *quantizers[SCALES];
    vq_multiscale *m;
    for (uint32_t s = 0; s < count; s++)
        quantizers[s] = parts_stack(D, one_size, 1, VQ_DTYPE_F32, 20 + s);
    assert_ok(vq_multiscale_create(&m, &design, quantizers, count));
    return m;
}

/* As PyTorch's upsample_bicubic2d and upsample_bilinear2d weigh input `from` for output `to`. */
static double tap(uint32_t to, uint32_t out, uint32_t from, uint32_t in, vq_multiscale_up up)
{
    double at = (to + 0.5) * in / out - 0.5, sum = 0;
    if (up == VQ_MULTISCALE_BILINEAR) {
        at = at < 0 ? 0 : at;
        at = at > in - 1 ? in - 1 : at;
        const double off = fabs(at - from);
        return off < 1 ? 1 - off : 0;
    }
    for (int i = -8; i < (int)in + 8; i++) { /* beyond the edge the edge goes on */
        const int clamped = i < 0 ? 0 : i >= (int)in ? (int)in - 1 : i;
        const double t = fabs(at - i);
        if (clamped == (int)from)
            sum += t <= 1  ? 1.25 * t * t * t - 2.25 * t * t + 1
                   : t < 2 ? -0.75 * t * t * t + 3.75 * t * t - 6 * t + 3
                           : 0;
    }
    return sum;
}

/* What the cells of a scale say of the grid. */
static void say(double said[CELLS][D], const float *cells, uint32_t s, vq_multiscale_up up, int phi)
{
    double flat[CELLS][D];
    const uint32_t down = sizes[2 * s], across = sizes[2 * s + 1];
    for (uint32_t y = 0; y < ROWS; y++)
        for (uint32_t x = 0; x < COLUMNS; x++)
            for (uint32_t c = 0; c < D; c++) {
                double sum = 0;
                for (uint32_t v = 0; v < down; v++)
                    for (uint32_t u = 0; u < across; u++)
                        sum += tap(y, ROWS, v, down, up) * tap(x, COLUMNS, u, across, up) *
                               (double)cells[(v * across + u) * D + c];
                flat[y * COLUMNS + x][c] = sum;
            }
    for (int y = 0; y < ROWS; y++)
        for (int x = 0; x < COLUMNS; x++)
            for (int o = 0; o < D; o++) {
                const double own = flat[y * COLUMNS + x][o];
                double sum = phi < 0 ? 0 : (double)phi_bias[phi * D + o];
                for (int v = -1; v <= 1 && phi >= 0; v++)
                    for (int u = -1; u <= 1; u++)
                        for (int i = 0; i < D; i++)
                            if (y + v >= 0 && y + v < ROWS && x + u >= 0 && x + u < COLUMNS)
                                sum += flat[(y + v) * COLUMNS + x + u][i] *
                                       (double)phi_weight[((phi * D + o) * D + i) * 9 +
                                                          (v + 1) * 3 + u + 1];
                said[y * COLUMNS + x][o] = phi < 0 ? own : (own + sum) / 2;
            }
}

/* With four scales and four phis VAR's ticks are 1/12, 13/36, 23/36, 11/12: phi s for scale s. */
static void test_against_plain_formulas(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        const vq_multiscale_up up = form % 2 ? VQ_MULTISCALE_BILINEAR : VQ_MULTISCALE_BICUBIC;
        vq_multiscale *m = make(up, form / 2 ? PHIS : 0, form / 2 ? 1 : SCALES);
        const size_t tokens = vq_multiscale_tokens(m, 0);
        assert_int_equal(tokens, 1 + 6 + 20 + 35);
        assert_int_equal(vq_multiscale_tokens(m, 2), 7);
        uint32_t codes[62];
        float decoded[CELLS * D];
        assert_ok(vq_multiscale_encode(codes, m, grids, 1, NULL));
        assert_ok(vq_multiscale_decode(decoded, m, codes, 1, NULL));
        double rest[CELLS][D], sum[CELLS][D] = {{0}}, said[CELLS][D];
        for (size_t i = 0; i < CELLS * D; i++)
            rest[i / D][i % D] = (double)grids[i];
        size_t token = 0;
        for (uint32_t s = 0; s < SCALES; s++) {
            const uint32_t down = sizes[2 * s], across = sizes[2 * s + 1];
            const vq_codebook *codebook = vq_quantizer_codebook(vq_multiscale_quantizer(m, s), 0);
            const float *codewords = vq_codebook_codewords(codebook);
            float cells[CELLS * D];
            for (uint32_t v = 0; v < down; v++)
                for (uint32_t u = 0; u < across; u++, token++) {
                    const uint32_t top = v * ROWS / down,
                                   bottom = ((v + 1) * ROWS + down - 1) / down,
                                   left = u * COLUMNS / across,
                                   right = ((u + 1) * COLUMNS + across - 1) / across;
                    double best = INFINITY, chosen = 0;
                    for (uint32_t k = 0; k < K; k++) {
                        double distance = 0;
                        for (uint32_t c = 0; c < D; c++) {
                            double mean = 0;
                            for (uint32_t y = top; y < bottom; y++)
                                for (uint32_t x = left; x < right; x++)
                                    mean += rest[y * COLUMNS + x][c];
                            mean /= (bottom - top) * (right - left);
                            const double off = mean - (double)codewords[k * D + c];
                            distance += off * off;
                        }
                        best = distance < best ? distance : best;
                        chosen = k == codes[token] ? distance : chosen;
                    }
                    assert_true(chosen <=
                                best + 1e-4); /* the same, or as near as float32 can tell */
                    memcpy(cells + (v * across + u) * D, codewords + codes[token] * D,
                           D * sizeof *cells);
                }
            say(said, cells, s, up, form / 2 ? (int)s : -1);
            for (size_t i = 0; i < CELLS * D; i++) {
                rest[i / D][i % D] -= said[i / D][i % D];
                sum[i / D][i % D] += said[i / D][i % D];
            }
        }
        for (size_t i = 0; i < CELLS * D; i++)
            assert_true(fabs((double)decoded[i] - sum[i / D][i % D]) < 1e-4);
        vq_multiscale_free(m);
    }
}

static void test_sameness_and_prefixes(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static const uint32_t masks[] = {UINT32_MAX, 0, VQ_CPU_AVX2};
    vq_multiscale *m = make(VQ_MULTISCALE_BICUBIC, PHIS, SCALES);
    const size_t tokens = vq_multiscale_tokens(m, 0);
    uint32_t *all = parts_alloc(N * tokens, sizeof *all),
             *codes = parts_alloc(N * tokens, sizeof *codes);
    float *first = parts_alloc(N * CELLS * D, sizeof *first),
          *decoded = parts_alloc(N * CELLS * D, sizeof *decoded);
    assert_ok(vq_multiscale_encode(all, m, grids, N, NULL));
    assert_ok(vq_multiscale_decode(first, m, all, N, NULL));
    for (int i = 0; i < 18; i++) {
        const size_t n = i < 9 ? N : 1;
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        vq_cpu_set_mask(masks[i / 3 % 3]);
        opts.threads = threads[i % 3];
        opts.workspace_size = vq_multiscale_workspace(m, n, opts.threads);
        opts.workspace = aligned_alloc(64, (opts.workspace_size + 63) / 64 * 64);
        assert_non_null(opts.workspace);
        test_allocator counter = {0, 0, -1, false};
        const vq_allocator allocator = {failing_alloc, failing_free, &counter};
        vq_set_allocator(&allocator);
        const vq_status there = vq_multiscale_encode(codes, m, grids, n, &opts),
                        back = vq_multiscale_decode(decoded, m, codes, n, &opts);
        vq_set_allocator(NULL);
        vq_cpu_set_mask(UINT32_MAX);
        assert_ok(there);
        assert_ok(back);
        assert_int_equal(counter.calls, 0);
        assert_memory_equal(codes, all, n * tokens * sizeof *codes);
        assert_memory_equal(decoded, first, n * CELLS * D * sizeof *decoded);
        free(opts.workspace);
    }
    for (uint32_t s = 1; s <= SCALES; s++) {
        vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
        const size_t some = vq_multiscale_tokens(m, s);
        opts.levels = s;
        assert_ok(vq_multiscale_encode(codes, m, grids, N, &opts));
        for (size_t i = 0; i < N; i++)
            assert_memory_equal(codes + i * some, all + i * tokens, some * sizeof *codes);
        assert_ok(vq_multiscale_decode(decoded, m, codes, N, &opts));
    }
    vq_multiscale_free(m);
    free(all);
    free(codes);
    free(first);
    free(decoded);
}

static void test_refusals(void **state)
{
    (void)state;
    vq_multiscale *m = make(VQ_MULTISCALE_BICUBIC, 0, 1), *out;
    const size_t tokens = vq_multiscale_tokens(m, 0);
    uint32_t *codes = parts_alloc(N * tokens, sizeof *codes);
    float *x = parts_alloc(N * CELLS * D, sizeof *x);
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    memcpy(x, grids, sizeof grids);
    assert_ok(vq_multiscale_encode(codes, m, x, 0, NULL));
    assert_ok(vq_multiscale_encode(codes, m, x, N, NULL));
    codes[3 * tokens + 9] = K;
    assert_status(VQ_E_RANGE, vq_multiscale_decode(x, m, codes, N, NULL));
    assert_non_null(strstr(vq_last_error(), "grid 3, token 9"));
    x[5 * CELLS * D + 17] = NAN;
    assert_status(VQ_E_NONFINITE, vq_multiscale_encode(codes, m, x, N, NULL));
    assert_non_null(strstr(vq_last_error(), "grid 5 "));
    opts.levels = SCALES + 1;
    assert_status(VQ_E_ARG, vq_multiscale_encode(codes, m, x, 1, &opts));
    opts.levels = 0;
    opts.threads = -1;
    assert_status(VQ_E_ARG, vq_multiscale_encode(codes, m, x, 1, &opts));
    opts.threads = 1;
    opts.workspace = x;
    opts.workspace_size = 64;
    assert_status(VQ_E_ARG, vq_multiscale_encode(codes, m, x, 1, &opts));
    vq_multiscale_free(m);
    vq_multiscale_free(NULL);

    const uint32_t too_large[SCALES * 2] = {1, 1, 2, 3, ROWS + 1, 4, ROWS, COLUMNS},
                                      zero[SCALES * 2] = {1, 0, 2, 3, 5, 4, ROWS, COLUMNS},
                                      bad_phi[SCALES] = {0, 1, 2, 4};
    float bad_bias[PHIS * D] = {0};
    bad_bias[3] = INFINITY;
    vq_quantizer *good = parts_stack(D, one_size, 1, VQ_DTYPE_F32, 1),
                 *narrow = parts_stack(D - 1, one_size, 1, VQ_DTYPE_F32, 1);
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        vq_multiscale_design design = design_of(VQ_MULTISCALE_BICUBIC, PHIS);                      \
        change;                                                                                    \
        assert_status(expected, vq_multiscale_create(&out, &design, &good, 1));                    \
        assert_null(out);                                                                          \
    } while (0)
    REFUSED(VQ_E_ARG, design.struct_size = 0);
    REFUSED(VQ_E_ARG, design.rows = 0);
    REFUSED(VQ_E_ARG, design.columns = 1u << 31);
    REFUSED(VQ_E_ARG, design.channels = 0);
    REFUSED(VQ_E_ARG, design.channels = D + 1);
    REFUSED(VQ_E_ARG, design.scales = 0);
    REFUSED(VQ_E_ARG, design.scales = VQ_MAX_LEVELS + 1);
    REFUSED(VQ_E_ARG, design.sizes = NULL);
    REFUSED(VQ_E_ARG, design.sizes = too_large);
    REFUSED(VQ_E_ARG, design.sizes = zero);
    REFUSED(VQ_E_ARG, design.up = (vq_multiscale_up)2);
    REFUSED(VQ_E_ARG, design.phi_weight = NULL);
    REFUSED(VQ_E_ARG, design.phi_of = bad_phi);
    REFUSED(VQ_E_ARG, design.phi_ratio = -1);
    REFUSED(VQ_E_ARG, design.phi_ratio = NAN);
    REFUSED(VQ_E_NONFINITE, design.phi_bias = bad_bias);
#undef REFUSED
    vq_multiscale_design design = design_of(VQ_MULTISCALE_BICUBIC, 0);
    vq_quantizer *two[2] = {good, good};
    assert_status(VQ_E_ARG, vq_multiscale_create(&out, &design, two, 2));
    assert_status(VQ_E_ARG, vq_multiscale_create(&out, &design, &narrow, 1));
    vq_quantizer_free(good);
    vq_quantizer_free(narrow);
    free(codes);
    free(x);
}

static vq_status reload(vq_tensors **again, const vq_tensors *tensors)
{
    vq_multiscale *m;
    const vq_status status = vq_multiscale_load(&m, tensors, "", NULL);
    if (status)
        assert_null(m);
    else {
        assert_ok(vq_tensors_create(again));
        assert_ok(vq_multiscale_save(*again, m, ""));
    }
    vq_multiscale_free(m);
    return status;
}

static void test_bad_files(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++)
        for (uint32_t phis = 0; phis <= PHIS; phis += PHIS) {
            vq_multiscale *m = make(VQ_MULTISCALE_BICUBIC, phis, shared ? 1 : SCALES);
            vq_tensors *tensors;
            assert_ok(vq_tensors_create(&tensors));
            assert_ok(vq_multiscale_save(tensors, m, ""));
            check_damages(tensors, reload);
            vq_tensors_free(tensors);
            vq_multiscale_free(m);
        }
}

static void test_saving(void **state)
{
    (void)state;
    struct {
        const char *key, *value;
        vq_status expected;
    } const damages[] = {
        {"m.kind", "flat", VQ_E_UNSUPPORTED},
        {"m.up", "nearest", VQ_E_FORMAT},
        {"m.shared", "2", VQ_E_FORMAT},
        {"m.shared", "", VQ_E_FORMAT},
        {"m.scale.0.kind", "x", VQ_E_UNSUPPORTED},
        {"m.scale.0.levels", "2", VQ_E_FORMAT},
    };
    uint32_t codes[62], again_codes[62];
    for (int form = 0; form < 4; form++) {
        vq_multiscale *m = make((vq_multiscale_up)(form % 2), form / 2 ? PHIS : 0,
                                form / 2 ? SCALES : 1),
                      *again;
        vq_tensors *tensors;
        vq_quantizer *q;
        assert_ok(vq_tensors_create(&tensors));
        assert_ok(vq_multiscale_save(tensors, m, "m."));
        assert_status(VQ_E_ARG, vq_multiscale_save(tensors, m, "m."));
        assert_ok(vq_multiscale_load(&again, tensors, "m.", NULL));
        assert_int_equal(vq_multiscale_get_design(again)->up, form % 2);
        assert_int_equal(vq_multiscale_get_design(again)->phis, form / 2 ? PHIS : 0);
        assert_ok(vq_multiscale_encode(codes, m, grids, 1, NULL));
        assert_ok(vq_multiscale_encode(again_codes, again, grids, 1, NULL));
        assert_memory_equal(codes, again_codes, sizeof codes);
        vq_multiscale_free(again);
        assert_status(VQ_E_UNSUPPORTED, vq_quantizer_load(&q, tensors, "m.", NULL));
        for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
            char kept[32];
            snprintf(kept, sizeof kept, "%s", vq_tensors_get(tensors, damages[i].key));
            assert_ok(vq_tensors_set(tensors, damages[i].key, damages[i].value));
            assert_status(damages[i].expected, vq_multiscale_load(&again, tensors, "m.", NULL));
            assert_null(again);
            assert_ok(vq_tensors_set(tensors, damages[i].key, kept));
        }
        /* Numbers that do not fit each other. */
        uint32_t *grid = vq_tensors_find(tensors, "m.grid")->data;
        const uint32_t wrong[] = {0, 4, UINT32_MAX};
        for (int i = 0; i < 9; i++) {
            const uint32_t good = grid[i / 3];
            grid[i / 3] = wrong[i % 3];
            assert_true(vq_multiscale_load(&again, tensors, "m.", NULL) != VQ_OK);
            assert_null(again);
            grid[i / 3] = good;
        }
        if (form / 2) {
            uint32_t *of = vq_tensors_find(tensors, "m.phi.of")->data;
            of[1] = PHIS;
            assert_status(VQ_E_FORMAT, vq_multiscale_load(&again, tensors, "m.", NULL));
            of[1] = 0;
            float *ratio = vq_tensors_find(tensors, "m.phi.ratio")->data;
            *ratio = 0;
            assert_status(VQ_E_FORMAT, vq_multiscale_load(&again, tensors, "m.", NULL));
            *ratio = 2;
            assert_status(VQ_E_FORMAT, vq_multiscale_load(&again, tensors, "m.", NULL));
            *ratio = 1;
            float *weight = vq_tensors_find(tensors, "m.phi.weight")->data;
            weight[4] = NAN;
            assert_status(VQ_E_NONFINITE, vq_multiscale_load(&again, tensors, "m.", NULL));
        }
        vq_tensors_free(tensors);
        vq_multiscale_free(m);
    }
}

static double error_of(const vq_multiscale *m, const float *x, size_t n, uint32_t scales)
{
    vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
    uint32_t *codes = parts_alloc(n * vq_multiscale_tokens(m, 0), sizeof *codes);
    float *decoded = parts_alloc(n * CELLS * D, sizeof *decoded);
    double error = 0;
    opts.levels = scales;
    assert_ok(vq_multiscale_encode(codes, m, x, n, &opts));
    assert_ok(vq_multiscale_decode(decoded, m, codes, n, &opts));
    for (size_t i = 0; i < n * CELLS * D; i++)
        error += ((double)x[i] - (double)decoded[i]) * ((double)x[i] - (double)decoded[i]);
    free(codes);
    free(decoded);
    return error;
}

static void test_training(void **state)
{
    (void)state;
    const uint32_t k[SCALES] = {2, 8, 16, 32};
    vq_multiscale_design design = design_of(VQ_MULTISCALE_BICUBIC, 0);
    vq_kmeans_opts kmeans = VQ_KMEANS_OPTS_INIT;
    vq_multiscale_train_opts opts = VQ_MULTISCALE_TRAIN_OPTS_INIT;
    vq_multiscale *m, *first = NULL;
    kmeans.k = 24;
    opts.design = &design;
    opts.kmeans = &kmeans;
    double errors[2] = {0, 0};
    for (int shared = 0; shared < 2; shared++) {
        opts.shared = shared;
        opts.k = shared ? NULL : k;
        first = NULL;
        for (int threads = 1; threads <= 7; threads += 3) {
            kmeans.threads = threads;
            assert_ok(vq_multiscale_train(&m, grids, N, &opts));
            for (uint32_t s = 0; first && s < SCALES; s++) {
                const vq_codebook *a = vq_quantizer_codebook(vq_multiscale_quantizer(m, s), 0),
                                  *b = vq_quantizer_codebook(vq_multiscale_quantizer(first, s), 0);
                assert_int_equal(vq_codebook_k(a), shared ? 24 : k[s]);
                assert_memory_equal(vq_codebook_codewords(a), vq_codebook_codewords(b),
                                    vq_codebook_k(a) * D * sizeof(float));
            }
            if (first)
                vq_multiscale_free(m);
            else
                first = m;
        }
        errors[shared] = error_of(first, grids, N, SCALES);
        assert_true(errors[shared] < 0.5 * error_of(first, grids, N, 1));
        vq_multiscale_free(first);
    }
    /* Rounds make a shared codebook no worse. */
    double last = INFINITY;
    opts.k = NULL;
    for (opts.rounds = 1; opts.rounds <= 6; opts.rounds += 5) {
        assert_ok(vq_multiscale_train(&m, grids, N, &opts));
        const double error = error_of(m, grids, N, SCALES);
        assert_true(error <= last);
        last = error;
        vq_multiscale_free(m);
    }
    opts.k = k;
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, N, &opts)); /* and shared */
    opts.k = NULL;
    opts.shared = 0;
    kmeans.seeds = grids;
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, N, &opts));
    kmeans.seeds = NULL;
    kmeans.k = N + 1; /* there are but N cells of the first scale */
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, N, &opts));
    assert_null(m);
    kmeans.k = 2;
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, 0, &opts));
    design.rows = 0;
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, N, &opts));
    opts.design = NULL;
    assert_status(VQ_E_ARG, vq_multiscale_train(&m, grids, N, &opts));
}

/* The report's counts are those of the codes, and its errors those of the decoded prefixes. */
static void test_report(void **state)
{
    (void)state;
    enum { MANY = 70 }; /* more than are encoded together */
    vq_multiscale *m = make(VQ_MULTISCALE_BILINEAR, PHIS, SCALES);
    const size_t tokens = vq_multiscale_tokens(m, 0);
    float *x = parts_alloc((size_t)MANY * CELLS * D, sizeof *x);
    uint32_t *codes = parts_alloc(MANY * tokens, sizeof *codes);
    vq_level_report rows[SCALES];
    double energy = 0;
    for (size_t i = 0; i < (size_t)MANY * CELLS * D; i++) {
        x[i] = grids[i % (N * CELLS * D)] + (float)(i / (N * CELLS * D)) / 9;
        energy += (double)x[i] * (double)x[i];
    }
    assert_ok(vq_multiscale_report(rows, m, x, MANY, 0));
    assert_ok(vq_multiscale_encode(codes, m, x, MANY, NULL));
    size_t first = 0;
    for (uint32_t s = 0; s < SCALES; s++) {
        const size_t end = vq_multiscale_tokens(m, s + 1);
        uint32_t seen[K] = {0}, used = 0;
        double entropy = 0;
        for (size_t i = 0; i < MANY; i++)
            for (size_t t = first; t < end; t++)
                seen[codes[i * tokens + t]]++;
        for (uint32_t k = 0; k < K; k++) {
            const double share = seen[k] / (double)(MANY * (end - first));
            used += seen[k] > 0;
            entropy -= seen[k] ? share * log2(share) : 0;
        }
        assert_int_equal(rows[s].k, K);
        assert_int_equal(rows[s].used, used);
        assert_true(fabs(rows[s].entropy_bits - entropy) < 1e-9);
        const double error = error_of(m, x, MANY, s + 1);
        assert_true(fabs(rows[s].mse / (error / ((double)MANY * CELLS * D)) - 1) < 1e-9);
        assert_true(fabs(rows[s].snr_db - 10 * log10(energy / error)) < 1e-9);
        first = end;
    }
    assert_status(VQ_E_ARG, vq_multiscale_report(rows, m, x, 0, 0));
    x[CELLS * D] = NAN;
    assert_status(VQ_E_NONFINITE, vq_multiscale_report(rows, m, x, MANY, 0));
    vq_multiscale_free(m);
    free(x);
    free(codes);
}

static vq_status train_encode_save(void *context)
{
    const int *shared = context;
    vq_multiscale_design design = design_of(VQ_MULTISCALE_BICUBIC, 2);
    vq_kmeans_opts kmeans = VQ_KMEANS_OPTS_INIT;
    vq_multiscale_train_opts opts = VQ_MULTISCALE_TRAIN_OPTS_INIT;
    vq_multiscale *m = NULL, *again = NULL;
    vq_tensors *tensors = NULL;
    vq_level_report rows[SCALES];
    uint32_t codes[2 * 62];
    float decoded[2 * CELLS * D];
    kmeans.k = 2;
    kmeans.max_iterations = 1;
    opts.design = &design;
    opts.kmeans = &kmeans;
    opts.shared = *shared;
    opts.rounds = 1;
    vq_status status = vq_multiscale_train(&m, grids, 2, &opts);
    if (!status)
        status = vq_multiscale_encode(codes, m, grids, 2, NULL);
    if (!status)
        status = vq_multiscale_decode(decoded, m, codes, 2, NULL);
    if (!status)
        status = vq_multiscale_report(rows, m, grids, 2, 0);
    if (!status)
        status = vq_tensors_create(&tensors);
    if (!status)
        status = vq_multiscale_save(tensors, m, "");
    if (!status)
        status = vq_multiscale_load(&again, tensors, "", NULL);
    vq_multiscale_free(m);
    vq_multiscale_free(again);
    vq_tensors_free(tensors);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++)
        test_allocation_failures(train_encode_save, &shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_plain_formulas),
        cmocka_unit_test(test_sameness_and_prefixes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_saving),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
