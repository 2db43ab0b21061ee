/* SPDX-License-Identifier: Apache-2.0 */
/* Code frequencies of a residual quantizer, and the lengths in bits that follow from them. */
#include <stdio.h>
#include <string.h>

#include "rvq/residual_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { FRACTION = 16 };

/* So that the sums of any level stay far from overflow. */
#define MOST_OF_A_CODE ((uint64_t)1 << 38)

/* floor(log2(x) 2^16) for x from 1 to 2^63, in integers: the C library's log2() may differ from machine to machine. */
static uint32_t log2_fixed(uint64_t x)
{
    uint32_t whole = 63;
    while (!(x >> whole))
        whole--;
    uint64_t m = whole > 31 ? x >> (whole - 31) : x << (31 - whole); /* in [2^31, 2^32) */
    uint32_t log = whole;
    for (int i = 0; i < FRACTION; i++) {
        m = (m * m) >> 31;
        log = log << 1 | (uint32_t)(m >> 32);
        m >>= m >> 32;
    }
    return log;
}

/* log2 of (sum + K) / (count + 1): codes that did not occur get a length too. */
static void find_lengths(float *lengths, const uint64_t *counts, uint32_t k)
{
    uint64_t sum = k;
    for (uint32_t c = 0; c < k; c++)
        sum += counts[c];
    for (uint32_t c = 0; c < k; c++)
        lengths[c] = (float)(log2_fixed(sum) - log2_fixed(counts[c] + 1)) * 0x1p-16f;
}

void vqi_rate_clear(vqi_residual *q)
{
    for (uint32_t l = 0; l < q->base.levels; l++) {
        vq_free(q->frequencies[l]);
        vq_free(q->lengths[l]);
        q->frequencies[l] = NULL;
        q->lengths[l] = NULL;
    }
}

static vq_status set_level(vqi_residual *q, uint32_t level, const uint64_t *counts)
{
    const uint32_t k = vq_quantizer_k(&q->base, level);
    if (!counts)
        return vqi_fail(VQ_E_ARG, "level %u has no frequencies (all have, or none)", level);
    for (uint32_t c = 0; c < k; c++)
        if (counts[c] > MOST_OF_A_CODE)
            return vqi_fail(VQ_E_ARG, "level %u: code %u has the frequency %llu (at most 2^38)",
                            level, c, (unsigned long long)counts[c]);
    q->frequencies[level] = vqi_alloc(k, sizeof **q->frequencies);
    q->lengths[level] = vqi_alloc(k, sizeof **q->lengths);
    if (!q->frequencies[level] || !q->lengths[level])
        return vqi_fail_nomem((unsigned long long)k * sizeof *counts);
    memcpy(q->frequencies[level], counts, k * sizeof *counts);
    find_lengths(q->lengths[level], counts, k);
    return VQ_OK;
}

vq_status vq_residual_set_frequencies(vq_quantizer *quantizer, const uint64_t *const *counts)
{
    if (quantizer->kind != &vqi_residual_kind)
        return vqi_fail(VQ_E_ARG, "a %s quantizer takes no frequencies (a residual one does)",
                        quantizer->kind->name);
    vqi_residual *q = (vqi_residual *)quantizer;
    vqi_residual made = {.base = q->base};
    memcpy(made.codebooks, q->codebooks, sizeof made.codebooks);
    for (uint32_t l = 0; l < q->base.levels; l++) {
        const vq_status status = set_level(&made, l, counts[l]);
        if (status) {
            vqi_rate_clear(&made);
            return status;
        }
    }
    vqi_rate_clear(q);
    memcpy(q->frequencies, made.frequencies, sizeof q->frequencies);
    memcpy(q->lengths, made.lengths, sizeof q->lengths);
    return VQ_OK;
}

vq_status vqi_rate_count(vq_quantizer *q, const uint32_t *codes, size_t n)
{
    const uint64_t *counts[VQ_MAX_LEVELS];
    size_t all = 0;
    for (uint32_t l = 0; l < q->levels; l++)
        all += vq_quantizer_k(q, l);
    uint64_t *memory = vqi_calloc(all, sizeof *memory), *level = memory;
    if (!memory)
        return vqi_fail_nomem(all * sizeof *memory);
    for (uint32_t l = 0; l < q->levels; level += vq_quantizer_k(q, l), l++) {
        counts[l] = level;
        for (size_t i = 0; i < n; i++)
            level[codes[i * q->levels + l]]++;
    }
    const vq_status status = vq_residual_set_frequencies(q, counts);
    vq_free(memory);
    return status;
}

static vq_status name_level(char name[VQI_NAME_SIZE], const char *prefix, uint32_t level)
{
    char rest[32];
    snprintf(rest, sizeof rest, "frequency.%u", level);
    return vqi_quantizer_name(name, prefix, rest);
}

vq_status vqi_rate_save(vq_tensors *tensors, const vqi_residual *q, const char *prefix)
{
    vq_status status = VQ_OK;
    for (uint32_t l = 0; l < q->base.levels && q->frequencies[0] && !status; l++) {
        char name[VQI_NAME_SIZE];
        const size_t k = vq_quantizer_k(&q->base, l);
        status = name_level(name, prefix, l);
        if (!status)
            status = vq_tensors_add(NULL, tensors, name, VQ_DTYPE_U64, 1, &k, q->frequencies[l]);
    }
    return status;
}

vq_status vqi_rate_load(vqi_residual *q, const vq_tensors *tensors, const char *prefix)
{
    const uint64_t *counts[VQ_MAX_LEVELS] = {NULL};
    char name[VQI_NAME_SIZE];
    vq_status status = VQ_OK;
    uint32_t found = 0;
    for (uint32_t l = 0; l < q->base.levels && !status; l++) {
        status = name_level(name, prefix, l);
        found += !status && vq_tensors_find(tensors, name);
    }
    if (status || !found)
        return status;
    for (uint32_t l = 0; l < q->base.levels; l++) {
        status = name_level(name, prefix, l);
        if (status)
            return status;
        const vq_tensor *tensor = vq_tensors_find(tensors, name);
        if (!tensor)
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing", name);
        if (tensor->dtype != VQ_DTYPE_U64 || tensor->ndim != 1 ||
            tensor->shape[0] != vq_quantizer_k(&q->base, l))
            return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is not U64 [%u]", name,
                            vq_quantizer_k(&q->base, l));
        counts[l] = tensor->data;
    }
    status = vq_residual_set_frequencies(&q->base, counts);
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}
