/* SPDX-License-Identifier: Apache-2.0 */
/* What the search makes of a codebook once: the centred codewords in the order in which the filters read them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Room for a coarse form of `bytes` bytes for each codeword. */
static vq_status make_form(vq_codebook *codebook, vqi_form form, size_t bytes)
{
    vqi_coarse *coarse = &codebook->coarse[form];
    coarse->data = vqi_alloc(codebook->padded_k, bytes);
    coarse->group_error = vqi_calloc(codebook->padded_k / VQI_GROUP, sizeof(float));
    if (!coarse->data || !coarse->group_error)
        return vqi_fail_nomem((unsigned long long)codebook->padded_k * bytes);
    return VQ_OK;
}

/* What a coarse form makes of a codeword. */
typedef struct reading {
    double square, plain, norm; /* sum e^2 w, |e|^2, |c'|^2 as it is read */
} reading;

static void note_element(reading *codeword, const vq_codebook *codebook, size_t i, float value,
                         double read)
{
    const double error = value - read;
    codeword->square += error * error * codebook->weight[i];
    codeword->plain += error * error;
    codeword->norm += read * read;
}

static void note_codeword(vq_codebook *codebook, vqi_form form, size_t p, reading codeword)
{
    vqi_coarse *coarse = &codebook->coarse[form];
    float *error = &coarse->group_error[p / VQI_GROUP];
    *error = fmaxf(*error, (float)(sqrt(codeword.square) * (1 + 0x1p-20)));
    coarse->widest_error = fmaxf(coarse->widest_error, *error);
    coarse->error = fmax(coarse->error, sqrt(codeword.plain) * (1 + 0x1p-20));
    codebook->coarse_norm = fmax(codebook->coarse_norm, sqrt(codeword.norm) * (1 + 0x1p-20));
}

static vq_status fill_integers(vq_codebook *codebook, vqi_form form)
{
    const size_t d = codebook->d, width = form == VQI_BYTES ? 1 : 2, share = 4 / width;
    const size_t lanes = (d + share - 1) / share; /* of 32 bits, which hold `share` elements */
    const vq_status status = make_form(codebook, form, lanes * 4);
    if (status)
        return status;
    float most = 0;
    for (size_t i = 0; i < codebook->padded_k * d; i++)
        most = fmaxf(most, fabsf(codebook->groups[i]));
    /* Sums of products of words have 32 bits: no codeword may be longer than 32766. */
    const float range = width == 1 ? 127 : 32766,
                longest = width == 1 ? most : (float)(codebook->filter_norm * (1 + 0x1p-20));
    const float step = most > 0x1p-100f ? longest / range : 0, steps = step > 0 ? 1 / step : 0;
    codebook->coarse[form].step = step;
    for (size_t p = 0; p < codebook->padded_k; p++) {
        uint8_t *out = (uint8_t *)codebook->coarse[form].data +
                       (p / VQI_GROUP * lanes * VQI_GROUP + p % VQI_GROUP) * 4;
        reading codeword = {0};
        for (size_t i = 0; i < lanes * share; i++) {
            const float value = i < d ? *element(codebook, p, i) : 0;
            /* To the nearest whole number: at this size float32 has no other. */
            const float rounded = value * steps + 0x1.8p23f - 0x1.8p23f;
            const float q = rounded > range ? range : rounded < -range ? -range : rounded;
            if (i < d)
                note_element(&codeword, codebook, i, value, (double)step * q);
            uint8_t *at = out + (i / share * VQI_GROUP * share + i % share) * width;
            const int word = (int)q;
            if (width == 1)
                *at = (uint8_t)(word + 128);
            else
                memcpy(at, &(int16_t){(int16_t)word}, sizeof(int16_t));
        }
        note_codeword(codebook, form, p, codeword);
    }
    return VQ_OK;
}

static vq_status fill_halves(vq_codebook *codebook)
{
    enum { DEPTH = 32, TILE = DEPTH * VQI_LANES };
    const size_t d = codebook->d, steps = (d + DEPTH - 1) / DEPTH;
    const vq_status status = make_form(codebook, VQI_HALVES, steps * DEPTH * sizeof(uint16_t));
    if (status)
        return status;
    for (size_t p = 0; p < codebook->padded_k; p++) {
        uint16_t *group =
            (uint16_t *)codebook->coarse[VQI_HALVES].data + p / VQI_GROUP * steps * 4 * TILE;
        const size_t panel = p % VQI_GROUP / VQI_LANES, lane = p % VQI_LANES;
        reading codeword = {0};
        for (size_t i = 0; i < steps * DEPTH; i++) {
            const float value = i < d ? *element(codebook, p, i) : 0;
            const uint16_t half = vq_f32_to_bf16(value);
            if (i < d)
                note_element(&codeword, codebook, i, value, vq_bf16_to_f32(half));
            group[((i / DEPTH * 4 + panel) * VQI_LANES + i % DEPTH / 2) * DEPTH + lane * 2 +
                  i % 2] = half;
        }
        note_codeword(codebook, VQI_HALVES, p, codeword);
    }
    return VQ_OK;
}

vq_status vqi_codebook_make_room(vq_codebook *codebook)
{
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
    return VQ_OK;
}

vq_status vqi_codebook_prepare(vq_codebook *codebook)
{
    vq_status status = vqi_codebook_make_room(codebook);
    if (!status && codebook->metric == VQ_METRIC_EUCLIDEAN)
        status = find_centre(codebook);
    if (!status)
        status = find_places(codebook);
    if (status)
        return status;
    fill_groups(codebook);
    status = vqi_short_prepare(codebook);
    return status ? status : vqi_codebook_fill_forms(codebook);
}

vq_status vqi_codebook_fill_forms(vq_codebook *codebook)
{
    const uint32_t flags = vqi_cpu_all_flags();
    if (!(codebook->largest_norm <= VQI_LARGEST_NORM) || !(flags & (VQ_CPU_AVX2 | VQ_CPU_AMX)))
        return VQ_OK;
    vq_status status = find_weights(codebook);
    if (!status && flags & VQ_CPU_VNNI && codebook->d <= VQI_MOST_INTEGER)
        status = fill_integers(codebook, VQI_BYTES);
    if (!status && flags & VQ_CPU_AVX2 && codebook->d <= VQI_MOST_INTEGER)
        status = fill_integers(codebook, VQI_WORDS);
    if (!status && flags & VQ_CPU_AMX)
        status = fill_halves(codebook);
    return status;
}
