/* SPDX-License-Identifier: Apache-2.0 */
/* What the search makes of a codebook once: panels for the contract kernels, a centred copy for BLAS. */
#include <math.h>
#include <string.h>

#include "vq/codebook_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

static void fill_panels(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    for (size_t c = 0; c < codebook->padded_k; c++) {
        float *panel = codebook->panels + c / VQI_PANEL * VQI_PANEL * d + c % VQI_PANEL;
        for (size_t i = 0; i < d; i++)
            panel[i * VQI_PANEL] = codebook->codewords[c * d + i];
    }
}

/* The mean codeword. Any point would be right (the bound holds for all); near the data is best, as the
 * bound grows with the distance from it. */
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

static void fill_shortlist(vq_codebook *codebook)
{
    const size_t d = codebook->d;
    for (size_t c = 0; c < codebook->padded_k; c++) {
        float *row = codebook->shortlist + c * d;
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            if (codebook->centre)
                row[i] = c < codebook->k ? codebook->codewords[c * d + i] - codebook->centre[i] : 0;
            square += (double)row[i] * row[i];
        }
        codebook->bias[c] = c >= codebook->k   ? INFINITY
                            : codebook->centre ? (float)(square / 2)
                                               : 0;
        if (c < codebook->k)
            codebook->largest_norm = fmax(codebook->largest_norm, sqrt(square));
    }
}

vq_status vqi_codebook_prepare(vq_codebook *codebook)
{
    const int centred = codebook->metric == VQ_METRIC_EUCLIDEAN;
    const size_t count = (size_t)codebook->padded_k * codebook->d; /* fits: codewords has as many */
    codebook->panels = vqi_alloc(count, sizeof(float));
    codebook->bias = vqi_alloc(codebook->padded_k, sizeof(float));
    codebook->centre = centred ? vqi_alloc(codebook->d, sizeof(float)) : NULL;
    codebook->shortlist = centred ? vqi_alloc(count, sizeof(float)) : codebook->codewords;
    if (!codebook->panels || !codebook->bias || !codebook->shortlist ||
        (centred && !codebook->centre))
        return vqi_fail_nomem((unsigned long long)count * sizeof(float));
    fill_panels(codebook);
    if (centred)
        find_centre(codebook);
    fill_shortlist(codebook);
    return VQ_OK;
}
