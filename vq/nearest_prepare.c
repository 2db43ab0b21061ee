/* SPDX-License-Identifier: Apache-2.0 */
/* What the search makes of a codebook once: the centred codewords in the order in which the filters read them. */
#include <math.h>

#include "vq/codebook_internal.h"
#include "vq/cpu.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/tensors.h"

/* The mean codeword. Any point would be right (the bounds hold for all); near the data is best, as they
 * grow with the distance from it. */
static void find_centre(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    for (size_t i = 0; i < d; i++) {
        double sum = 0;
        for (size_t c = 0; c < codebook->k; c++)
            sum += codebook->codewords[c * d + i];
        codebook->centre[i] = (float)(sum / codebook->k);
    }
}

static float *element(const vq_codebook *codebook, size_t c, size_t i)
{
    return codebook->groups + (c / VQI_GROUP * codebook->d + i) * VQI_GROUP + c % VQI_GROUP;
}

/* @return the largest magnitude of an element. */
static float fill_groups(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    float most = 0;
    for (size_t c = 0; c < codebook->padded_k; c++) {
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            const float value =
                c < codebook->k ? codebook->codewords[c * d + i] - codebook->centre[i] : 0;
            *element(codebook, c, i) = value;
            square += (double)value * value;
            most = fmaxf(most, fabsf(value));
        }
        codebook->start[c] = c >= codebook->k ? -INFINITY : euclidean ? (float)(-square / 2) : 0;
        if (!(sqrt(square) <= codebook->largest_norm))
            codebook->largest_norm = sqrt(square);
    }
    return most;
}

static vq_status fill_bytes(vq_codebook *codebook, float most)
{
    const size_t d = codebook->d, quads = (d + 3) / 4;
    codebook->bytes = vqi_alloc(codebook->padded_k, quads * 4);
    if (!codebook->bytes)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * quads * 4);
    const float step = most > 0x1p-100f ? most / 127 : 0;
    codebook->byte_step = step;
    for (size_t c = 0; c < codebook->padded_k; c++) {
        uint8_t *out = codebook->bytes + (c / VQI_GROUP * quads * VQI_GROUP + c % VQI_GROUP) * 4;
        double square = 0;
        for (size_t i = 0; i < quads * 4; i++) {
            const float value = i < d ? *element(codebook, c, i) : 0;
            const float steps = step > 0 ? nearbyintf(value / step) : 0;
            const float q = fminf(fmaxf(steps, -127), 127);
            const double error = value - (double)step * q;
            square += error * error;
            out[i / 4 * VQI_GROUP * 4 + i % 4] = (uint8_t)((int)q + 128);
        }
        codebook->byte_error = fmax(codebook->byte_error, sqrt(square));
    }
    return VQ_OK;
}

static vq_status fill_halves(vq_codebook *codebook)
{
    enum { DEPTH = 32, TILE = DEPTH * VQI_LANES };
    const size_t d = codebook->d, steps = (d + DEPTH - 1) / DEPTH;
    codebook->halves = vqi_alloc(codebook->padded_k, steps * DEPTH * sizeof *codebook->halves);
    if (!codebook->halves)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * steps * DEPTH * 2);
    for (size_t c = 0; c < codebook->padded_k; c++) {
        uint16_t *group = codebook->halves + c / VQI_GROUP * steps * 4 * TILE;
        const size_t panel = c % VQI_GROUP / VQI_LANES, lane = c % VQI_LANES;
        double square = 0;
        for (size_t i = 0; i < steps * DEPTH; i++) {
            const float value = i < d ? *element(codebook, c, i) : 0;
            const uint16_t half = vq_f32_to_bf16(value);
            const double error = (double)value - (double)vq_bf16_to_f32(half);
            square += error * error;
            group[((i / DEPTH * 4 + panel) * VQI_LANES + i % DEPTH / 2) * DEPTH + lane * 2 +
                  i % 2] = half;
        }
        codebook->half_error = fmax(codebook->half_error, sqrt(square));
    }
    return VQ_OK;
}

vq_status vqi_codebook_prepare(vq_codebook *codebook)
{
    const size_t count = (size_t)codebook->padded_k * codebook->d; /* fits: codewords has as many */
    codebook->groups = vqi_alloc(count, sizeof(float));
    codebook->start = vqi_alloc(codebook->padded_k, sizeof(float));
    codebook->centre = vqi_calloc(codebook->d, sizeof(float));
    if (!codebook->groups || !codebook->start || !codebook->centre)
        return vqi_fail_nomem((unsigned long long)count * sizeof(float));
    if (codebook->metric == VQ_METRIC_EUCLIDEAN)
        find_centre(codebook);
    const float most = fill_groups(codebook);
    vq_status status = VQ_OK;
    if (!(codebook->largest_norm <= VQI_LARGEST_NORM))
        return VQ_OK; /* no filter will be used */
    if (vq_cpu_flags() & VQ_CPU_VNNI && codebook->d <= VQI_MOST_BYTES)
        status = fill_bytes(codebook, most);
    if (!status && vq_cpu_flags() & VQ_CPU_AMX)
        status = fill_halves(codebook);
    return status;
}
