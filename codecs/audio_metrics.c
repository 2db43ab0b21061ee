/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/audio_metrics.h"

#include <math.h>
#include <string.h>

#include "codecs/audio_metrics_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum {
    LSD_WINDOW = 2048,
    LSD_HOP = 512,
    LSD_BINS = LSD_WINDOW / 2 + 1,
    MELS = 64,
    MOST_RATE = 768000
};

static const double floor_db = -100;  /* of a sine at full scale */
static const double least_mel = 1e-5; /* the same as a magnitude */

vq_status vqi_spectrum_init(vqi_spectrum *s, uint32_t window, uint32_t points, int symmetric)
{
    memset(s, 0, sizeof *s);
    s->window = window;
    s->points = points;
    const vq_status status = vqi_fourier_create(&s->fourier, points);
    if (status)
        return status;
    s->weights = vqi_alloc(window, sizeof *s->weights);
    s->in = vqi_alloc(points, 2 * sizeof *s->in);
    s->out = vqi_alloc(points, 2 * sizeof *s->out);
    if (!s->weights || !s->in || !s->out) {
        vqi_spectrum_clear(s);
        return vqi_fail_nomem(points * 2 * sizeof *s->in);
    }
    for (uint32_t i = 0; i < window; i++)
        s->weights[i] =
            (float)(0.5 - 0.5 * cos(2 * M_PI *
                                    (symmetric ? (i + 1.0) / (window + 1.0) : (double)i / window)));
    return VQ_OK;
}

void vqi_spectrum_clear(vqi_spectrum *s)
{
    vqi_fourier_free(s->fourier);
    vqi_free(s->weights);
    vqi_free(s->in);
    vqi_free(s->out);
    memset(s, 0, sizeof *s);
}

void vqi_spectrum_run(float *power, vqi_spectrum *s, const float *samples, size_t count)
{
    memset(s->in, 0, 2 * sizeof *s->in * s->points);
    for (size_t i = 0; i < count && i < s->window; i++)
        s->in[2 * i] = samples[i] * s->weights[i];
    vqi_fourier_run(s->fourier, s->out, s->in);
    for (uint32_t k = 0; k <= s->points / 2; k++)
        power[k] = s->out[2 * k] * s->out[2 * k] + s->out[2 * k + 1] * s->out[2 * k + 1];
}

/* The |X|^2 of a sine at full scale: a Hann window's weights sum to half its length, and half of them go to each of the two
   frequencies. */
static double full_scale(uint32_t window)
{
    return 0.0625 * window * window;
}

static double decibels(float power, uint32_t window)
{
    const double db = 10 * log10((double)power / full_scale(window) + 1e-30);
    return db > floor_db ? db : floor_db;
}

static double si_sdr(const float *x, const float *y, size_t length)
{
    double xx = 0, xy = 0, yy = 0;
    for (size_t i = 0; i < length; i++) {
        xx += (double)x[i] * (double)x[i];
        xy += (double)x[i] * (double)y[i];
        yy += (double)y[i] * (double)y[i];
    }
    if (!(xx > 0) || !(yy > 0))
        return NAN;
    const double scale = xy / xx;
    double noise = 0;
    for (size_t i = 0; i < length; i++) {
        const double e = (double)y[i] - scale * (double)x[i];
        noise += e * e;
    }
    return 10 * log10(scale * scale * xx / noise);
}

/* Pieces of `window` every `hop`, at least one: the last is filled with zeros. */
static size_t frames_of(size_t length, uint32_t window, uint32_t hop)
{
    return length <= window ? 1 : 1 + (length - window) / hop;
}

static vq_status log_spectral(double *out, const float *x, const float *y, size_t length)
{
    vqi_spectrum s;
    const vq_status status = vqi_spectrum_init(&s, LSD_WINDOW, LSD_WINDOW, 0);
    if (status)
        return status;
    float a[LSD_BINS] = {0}, b[LSD_BINS] = {0};
    const size_t frames = frames_of(length, LSD_WINDOW, LSD_HOP);
    double sum = 0;
    for (size_t f = 0; f < frames; f++) {
        const size_t at = f * LSD_HOP;
        double squares = 0;
        vqi_spectrum_run(a, &s, x + at, length - at);
        vqi_spectrum_run(b, &s, y + at, length - at);
        for (int k = 0; k < LSD_BINS; k++) {
            const double d = decibels(a[k], LSD_WINDOW) - decibels(b[k], LSD_WINDOW);
            squares += d * d;
        }
        sum += sqrt(squares / LSD_BINS);
    }
    *out = sum / (double)frames;
    vqi_spectrum_clear(&s);
    return VQ_OK;
}

static double mel_of(double hertz)
{
    return 2595 * log10(1 + hertz / 700);
}

static double hertz_of(double mel)
{
    return 700 * (pow(10, mel / 2595) - 1);
}

/* Weight of a frequency in band b: triangles that reach from the middle of the one to the middle of the next. */
static double mel_weight(int band, double hertz, double rate)
{
    const double step = mel_of(rate / 2) / (MELS + 1);
    const double low = hertz_of(band * step), middle = hertz_of((band + 1) * step),
                 high = hertz_of((band + 2) * step);
    if (hertz <= low || hertz >= high)
        return 0;
    return hertz < middle ? (hertz - low) / (middle - low) : (high - hertz) / (high - middle);
}

/* Logarithms of the magnitudes of the bands, a sine at full scale being 1. */
static void log_mels(double *logs, const float *power, const float *weights, uint32_t points)
{
    const uint32_t bins = points / 2 + 1;
    const double scale = 1 / sqrt(full_scale(points));
    for (int b = 0; b < MELS; b++) {
        double sum = 0;
        for (uint32_t k = 0; k < bins; k++)
            if (weights[(size_t)b * bins + k] > 0)
                sum += (double)weights[(size_t)b * bins + k] * sqrt((double)power[k]);
        logs[b] = log(sum * scale > least_mel ? sum * scale : least_mel);
    }
}

static vq_status mel_distance(double *out, const float *x, const float *y, size_t length,
                              double rate, uint32_t window)
{
    vqi_spectrum s;
    const uint32_t bins = window / 2 + 1, hop = window / 4;
    float *weights = vqi_calloc((size_t)MELS * bins + bins, sizeof *weights);
    if (!weights)
        return vqi_fail_nomem(((size_t)MELS * bins + bins) * sizeof *weights);
    float *power = weights + (size_t)MELS * bins;
    const vq_status status = vqi_spectrum_init(&s, window, window, 0);
    if (status) {
        vqi_free(weights);
        return status;
    }
    int resolved = 0; /* bands with a frequency of the transform in them: the others say nothing */
    for (int b = 0; b < MELS; b++) {
        double any = 0;
        for (uint32_t k = 0; k < bins; k++)
            any += weights[(size_t)b * bins + k] = (float)mel_weight(b, k * rate / window, rate);
        resolved += any > 0;
    }
    const size_t frames = frames_of(length, window, hop);
    double sum = 0, a[MELS], b[MELS];
    for (size_t f = 0; f < frames; f++) {
        vqi_spectrum_run(power, &s, x + f * hop, length - f * hop);
        log_mels(a, power, weights, window);
        vqi_spectrum_run(power, &s, y + f * hop, length - f * hop);
        log_mels(b, power, weights, window);
        for (int k = 0; k < MELS; k++)
            sum += fabs(a[k] - b[k]);
    }
    *out = sum / ((double)frames * resolved);
    vqi_spectrum_clear(&s);
    vqi_free(weights);
    return VQ_OK;
}

/* The mean of the channels. @return 0 if a sample is not finite. */
static int mix(float *out, const vq_signal *sound, size_t length)
{
    const size_t channels = sound->shape[1];
    int finite = 1;
    for (size_t i = 0; i < length; i++) {
        float sum = 0;
        for (size_t c = 0; c < channels; c++)
            sum += sound->data[i * channels + c];
        finite &= isfinite(sum) != 0;
        out[i] = sum / (float)channels;
    }
    return finite;
}

static vq_status compare(vq_audio_quality *out, const float *x, const float *y, size_t length,
                         uint32_t rate)
{
    static const uint32_t windows[] = {512, 1024, 2048};
    enum { WINDOWS = sizeof windows / sizeof *windows };
    vq_audio_quality q = {.si_sdr_db = si_sdr(x, y, length)};
    vq_status status = log_spectral(&q.lsd_db, x, y, length);
    for (int i = 0; i < WINDOWS && !status; i++) {
        double distance = 0;
        status = mel_distance(&distance, x, y, length, rate, windows[i]);
        q.log_mel += distance / WINDOWS;
    }
    if (!status)
        status = vqi_stoi(&q.stoi, x, y, length, rate);
    if (!status)
        *out = q;
    return status;
}

static vq_status check(const vq_signal *sound)
{
    if (sound->kind != VQ_KIND_AUDIO)
        return vqi_fail(VQ_E_ARG, "a signal of kind %s is no sound", vq_kind_name(sound->kind));
    if (!(sound->rate >= 1000 && sound->rate <= MOST_RATE && sound->rate == floor(sound->rate)))
        return vqi_fail(VQ_E_ARG, "a sound at %g samples per second (1000 to %d, whole)",
                        sound->rate, MOST_RATE);
    return VQ_OK;
}

vq_status vq_audio_compare(vq_audio_quality *out, const vq_signal *reference,
                           const vq_signal *other)
{
    vq_status status = check(reference);
    if (!status)
        status = check(other);
    if (status)
        return status;
    if (reference->rate != other->rate || reference->shape[1] != other->shape[1])
        return vqi_fail(VQ_E_ARG,
                        "sounds of %g and %g samples per second, %zu and %zu channels (make them "
                        "alike first)",
                        reference->rate, other->rate, reference->shape[1], other->shape[1]);
    const size_t length =
        reference->shape[0] < other->shape[0] ? reference->shape[0] : other->shape[0];
    float *x = vqi_alloc(length, sizeof *x), *y = vqi_alloc(length, sizeof *y);
    if (!x || !y)
        status = vqi_fail_nomem((unsigned long long)length * sizeof *x);
    else if (!(mix(x, reference, length) & mix(y, other, length)))
        status = vqi_fail(VQ_E_NONFINITE, "a sample is not a finite number");
    else
        status = compare(out, x, y, length, (uint32_t)reference->rate);
    vqi_free(x);
    vqi_free(y);
    return status;
}

vq_status vq_audio_spectrogram(float *out, const vq_signal *sound, size_t columns, size_t rows)
{
    vq_status status = check(sound);
    if (status)
        return status;
    if (!columns || !rows || rows > LSD_WINDOW / 2)
        return vqi_fail(VQ_E_ARG, "a spectrogram of %zu x %zu (rows: 1 to %d)", columns, rows,
                        LSD_WINDOW / 2);
    const size_t length = sound->shape[0];
    vqi_spectrum s;
    float *mono = vqi_alloc(length, sizeof *mono), power[LSD_BINS] = {0};
    status = mono ? vqi_spectrum_init(&s, LSD_WINDOW, LSD_WINDOW, 0)
                  : vqi_fail_nomem((unsigned long long)length * sizeof *mono);
    if (!status) {
        mix(mono, sound, length);
        for (size_t c = 0; c < columns; c++) {
            const double middle = ((double)c + 0.5) / (double)columns * (double)length;
            const size_t half = LSD_WINDOW / 2;
            size_t at = middle > (double)half ? (size_t)middle - half : 0;
            if (at + LSD_WINDOW > length)
                at = length > LSD_WINDOW ? length - LSD_WINDOW : 0;
            vqi_spectrum_run(power, &s, mono + at, length - at);
            for (size_t r = 0; r < rows; r++) {
                const size_t low = r * half / rows, high = (r + 1) * half / rows;
                float most = 0;
                for (size_t k = low; k <= high; k++)
                    most = power[k] > most ? power[k] : most;
                out[c * rows + r] = (float)decibels(most, LSD_WINDOW);
            }
        }
        vqi_spectrum_clear(&s);
    }
    vqi_free(mono);
    return status;
}
