/* SPDX-License-Identifier: Apache-2.0 */
/* What the search makes of a codebook once: the centred codewords in the order in which the filters read them. */
#include <math.h>
#include <stdlib.h>

#include "vq/cpu_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/short_internal.h"
#include "vq/tensors.h"

/* The mean codeword. Any point would be right (the bounds hold for all); near the data is best, as they
 * grow with the distance from it. */
static vq_status find_centre(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    double *sum = vqi_calloc(d, sizeof *sum);
    if (!sum)
        return vqi_fail_nomem(d * sizeof *sum);
    for (size_t c = 0; c < codebook->k; c++)
        for (size_t i = 0; i < d; i++)
            sum[i] += codebook->codewords[c * d + i];
    for (size_t i = 0; i < d; i++)
        codebook->centre[i] = (float)(sum[i] / codebook->k);
    vq_free(sum);
    return VQ_OK;
}

typedef struct place {
    double square; /* |c'|^2 */
    uint32_t code;
} place;

static int by_norm(const void *left, const void *right)
{
    const place *a = left, *b = right;
    if (a->square != b->square)
        return a->square < b->square ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

/* Give the codewords their places, and fill in `start` and the largest norm. */
static vq_status find_places(vq_codebook *codebook)
{
    const size_t k = codebook->k, d = codebook->d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    place *places = vqi_alloc(k, sizeof *places);
    if (!places)
        return vqi_fail_nomem(k * sizeof *places);
    for (size_t c = 0; c < k; c++) {
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            const float value = codebook->codewords[c * d + i] - codebook->centre[i];
            square += (double)value * value;
        }
        places[c] = (place){square, (uint32_t)c};
    }
    qsort(places, k, sizeof *places, by_norm);
    codebook->largest_norm = sqrt(places[k - 1].square);
    const size_t groups = codebook->padded_k / VQI_GROUP;
    for (size_t g = 0, at = 0; g < groups; g++) {
        for (size_t j = 0; j < VQI_GROUP; j++) {
            const size_t from = g * VQI_GROUP + j, p = at * VQI_GROUP + j;
            codebook->order[p] = from < k ? places[from].code : 0;
            codebook->start[p] = from >= k   ? -INFINITY
                                 : euclidean ? (float)(-places[from].square / 2)
                                             : 0;
        }
        /* Every chunk gets groups of all norms, so that the best so far is good after the first. */
        at += groups / VQI_CHUNK + 1;
        if (at >= groups)
            at = at % (groups / VQI_CHUNK + 1) + 1;
    }
    vq_free(places);
    return VQ_OK;
}

static float *element(const vq_codebook *codebook, size_t p, size_t i)
{
    return codebook->groups + (p / VQI_GROUP * codebook->d + i) * VQI_GROUP + p % VQI_GROUP;
}

static void fill_groups(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    for (size_t p = 0; p < codebook->padded_k; p++) {
        const float *codeword = codebook->codewords + codebook->order[p] * d;
        const int exists = codebook->start[p] > -INFINITY; /* or it was added */
        for (size_t i = 0; i < d; i++)
            *element(codebook, p, i) = exists ? codeword[i] - codebook->centre[i] : 0;
    }
}

/* The weight of a dimension is its root mean square, in units of the largest, and not below 1/1024. */
static vq_status find_weights(vq_codebook *codebook)
{
    const size_t d = codebook->d, groups = codebook->padded_k / VQI_GROUP;
    codebook->weight = vqi_alloc(d, sizeof(float));
    codebook->inverse_weight = vqi_alloc(d, sizeof(float));
    if (!codebook->weight || !codebook->inverse_weight)
        return vqi_fail_nomem(2 * d * sizeof(float));
    double most = 0;
    for (size_t i = 0; i < d; i++) {
        double square = 0;
        for (size_t g = 0; g < groups; g++)
            for (size_t j = 0; j < VQI_GROUP; j++) {
                const double value = codebook->groups[(g * d + i) * VQI_GROUP + j];
                square += value * value;
            }
        codebook->weight[i] = (float)sqrt(square);
        most = fmax(most, sqrt(square));
    }
    for (size_t i = 0; i < d; i++) {
        const double share = most > 0 ? codebook->weight[i] / most : 1;
        codebook->weight[i] = (float)fmin(fmax(share, 0x1p-10), 1);
        codebook->inverse_weight[i] = 1 / codebook->weight[i];
    }
    for (size_t p = 0; p < codebook->padded_k; p++) {
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            const double value = *element(codebook, p, i);
            square += value * value * codebook->inverse_weight[i];
        }
        float *norm = &codebook->group_norm[p / VQI_GROUP];
        *norm = fmaxf(*norm, (float)(sqrt(square) * (1 + 0x1p-20)));
        codebook->widest_norm = fmaxf(codebook->widest_norm, *norm);
    }
    return VQ_OK;
}

/* Take up that the coarse form of the codeword at place p is off by `square` = sum e^2 w, and has norm `norm`. */
static void note_error(vq_codebook *codebook, float *group_error, float *widest, size_t p,
                       double square, double norm)
{
    float *error = &group_error[p / VQI_GROUP];
    *error = fmaxf(*error, (float)(sqrt(square) * (1 + 0x1p-20)));
    *widest = fmaxf(*widest, *error);
    codebook->coarse_norm = fmax(codebook->coarse_norm, norm * (1 + 0x1p-20));
}

static vq_status fill_bytes(vq_codebook *codebook)
{
    const size_t d = codebook->d, quads = (d + 3) / 4;
    codebook->bytes = vqi_alloc(codebook->padded_k, quads * 4);
    codebook->group_byte_error = vqi_calloc(codebook->padded_k / VQI_GROUP, sizeof(float));
    if (!codebook->bytes || !codebook->group_byte_error)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * quads * 4);
    float most = 0;
    for (size_t i = 0; i < codebook->padded_k * d; i++)
        most = fmaxf(most, fabsf(codebook->groups[i]));
    const float step = most > 0x1p-100f ? most / 127 : 0, steps = step > 0 ? 1 / step : 0;
    codebook->byte_step = step;
    for (size_t p = 0; p < codebook->padded_k; p++) {
        uint8_t *out = codebook->bytes + (p / VQI_GROUP * quads * VQI_GROUP + p % VQI_GROUP) * 4;
        double square = 0, norm = 0;
        for (size_t i = 0; i < quads * 4; i++) {
            const float value = i < d ? *element(codebook, p, i) : 0;
            /* To the nearest whole number: at this size float32 has no other. */
            const float rounded = value * steps + 0x1.8p23f - 0x1.8p23f;
            const float q = rounded > 127 ? 127 : rounded < -127 ? -127 : rounded;
            const double read = (double)step * q, error = value - read;
            square += i < d ? error * error * codebook->weight[i] : 0;
            norm += read * read;
            out[i / 4 * VQI_GROUP * 4 + i % 4] = (uint8_t)((int)q + 128);
        }
        note_error(codebook, codebook->group_byte_error, &codebook->widest_byte_error, p, square,
                   sqrt(norm));
    }
    return VQ_OK;
}

static vq_status fill_halves(vq_codebook *codebook)
{
    enum { DEPTH = 32, TILE = DEPTH * VQI_LANES };
    const size_t d = codebook->d, steps = (d + DEPTH - 1) / DEPTH;
    codebook->halves = vqi_alloc(codebook->padded_k, steps * DEPTH * sizeof *codebook->halves);
    codebook->group_half_error = vqi_calloc(codebook->padded_k / VQI_GROUP, sizeof(float));
    if (!codebook->halves || !codebook->group_half_error)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * steps * DEPTH * 2);
    for (size_t p = 0; p < codebook->padded_k; p++) {
        uint16_t *group = codebook->halves + p / VQI_GROUP * steps * 4 * TILE;
        const size_t panel = p % VQI_GROUP / VQI_LANES, lane = p % VQI_LANES;
        double square = 0, norm = 0;
        for (size_t i = 0; i < steps * DEPTH; i++) {
            const float value = i < d ? *element(codebook, p, i) : 0;
            const uint16_t half = vq_f32_to_bf16(value);
            const double read = vq_bf16_to_f32(half), error = value - read;
            square += i < d ? error * error * codebook->weight[i] : 0;
            norm += read * read;
            group[((i / DEPTH * 4 + panel) * VQI_LANES + i % DEPTH / 2) * DEPTH + lane * 2 +
                  i % 2] = half;
        }
        note_error(codebook, codebook->group_half_error, &codebook->widest_half_error, p, square,
                   sqrt(norm));
    }
    return VQ_OK;
}

vq_status vqi_codebook_prepare(vq_codebook *codebook)
{
    const uint32_t flags = vqi_cpu_all_flags();
    codebook->padded_k = (codebook->k + VQI_GROUP - 1) / VQI_GROUP * VQI_GROUP;
    size_t count;
    codebook->groups =
        vqi_mul(&count, codebook->padded_k, codebook->d) ? vqi_alloc(count, sizeof(float)) : NULL;
    codebook->order = vqi_alloc(codebook->padded_k, sizeof *codebook->order);
    codebook->start = vqi_alloc(codebook->padded_k, sizeof(float));
    codebook->centre = vqi_calloc(codebook->d, sizeof(float));
    codebook->group_norm = vqi_calloc(codebook->padded_k / VQI_GROUP, sizeof(float));
    if (!codebook->groups || !codebook->order || !codebook->start || !codebook->centre ||
        !codebook->group_norm)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * codebook->d * sizeof(float));
    vq_status status = VQ_OK;
    if (codebook->metric == VQ_METRIC_EUCLIDEAN)
        status = find_centre(codebook);
    if (!status)
        status = find_places(codebook);
    if (status)
        return status;
    fill_groups(codebook);
    status = vqi_short_prepare(codebook);
    if (status)
        return status;
    if (!(codebook->largest_norm <= VQI_LARGEST_NORM) || !(flags & (VQ_CPU_VNNI | VQ_CPU_AMX)))
        return VQ_OK;
    status = find_weights(codebook);
    if (!status && flags & VQ_CPU_VNNI && codebook->d <= VQI_MOST_BYTES)
        status = fill_bytes(codebook);
    if (!status && flags & VQ_CPU_AMX)
        status = fill_halves(codebook);
    return status;
}
