/* SPDX-License-Identifier: Apache-2.0 */
/* The Fourier transform by FFTW 3, single precision (Frigo and Johnson 2005). */
#include <fftw3.h>
#include <pthread.h>

#include "codecs/fourier_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* ESTIMATE: nothing is timed. UNALIGNED: no vector code, and any addresses at run time. A test takes other flags. */
#ifndef VQI_FFTW_FLAGS
#define VQI_FFTW_FLAGS (FFTW_ESTIMATE | FFTW_UNALIGNED | FFTW_DESTROY_INPUT)
#endif

enum { MAX_POINTS = 1 << 20 };

struct vqi_fourier {
    fftwf_plan plan;
};

/* FFTW's planner is the one part of it that keeps state of the process. */
static pthread_mutex_t plan_lock = PTHREAD_MUTEX_INITIALIZER;

vq_status vqi_fourier_create(vqi_fourier **out, uint32_t n)
{
    if (!n || n > MAX_POINTS)
        return vqi_fail(VQ_E_ARG, "a Fourier transform of %u points (1 to %d)", n, MAX_POINTS);
    vqi_fourier *plan = vqi_calloc(1, sizeof *plan);
    fftwf_complex *in = vqi_alloc(n, sizeof *in), *result = vqi_alloc(n, sizeof *result);
    if (plan && in && result) {
        pthread_mutex_lock(&plan_lock);
        plan->plan = fftwf_plan_dft_1d((int)n, in, result, FFTW_FORWARD, VQI_FFTW_FLAGS);
        pthread_mutex_unlock(&plan_lock);
    }
    vq_free(in);
    vq_free(result);
    if (!plan || !plan->plan) {
        vq_free(plan);
        return vqi_fail_nomem(2ull * n * sizeof *in);
    }
    *out = plan;
    return VQ_OK;
}

void vqi_fourier_free(vqi_fourier *plan)
{
    if (!plan)
        return;
    pthread_mutex_lock(&plan_lock);
    fftwf_destroy_plan(plan->plan);
    pthread_mutex_unlock(&plan_lock);
    vq_free(plan);
}

void vqi_fourier_run(const vqi_fourier *plan, float *out, float *in)
{
    fftwf_execute_dft(plan->plan, (fftwf_complex *)in, (fftwf_complex *)out);
}
