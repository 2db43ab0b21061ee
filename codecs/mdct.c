/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/mdct_internal.h"

#include <math.h>
#include <string.h>

#include "codecs/elementary_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vqi_mdct_create(vqi_mdct *out, uint32_t n, const float *window)
{
    memset(out, 0, sizeof *out);
    if (!n || n % 4 || n > VQI_MDCT_MAX)
        return vqi_fail(VQ_E_ARG, "a transform of %u coefficients (a multiple of 4, up to %d)", n,
                        VQI_MDCT_MAX);
    out->n = n;
    out->window = vqi_alloc(n, 2 * sizeof *out->window);
    out->twiddle = vqi_alloc(n, sizeof *out->twiddle);
    if (!out->window || !out->twiddle)
        return vqi_fail_nomem(3ull * n * sizeof(float));
    memcpy(out->window, window, 2 * (size_t)n * sizeof *window);
    const double scale = sqrt(sqrt(2.0 / n));
    for (uint32_t j = 0; j < n / 2; j++) {
        const double angle = (j + 0.125) / n; /* of pi, below 1/2 */
        out->twiddle[2 * j] = (float)(scale * vqi_sin_pi(0.5 - angle));
        out->twiddle[2 * j + 1] = (float)(scale * vqi_sin_pi(angle));
    }
    return vqi_fourier_create(&out->fourier, n / 2);
}

void vqi_mdct_clear(vqi_mdct *mdct)
{
    vqi_fourier_free(mdct->fourier);
    vq_free(mdct->window);
    vq_free(mdct->twiddle);
    memset(mdct, 0, sizeof *mdct);
}

/* The type-IV cosine transform, orthonormal, its own inverse. `scratch`: 2 N floats. */
static void dct4(float *out, const vqi_mdct *mdct, const float *in, float *scratch)
{
    const uint32_t n = mdct->n;
    const float *t = mdct->twiddle;
    float *z = scratch, *y = scratch + n;
    for (uint32_t j = 0; j < n / 2; j++) {
        const float re = in[2 * j], im = in[n - 1 - 2 * j], c = t[2 * j], s = t[2 * j + 1];
        z[2 * j] = re * c + im * s;
        z[2 * j + 1] = im * c - re * s;
    }
    vqi_fourier_run(mdct->fourier, y, z);
    for (uint32_t k = 0; k < n / 2; k++) {
        const float re = y[2 * k], im = y[2 * k + 1], c = t[2 * k], s = t[2 * k + 1];
        out[2 * k] = re * c + im * s;
        out[n - 1 - 2 * k] = re * s - im * c;
    }
}

void vqi_mdct_forward(float *coefficients, const vqi_mdct *mdct, const float *x, float *scratch)
{
    const uint32_t n = mdct->n, h = n / 2;
    const float *w = mdct->window;
    float *folded = scratch + 2 * (size_t)n;
    for (uint32_t j = 0; j < h; j++) {
        const uint32_t c = 3 * h - 1 - j, d = 3 * h + j, b = n - 1 - j;
        folded[j] = -(x[c] * w[c]) - x[d] * w[d];
        folded[h + j] = x[j] * w[j] - x[b] * w[b];
    }
    dct4(coefficients, mdct, folded, scratch);
}

void vqi_mdct_inverse_add(float *x, const vqi_mdct *mdct, const float *coefficients, float *scratch)
{
    const uint32_t n = mdct->n, h = n / 2;
    const float *w = mdct->window;
    float *folded = scratch + 2 * (size_t)n;
    dct4(folded, mdct, coefficients, scratch);
    for (uint32_t j = 0; j < h; j++) {
        const uint32_t c = 3 * h - 1 - j, d = 3 * h + j, b = n - 1 - j;
        x[j] += folded[h + j] * w[j];
        x[b] -= folded[h + j] * w[b];
        x[c] -= folded[j] * w[c];
        x[d] -= folded[j] * w[d];
    }
}
