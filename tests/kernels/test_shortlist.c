/* SPDX-License-Identifier: Apache-2.0 */
/* Every filter, on data on which its bound could be wrong, against a plain reading of the contract. */
#include "nearest_support.h"

/* A shortlist of all rows at once, in `slices` parts of the codebook, with a filter that vq_nearest() might not choose. */
static void check_filter(const vq_codebook *codebook, const vqi_kernels *kernels,
                         const vqi_filter *coarse, const float *x, size_t n, size_t slices,
                         const uint32_t *codes, const float *scores)
{
    vq_tensors *memory; /* for 64-byte alignment */
    assert_ok(vq_tensors_create(&memory));
    const size_t bytes = vqi_shortlist_scratch(codebook, n, 1), room = slices * (bytes + GUARD);
    const size_t groups = (vq_codebook_k(codebook) + VQI_GROUP - 1) / VQI_GROUP;
    vq_tensor *scratch;
    assert_ok(vq_tensors_add(&scratch, memory, "scratch", VQ_DTYPE_U8, 1, &room, NULL));
    memset(scratch->data, GUARD_BYTE, room);
    uint32_t found[VQI_BLOCK];
    float found_scores[VQI_BLOCK];
    vqi_shortlist *first = NULL;
    for (size_t s = 0; s < slices; s++) {
        char *own = (char *)scratch->data + s * (bytes + GUARD);
        vqi_shortlist *list = vqi_shortlist_begin(own, codebook, kernels, coarse, x, n, 1);
        vqi_shortlist_search(list, groups * s / slices, groups * (s + 1) / slices);
        if (s)
            vqi_shortlist_merge(first, list);
        else
            first = list;
    }
    vqi_shortlist_finish(first, found, NULL);
    assert_same_codes(codes, found, n);
    memset(found, GUARD_BYTE, sizeof found);
    vqi_shortlist_finish(first, found, found_scores);
    assert_same_codes(codes, found, n);
    assert_same_scores(scores, found_scores, n);
    for (size_t s = 0; s < slices; s++)
        for (size_t i = 0; i < GUARD; i++)
            assert_int_equal(((unsigned char *)scratch->data)[s * (bytes + GUARD) + bytes + i],
                             GUARD_BYTE);
    vq_tensors_free(memory);
}

/* Every filter, whether or not it would pay. */
static void check_shortlist(const vq_codebook *codebook, const float *x, size_t n,
                            const uint32_t *codes, const float *scores)
{
    for (size_t m = 0; m < COUNT(masks); m++) {
        vq_cpu_set_mask(masks[m]);
        if (vq_cpu_flags() != masks[m] || !(codebook->largest_norm <= VQI_LARGEST_NORM))
            continue;
        const vqi_kernels kernels = vqi_nearest_kernels(codebook, n);
        const vqi_filter *filters[2] = {NULL, NULL};
#if defined(__x86_64__)
        if (masks[m] & VQ_CPU_VNNI) {
            filters[0] = &vqi_filter_bytes;
            filters[1] = &vqi_filter_words;
        } else if (masks[m] & VQ_CPU_AMX) {
            filters[0] = &vqi_filter_amx;
        } else if (masks[m] & VQ_CPU_AVX2) {
            filters[1] = &vqi_filter_madd;
        }
#endif
        for (size_t f = 0; f < COUNT(filters) && (!f || filters[f]); f++) {
            check_filter(codebook, &kernels, filters[f], x, n, 1, codes, scores);
            check_filter(codebook, &kernels, filters[f], x, n, 3, codes, scores);
        }
    }
    vq_cpu_set_mask(UINT32_MAX);
}

static void the_shortlist_never_loses_the_answer(void **state)
{
    (void)state;
    static const uint32_t shapes[][2] = {{65, 8}, {256, 24}, {100, 64}, {1500, 33}, {2100, 5}};
    uint64_t seed = 2;
    for (int kind = 0; kind < FAMILIES; kind++)
        for (size_t s = 0; s < COUNT(shapes); s++)
            for (size_t mi = 0; mi < COUNT(metrics); mi++) {
                const uint32_t k = shapes[s][0], d = shapes[s][1];
                const size_t n = s % 2 ? 96 : 91;
                float *codewords = malloc((size_t)k * d * sizeof(float));
                float *x = malloc(n * d * sizeof(float));
                fill(codewords, k, d, (family)kind, &seed);
                fill(x, n, d, (family)kind, &seed);
                if (metrics[mi] == VQ_METRIC_COSINE) /* no zero codewords */
                    for (uint32_t c = 0; c < k; c++)
                        codewords[(size_t)c * d] += codewords[(size_t)c * d] == 0;
                vq_codebook *codebook;
                assert_ok(
                    vq_codebook_create(&codebook, codewords, k, d, metrics[mi], VQ_DTYPE_F32));
                uint32_t codes[VQI_BLOCK];
                float scores[VQI_BLOCK];
                for (size_t i = 0; i < n; i++)
                    reference(codes + i, scores + i, codebook, x + i * d);
                check_shortlist(codebook, x, n, codes, scores);
                vq_codebook_free(codebook);
                free(codewords);
                free(x);
            }
}

/* Rows halfway between two codewords, up to rounding: the contract's own errors decide. */
static void the_shortlist_keeps_near_ties(void **state)
{
    (void)state;
    enum { K = 128, D = 48, N = VQI_BLOCK };
    static float codewords[K * D], x[N * D];
    uint64_t seed = 3;
    for (size_t mi = 0; mi < COUNT(metrics); mi++)
        for (int offset = 0; offset <= 10000; offset += 500 + 9 * offset) {
            for (size_t i = 0; i < K * D; i++)
                codewords[i] = gaussian(&seed) + (float)offset;
            for (size_t i = 0; i < N; i++) {
                const float *a = codewords + test_random(&seed) % K * D;
                const float *b = codewords + test_random(&seed) % K * D;
                for (size_t j = 0; j < D; j++)
                    x[i * D + j] = 0.5f * (a[j] + b[j]);
            }
            vq_codebook *codebook;
            assert_ok(vq_codebook_create(&codebook, codewords, K, D, metrics[mi], VQ_DTYPE_F32));
            uint32_t codes[N];
            float scores[N];
            for (size_t i = 0; i < N; i++)
                reference(codes + i, scores + i, codebook, x + i * D);
            check_shortlist(codebook, x, N, codes, scores);
            vq_codebook_free(codebook);
        }
}

static void long_vectors_have_the_contract_codes(void **state)
{
    (void)state;
    enum { K = 130, N = 40 };
    static const uint32_t ds[] = {1000, 4096};
    for (size_t di = 0; di < COUNT(ds); di++) {
        problem p = make_problem(K, ds[di], N, VQ_METRIC_EUCLIDEAN);
        uint32_t codes[N];
        float scores[N];
        for (size_t i = 0; i < N; i++)
            reference(codes + i, scores + i, p.codebook, p.x + i * ds[di]);
        check_shortlist(p.codebook, p.x, N, codes, scores);
        free_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shortlist_never_loses_the_answer),
        cmocka_unit_test(the_shortlist_keeps_near_ties),
        cmocka_unit_test(long_vectors_have_the_contract_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
