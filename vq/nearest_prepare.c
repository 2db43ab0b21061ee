/* SPDX-License-Identifier: Apache-2.0 */
/* What the search makes of a codebook once: the centred codewords in the order in which the filters read them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/nearest_internal.h"
#include "vq/short_internal.h"

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

static int by_norm(const void *left, const void *right)
{
    const vqi_ranked *a = left, *b = right;
    if (a->square != b->square)
        return a->square < b->square ? -1 : 1;
    return a->code < b->code ? -1 : a->code > b->code;
}

void vqi_codebook_set_places(vq_codebook *codebook, vqi_ranked *places)
{
    const size_t k = codebook->k, groups = codebook->padded_k / VQI_GROUP;
    qsort(places, k, sizeof *places, by_norm);
    for (size_t g = 0, at = 0; g < groups; g++) {
        for (size_t j = 0; j < VQI_GROUP; j++) {
            const size_t from = g * VQI_GROUP + j, p = at * VQI_GROUP + j;
            codebook->order[p] = from < k ? places[from].code : 0;
            codebook->start[p] = from < k ? places[from].start : -INFINITY;
        }
        const size_t last = (g + 1) * VQI_GROUP < k ? (g + 1) * VQI_GROUP - 1 : k - 1;
        codebook->group_norm[at] = (float)(sqrt(places[last].square) * (1 + 0x1p-20));
        /* Every chunk gets groups of all norms, so that the best so far is good after the first. */
        at += groups / VQI_CHUNK + 1;
        if (at >= groups)
            at = at % (groups / VQI_CHUNK + 1) + 1;
    }
}

/* Give the codewords their places, and fill in `start` and the largest norm. */
static vq_status find_places(vq_codebook *codebook)
{
    const size_t k = codebook->k, d = codebook->d;
    const int euclidean = codebook->metric == VQ_METRIC_EUCLIDEAN;
    vqi_ranked *places = vqi_alloc(k, sizeof *places);
    if (!places)
        return vqi_fail_nomem(k * sizeof *places);
    for (size_t c = 0; c < k; c++) {
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            const float value = codebook->codewords[c * d + i] - codebook->centre[i];
            square += (double)value * value;
        }
        places[c] = (vqi_ranked){square, euclidean ? (float)(-square / 2) : 0, (uint32_t)c};
    }
    vqi_codebook_set_places(codebook, places);
    codebook->largest_norm = codebook->filter_norm = sqrt(places[k - 1].square);
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

vq_status vqi_codebook_make_room(vq_codebook *codebook)
{
    codebook->padded_k = (codebook->k + VQI_GROUP - 1) / VQI_GROUP * VQI_GROUP;
    codebook->order = vqi_alloc(codebook->padded_k, sizeof *codebook->order);
    codebook->start = vqi_alloc(codebook->padded_k, sizeof(float));
    codebook->centre = vqi_calloc(codebook->d, sizeof(float));
    codebook->group_norm = vqi_calloc(codebook->padded_k / VQI_GROUP, sizeof(float));
    if (!codebook->order || !codebook->start || !codebook->centre || !codebook->group_norm)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * 2 * sizeof(float));
    return VQ_OK;
}

vq_status vqi_codebook_make_groups(vq_codebook *codebook)
{
    size_t count;
    codebook->groups =
        vqi_mul(&count, codebook->padded_k, codebook->d) ? vqi_alloc(count, sizeof(float)) : NULL;
    return codebook->groups ? VQ_OK
                            : vqi_fail_nomem((unsigned long long)codebook->padded_k * codebook->d *
                                             sizeof(float));
}

vq_status vqi_codebook_prepare(vq_codebook *codebook)
{
    vq_status status = vqi_codebook_make_room(codebook);
    if (!status)
        status = vqi_codebook_make_groups(codebook);
    if (!status && codebook->metric == VQ_METRIC_EUCLIDEAN)
        status = find_centre(codebook);
    if (!status)
        status = find_places(codebook);
    if (status)
        return status;
    fill_groups(codebook);
    status = vqi_short_prepare(codebook);
    return status ? status : vqi_codebook_make_forms(codebook);
}
