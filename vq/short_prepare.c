/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "vq/cpu_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/short_internal.h"

void vqi_short_free(vqi_short_codebook *few)
{
    if (!few)
        return;
    vq_free(few->packed);
    vq_free(few->start);
    vq_free(few);
}

static void pack(vqi_short_codebook *few, const vq_codebook *codebook)
{
    const size_t d = codebook->d, pairs = few->pairs;
    double most = 0;
    for (size_t k = 0; k < codebook->k; k++) {
        double error = 0;
        for (size_t j = 0; j < pairs; j++) {
            uint32_t halves[2] = {0, 0};
            for (size_t i = 2 * j; i < d && i < 2 * j + 2; i++) {
                const float value = codebook->codewords[k * d + i] - codebook->centre[i];
                const double steps = few->step > 0 ? nearbyint(value / few->step) : 0;
                const double off = value - steps * few->step;
                error += off * off;
                halves[i - 2 * j] = (uint16_t)(int16_t)steps; /* at most 2^15 - 1: see the step */
            }
            few->packed[k * pairs + j] = (int32_t)(halves[0] | halves[1] << 16);
        }
        most = error > most ? error : most;
    }
    few->error = sqrt(most) * (1 + 0x1p-20);
    for (size_t p = 0; p < codebook->padded_k; p++)
        if (codebook->start[p] > -INFINITY) /* or the place was added */
            few->start[codebook->order[p]] = codebook->start[p];
}

vq_status vqi_short_prepare(vq_codebook *codebook)
{
    if (codebook->d > VQI_SHORT_DIM || !(codebook->largest_norm <= VQI_LARGEST_NORM) ||
        !(vqi_cpu_all_flags() & VQ_CPU_AVX2))
        return VQ_OK;
    vqi_short_codebook *few = vqi_calloc(1, sizeof *few);
    if (!few)
        return vqi_fail_nomem(sizeof *few);
    codebook->few = few;
    few->pairs = (codebook->d + 1) / 2;
    /* Where steps would be denormal there is nothing to tell apart, and all rows are left open. */
    few->step = codebook->largest_norm > 0x1p-60 ? codebook->largest_norm / 32766 : 0;
    const size_t padded = ((size_t)codebook->k + VQI_SHORT_FEW - 1) / VQI_SHORT_FEW * VQI_SHORT_FEW;
    few->packed = vqi_calloc(padded * few->pairs, sizeof *few->packed);
    few->start = vqi_alloc(codebook->k, sizeof *few->start);
    if (!few->packed || !few->start)
        return vqi_fail_nomem((unsigned long long)codebook->k * few->pairs * sizeof *few->packed);
    pack(few, codebook);
    return VQ_OK;
}
