/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of codes. Quantizers without a codebook have so many codes that only those that occur can be counted. */
#include "vq/code_counts_internal.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { FIRST_SLOTS = 1024 };

vq_status vqi_code_counts_init(vqi_code_counts *counts, uint32_t k)
{
    *counts = (vqi_code_counts){.k = k};
    if (k > VQI_DENSE_CODES)
        return VQ_OK;
    counts->dense = vqi_calloc(k, sizeof *counts->dense);
    return counts->dense ? VQ_OK : vqi_fail_nomem((unsigned long long)k * sizeof *counts->dense);
}

void vqi_code_counts_clear(vqi_code_counts *counts)
{
    vq_free(counts->dense);
    vq_free(counts->code);
    vq_free(counts->count);
    *counts = (vqi_code_counts){0};
}

/* The slot of a code, or the free one where it belongs. Fibonacci hashing; a full slot sends to the next. */
static size_t find(const vqi_code_counts *counts, uint32_t code)
{
    size_t slot = (size_t)(code * 0x9e3779b97f4a7c15u >> 20) & (counts->slots - 1);
    while (counts->count[slot] && counts->code[slot] != code)
        slot = (slot + 1) & (counts->slots - 1);
    return slot;
}

vq_status vqi_code_counts_reserve(vqi_code_counts *counts, size_t more)
{
    if (counts->dense)
        return VQ_OK;
    /* Of k codes no more than k can occur. */
    size_t most = more > counts->k - counts->used ? counts->k : counts->used + more;
    size_t slots = counts->slots ? counts->slots : FIRST_SLOTS;
    while (slots / 2 < most)
        slots *= 2;
    if (slots == counts->slots)
        return VQ_OK;
    vqi_code_counts larger = {.k = counts->k, .slots = slots, .used = counts->used};
    larger.code = vqi_alloc(slots, sizeof *larger.code);
    larger.count = vqi_calloc(slots, sizeof *larger.count);
    if (!larger.code || !larger.count) {
        vqi_code_counts_clear(&larger);
        return vqi_fail_nomem((unsigned long long)slots * sizeof *larger.count);
    }
    for (size_t i = 0; i < counts->slots; i++)
        if (counts->count[i]) {
            const size_t slot = find(&larger, counts->code[i]);
            larger.code[slot] = counts->code[i];
            larger.count[slot] = counts->count[i];
        }
    vqi_code_counts_clear(counts);
    *counts = larger;
    return VQ_OK;
}

void vqi_code_counts_add(vqi_code_counts *counts, uint32_t code)
{
    if (counts->dense) {
        counts->dense[code]++;
        return;
    }
    const size_t slot = find(counts, code);
    counts->used += !counts->count[slot];
    counts->code[slot] = code;
    counts->count[slot]++;
}

uint64_t vqi_code_counts_next(const vqi_code_counts *counts, size_t *i)
{
    const uint64_t *all = counts->dense ? counts->dense : counts->count;
    const size_t end = counts->dense ? counts->k : counts->slots;
    while (*i < end)
        if (all[(*i)++])
            return all[*i - 1];
    return 0;
}
