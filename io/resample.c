/* SPDX-License-Identifier: Apache-2.0 */
#include "io/resample.h"

#include <samplerate.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { MAX_RATIO = 256, MAX_CHANNELS = 8 };

struct vq_resampler {
    SRC_STATE *state; /* NULL = the rates are equal */
    uint32_t from, to, channels;
    int ended;
    uint64_t taken, given; /* frames */
};

uint64_t vq_resampled_length(uint64_t frames, uint32_t from, uint32_t to)
{
    /* In two parts, so that no product is too long: frames = q from + r. */
    const uint64_t q = frames / from, r = frames % from;
    const uint64_t length = q * to + (r * to + from / 2) / from;
    return frames && !length ? 1 : length;
}

vq_status vq_resampler_create(vq_resampler **out, uint32_t from, uint32_t to, uint32_t channels)
{
    *out = NULL;
    if (!from || !to || from / MAX_RATIO > to || to / MAX_RATIO > from)
        return vqi_fail(VQ_E_ARG, "cannot resample from %u to %u samples per second", from, to);
    if (!channels || channels > MAX_CHANNELS)
        return vqi_fail(VQ_E_ARG, "cannot resample %u channels (1 to %d)", channels, MAX_CHANNELS);
    vq_resampler *r = vqi_calloc(1, sizeof *r);
    if (!r)
        return vqi_fail_nomem(sizeof *r);
    r->from = from;
    r->to = to;
    r->channels = channels;
    int error = 0;
    if (from != to && !(r->state = src_new(SRC_SINC_MEDIUM_QUALITY, (int)channels, &error))) {
        vqi_free(r);
        return vqi_fail(VQ_E_NOMEM, "the resampler cannot be made (%s)", src_strerror(error));
    }
    *out = r;
    return VQ_OK;
}

void vq_resampler_free(vq_resampler *r)
{
    if (!r)
        return;
    src_delete(r->state);
    vqi_free(r);
}

void vq_resampler_reset(vq_resampler *r)
{
    if (r->state)
        src_reset(r->state);
    r->ended = 0;
    r->taken = r->given = 0;
}

vq_status vq_resampler_process(vq_resampler *r, const float *in, size_t count, size_t *used,
                               float *out, size_t room, size_t *got)
{
    *used = *got = 0;
    if (count && r->ended)
        return vqi_fail(VQ_E_ARG, "the resampler was given samples after the end of the sound");
    r->ended = !count;
    if (!r->state) {
        *used = *got = count < room ? count : room;
        if (*got)
            memcpy(out, in, *got * r->channels * sizeof *out);
        return VQ_OK;
    }
    static const float nothing[MAX_CHANNELS];
    SRC_DATA data = {.data_in = in ? in : nothing,
                     .input_frames = (long)count,
                     .output_frames = (long)room,
                     .end_of_input = r->ended,
                     .src_ratio = (double)r->to / (double)r->from};
    data.data_out = out;
    const int error = src_process(r->state, &data);
    if (error)
        return vqi_fail(VQ_E_ARG, "resampling failed (%s)", src_strerror(error));
    *used = (size_t)data.input_frames_used;
    *got = (size_t)data.output_frames_gen;
    r->taken += *used;
    r->given += *got;
    if (!r->ended)
        return VQ_OK;
    /* The converter ends within a sample or two of the length; what is missing is silence, too much is cut. */
    const uint64_t length = vq_resampled_length(r->taken, r->from, r->to);
    if (r->given > length) {
        const uint64_t over = r->given - length;
        *got -= over < *got ? (size_t)over : *got;
        r->given = length;
    } else if (!*got && r->given < length) {
        const uint64_t missing = length - r->given;
        *got = missing < room ? (size_t)missing : room;
        memset(out, 0, *got * r->channels * sizeof *out);
        r->given += *got;
    }
    return VQ_OK;
}
