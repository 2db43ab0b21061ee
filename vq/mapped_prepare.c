/* SPDX-License-Identifier: Apache-2.0 */
/* What the search of a mapped codebook keeps: the basis as the filters read it, and the norms of the codewords. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/mapped_internal.h"
#include "vq/memory_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

enum { PIECE = 64 }; /* codewords that a thread makes at once */

/* An error of codewords, and of rows, that is worth more than a share of the largest codeword leaves many codewords open. */
#define LARGEST_SHARE (1.0 / 64)

static double square_of(const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] * (double)values[i];
    return sum;
}

/* |c - b|^2, in double. */
static double distance(const float *codeword, const float *bias, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++) {
        const double off = (double)codeword[j] - (double)(bias ? bias[j] : 0);
        sum += off * off;
    }
    return sum;
}

/* Make each codeword once, to measure it: largest_norm and largest_element too. @return the first that is not finite, or K. */
static uint32_t measure(vq_codebook *codebook, vqi_ranked *places, float *rooms, int threads)
{
    const vqi_mapped *m = codebook->mapped;
    const size_t k = codebook->k, r = codebook->d, d = m->d, pieces = (k + PIECE - 1) / PIECE;
    uint32_t bad = codebook->k;
    double most = 0;
    float element = 0;
#pragma omp parallel num_threads(threads) reduction(min : bad) reduction(max : most, element)
    {
        float *basis = rooms + (size_t)omp_get_thread_num() * PIECE * (r + d),
              *codewords = basis + PIECE * r;
#pragma omp for schedule(static)
        for (size_t p = 0; p < pieces; p++) {
            const size_t first = p * PIECE, count = k - first < PIECE ? k - first : PIECE;
            vq_simvq_basis(basis, m->seed, (uint32_t)r, (uint32_t)first, count);
            vqi_simvq_rows(codewords, basis, count, m->map, m->bias, (uint32_t)r, (uint32_t)d);
            for (size_t i = 0; i < count * r; i++)
                element = fmaxf(element, fabsf(basis[i]));
            for (size_t j = 0; j < count; j++) {
                const uint32_t code = (uint32_t)(first + j);
                const double square = distance(codewords + j * d, m->bias, d);
                places[code] =
                    (vqi_ranked){square_of(basis + j * r, r), (float)(-square / 2), code};
                most = square > most ? square : most;
                bad = !isfinite(square) && code < bad ? code : bad;
            }
        }
    }
    codebook->largest_norm = sqrt(most);
    codebook->largest_element = element;
    return bad;
}

static vq_status find_places(vq_codebook *codebook)
{
    const vqi_mapped *m = codebook->mapped;
    const size_t k = codebook->k, each = (size_t)codebook->d + m->d;
    const double work = (double)k * codebook->d * m->d;
    const int threads = vqi_threads(0, (size_t)(work / 4e6) + 1);
    vqi_ranked *places = vqi_alloc(k, sizeof *places);
    float *rooms = vqi_alloc((size_t)threads * PIECE, each * sizeof *rooms);
    vq_status status = VQ_OK;
    if (!places || !rooms)
        status = vqi_fail_nomem(k * sizeof *places + (unsigned long long)threads * PIECE * each);
    if (!status) {
        const uint32_t bad = measure(codebook, places, rooms, threads);
        if (bad < k)
            status = vqi_fail(VQ_E_NONFINITE, "codeword %u holds a NaN or an infinity", bad);
    }
    if (!status) {
        vqi_codebook_set_places(codebook, places);
        codebook->filter_norm = sqrt(places[k - 1].square);
    }
    vqi_free(places);
    vqi_free(rooms);
    return status;
}

/* The bounds of the map. @return 0 if they are worth nothing, 2 if they are good, otherwise 1. */
static int find_bounds(vq_codebook *codebook)
{
    vqi_mapped *m = codebook->mapped;
    const double r = codebook->d, d = m->d, depth = (r + 1) * 0x1p-24;
    const double longest = codebook->filter_norm * (1 + 0x1p-20);
    m->map_norm = sqrt(square_of(m->map, (size_t)codebook->d * m->d)) * (1 + 0x1p-20);
    const double bias = m->bias ? sqrt(square_of(m->bias, m->d)) * (1 + 0x1p-20) : 0;
    m->codeword_error = depth / (1 - depth) * (bias + longest * m->map_norm) * (1 + 0x1p-20) +
                        r * sqrt(d) * 0x1p-148;
    if (!(codebook->largest_norm <= VQI_LARGEST_NORM) || r > VQI_MOST_FILTERED ||
        d > VQI_MOST_FILTERED)
        return 0;
    /* A row is at most a codeword away from the nearest, or so; and |y| <= |W| |x'|. */
    const double share = vqi_mapped_error(codebook, 1, m->map_norm);
    return share <= LARGEST_SHARE * codebook->largest_norm ? 2 : 1;
}

static void fill_groups(vq_codebook *codebook)
{
    const size_t groups = codebook->padded_k / VQI_GROUP, r = codebook->d;
    const double work = (double)codebook->padded_k * (double)r;
    const int threads = vqi_threads(0, (size_t)(work / 4e5) + 1);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t g = 0; g < groups; g++)
        vqi_mapped_group(codebook->groups + g * VQI_GROUP * r, codebook, g);
}

static vq_status prepare(vq_codebook *codebook, int good, int *served)
{
    vq_status status = vqi_codebook_make_room(codebook);
    if (!status)
        status = find_places(codebook);
    if (status)
        return status;
    *served = find_bounds(codebook) > good;
    if (!*served)
        return VQ_OK;
    status = vqi_codebook_make_forms(codebook);
    /* What a coarse filter reads is enough: where that tells too little apart, groups are made when they are read. */
    if (status || vqi_nearest_kernels(codebook, VQI_BLOCK).coarse)
        return status;
    status = vqi_codebook_make_groups(codebook);
    if (!status)
        fill_groups(codebook);
    return status;
}

vq_status vqi_mapped_create(vq_codebook **out, const vq_simvq_form *form, const float *map,
                            const float *bias, int good)
{
    *out = NULL;
    vq_codebook *codebook = vqi_calloc(1, sizeof *codebook);
    vqi_mapped *mapped = vqi_calloc(1, sizeof *mapped);
    if (!codebook || !mapped) {
        vqi_free(codebook);
        vqi_free(mapped);
        return vqi_fail_nomem(sizeof *codebook + sizeof *mapped);
    }
    *mapped = (vqi_mapped){.d = form->dim, .seed = form->seed, .map = map, .bias = bias};
    *codebook = (vq_codebook){.k = form->k,
                              .d = form->basis_dim,
                              .metric = VQ_METRIC_EUCLIDEAN,
                              .storage = VQ_DTYPE_F32,
                              .mapped = mapped};
    int served = 0;
    const vq_status status = prepare(codebook, good, &served);
    if (status || !served) {
        vq_codebook_free(codebook);
        return status;
    }
    *out = codebook;
    return VQ_OK;
}
