/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short-time objective intelligibility (Taal, Hendriks, Heusdens and Jensen 2011). Where the paper leaves something open (frames
 * at the end, windows, the edges of bands on the grid of the transform) this does what the authors' Matlab does.
 */
#include <math.h>
#include <string.h>

#include "codecs/audio_metrics_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum {
    RATE = 10000,
    WINDOW = 256,
    HOP = WINDOW / 2,
    POINTS = 512,
    BANDS = 15,
    SEGMENT = 30, /* frames */
};

static const double lowest_band = 150, range_db = 40, clip_db = -15;

/* The modified Bessel function of order 0. */
static double bessel_i0(double x)
{
    double term = 1, sum = 1;
    for (int k = 1; term > 1e-17 * sum; k++) {
        term *= x * x / (4.0 * k * k);
        sum += term;
    }
    return sum;
}

/*
 * The filter with which Matlab and Octave resample by up / down: a sinc of 60 dB under a Kaiser window, 2 half + 1 weights
 * whose sum is `up`. The measure is defined by it: another filter shifts it in the third decimal.
 */
static float *filter_of(size_t *half, uint32_t up, uint32_t down)
{
    const double larger = up > down ? up : down, cutoff = 1 / (2 * larger),
                 beta = 0.1102 * (60 - 8.7);
    *half = (size_t)ceil((60 - 8) / (28.714 * cutoff / 10));
    float *filter = vqi_alloc(2 * *half + 1, sizeof *filter);
    double sum = 0;
    for (int pass = 0; pass < 2 && filter; pass++)
        for (size_t i = 0; i <= 2 * *half; i++) {
            const double t = (double)i - (double)*half, r = t / (double)*half;
            const double sinc = t != 0 ? sin(2 * M_PI * cutoff * t) / (M_PI * t) : 2 * cutoff;
            const double weight = sinc * bessel_i0(beta * sqrt(1 - r * r));
            if (pass)
                filter[i] = (float)(weight / sum * up);
            else
                sum += weight;
        }
    return filter;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        const uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* At 10 kHz; owned by the caller. */
static vq_status resample(float **out, size_t *count, const float *x, size_t length, uint32_t rate)
{
    const uint32_t common = common_divisor(RATE, rate), up = RATE / common, down = rate / common;
    if (!up || !down)
        return vqi_fail(VQ_E_ARG, "a rate of %u samples per second", rate);
    size_t half;
    *count = (length / down) * up + (length % down * up + down - 1) / down;
    float *filter = filter_of(&half, up, down), *y = vqi_alloc(*count, sizeof *y);
    if (!filter || !y) {
        vqi_free(filter);
        vqi_free(y);
        return vqi_fail_nomem((unsigned long long)*count * sizeof *y);
    }
    for (size_t m = 0; m < *count; m++) {
        /* Input n stands at n x up of a grid on which this output stands at m x down. */
        const size_t at = m * down, first = at > half ? (at - half + up - 1) / up : 0;
        double sum = 0;
        for (size_t n = first; n < length && n * up <= at + half; n++)
            sum += (double)x[n] * (double)filter[at + half - n * up];
        y[m] = (float)sum;
    }
    vqi_free(filter);
    *out = y;
    return VQ_OK;
}

/* Frames of the reference within 40 dB of its loudest, laid over each other by halves again, of both sounds. @return the samples. */
static size_t drop_silence(float *x, float *y, size_t length, float *energies)
{
    float window[WINDOW], keep_x[WINDOW], keep_y[WINDOW];
    for (int i = 0; i < WINDOW; i++)
        window[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * (i + 1) / (WINDOW + 1)));
    const size_t frames = length > WINDOW ? (length - WINDOW + HOP - 1) / HOP : 0;
    double loudest = -INFINITY;
    for (size_t f = 0; f < frames; f++) {
        double sum = 0;
        for (int i = 0; i < WINDOW; i++) {
            const double v = (double)window[i] * (double)x[f * HOP + (size_t)i];
            sum += v * v;
        }
        const double energy = 20 * log10(sqrt(sum) + 2.2e-16);
        energies[f] = (float)energy;
        loudest = energy > loudest ? energy : loudest;
    }
    /* In place: what is written lies before what is read, but for the frame itself, which is copied first. */
    size_t kept = 0;
    float half_x[HOP] = {0}, half_y[HOP] = {0};
    for (size_t f = 0; f < frames; f++) {
        if (!(loudest - range_db - (double)energies[f] < 0))
            continue;
        memcpy(keep_x, x + f * HOP, sizeof keep_x);
        memcpy(keep_y, y + f * HOP, sizeof keep_y);
        /* Writing frame `kept` may overwrite the begin of frame f + 1 only if no frame was dropped, where it is the same
           place: so the second half waits. */
        for (int i = 0; i < HOP; i++) {
            const size_t to = kept * HOP + (size_t)i;
            x[to] = half_x[i] + window[i] * keep_x[i];
            y[to] = half_y[i] + window[i] * keep_y[i];
            half_x[i] = window[HOP + i] * keep_x[HOP + i];
            half_y[i] = window[HOP + i] * keep_y[HOP + i];
        }
        kept++;
    }
    if (!kept)
        return 0;
    memcpy(x + kept * HOP, half_x, sizeof half_x);
    memcpy(y + kept * HOP, half_y, sizeof half_y);
    return (kept + 1) * HOP;
}

/* The frequency of the transform that is nearest. */
static int bin_of(double hertz)
{
    const int bin = (int)floor(hertz * POINTS / RATE + 0.5);
    return bin < POINTS / 2 ? bin : POINTS / 2;
}

/* Magnitudes of the bands: frames x BANDS. */
static void bands_of(float *out, vqi_spectrum *s, const float *x, size_t frames)
{
    float power[POINTS / 2 + 1] = {0};
    for (size_t f = 0; f < frames; f++) {
        vqi_spectrum_run(power, s, x + f * HOP, WINDOW);
        for (int b = 0; b < BANDS; b++) {
            const int low = bin_of(lowest_band * pow(2, (2 * b - 1) / 6.0)),
                      high = bin_of(lowest_band * pow(2, (2 * b + 1) / 6.0));
            double sum = 0;
            for (int k = low; k < high; k++)
                sum += (double)power[k];
            out[f * BANDS + (size_t)b] = (float)sqrt(sum);
        }
    }
}

/* Correlation of one band over the frames of a segment, the other's clipped so that no single frame weighs too much. */
static double correlate(const float *x, const float *y)
{
    const double tiny = 2.2e-16;
    double xx = 0, yy = 0, clipped[SEGMENT], mean_x = 0, mean_y = 0;
    for (size_t m = 0; m < SEGMENT; m++) {
        const double a = (double)x[m * BANDS], b = (double)y[m * BANDS];
        xx += a * a;
        yy += b * b;
    }
    const double scale = sqrt(xx) / (sqrt(yy) + tiny), most = 1 + pow(10, -clip_db / 20);
    for (size_t m = 0; m < SEGMENT; m++) {
        clipped[m] = fmin((double)y[m * BANDS] * scale, (double)x[m * BANDS] * most);
        mean_x += (double)x[m * BANDS] / SEGMENT;
        mean_y += clipped[m] / SEGMENT;
    }
    double sum_x = 0, sum_y = 0, product = 0;
    for (size_t m = 0; m < SEGMENT; m++) {
        const double a = (double)x[m * BANDS] - mean_x, b = clipped[m] - mean_y;
        sum_x += a * a;
        sum_y += b * b;
        product += a * b;
    }
    return product / ((sqrt(sum_x) + tiny) * (sqrt(sum_y) + tiny));
}

/* Mean correlation over bands and segments of two sounds at 10 kHz, which are overwritten. */
static vq_status measure(double *out, float *x, float *y, size_t length)
{
    *out = NAN;
    float *energies = vqi_alloc(length / HOP + 1, sizeof *energies);
    if (!energies)
        return vqi_fail_nomem((length / HOP + 1) * sizeof *energies);
    length = drop_silence(x, y, length, energies);
    vqi_free(energies);
    const size_t frames = length > WINDOW ? (length - WINDOW + HOP - 1) / HOP : 0;
    if (frames < SEGMENT)
        return VQ_OK;
    vqi_spectrum s;
    float *a = vqi_alloc(frames, 2 * BANDS * sizeof *a);
    if (!a)
        return vqi_fail_nomem((unsigned long long)frames * 2 * BANDS * sizeof *a);
    float *b = a + frames * BANDS;
    const vq_status status = vqi_spectrum_init(&s, WINDOW, POINTS, 1);
    if (!status) {
        bands_of(a, &s, x, frames);
        bands_of(b, &s, y, frames);
        double sum = 0;
        for (size_t f = 0; f + SEGMENT <= frames; f++)
            for (size_t k = 0; k < BANDS; k++)
                sum += correlate(a + f * BANDS + k, b + f * BANDS + k);
        *out = sum / ((double)(frames - SEGMENT + 1) * BANDS);
        vqi_spectrum_clear(&s);
    }
    vqi_free(a);
    return status;
}

vq_status vqi_stoi(double *out, const float *reference, const float *other, size_t length,
                   uint32_t rate)
{
    float *x = NULL, *y = NULL;
    size_t count;
    vq_status status = resample(&x, &count, reference, length, rate);
    if (!status)
        status = resample(&y, &count, other, length, rate);
    if (!status)
        status = measure(out, x, y, count);
    vqi_free(x);
    vqi_free(y);
    return status;
}
