/* SPDX-License-Identifier: Apache-2.0 */
/* What sound files are let in, and whole sounds in memory. */
#include "io/sound.h"

#include <sndfile.h>
#include <string.h>

#include "io/sound_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

const char *vq_sound_sniff(const void *data, size_t size)
{
    static const struct {
        const char *name, *magic;
        size_t offset, length;
        const char *begin; /* what the file begins with, if the magic is not there */
    } kinds[] = {
        {"WAV", "WAVE", 8, 4, "RIFF"},  {"WAV", "WAVE", 8, 4, "RIFX"},
        {"RF64", "WAVE", 8, 4, "RF64"}, {"AIFF", "AIFF", 8, 4, "FORM"},
        {"AIFF", "AIFC", 8, 4, "FORM"}, {"W64", "riff\x2e\x91\xcf\x11", 0, 8, NULL},
        {"FLAC", "fLaC", 0, 4, NULL},   {"Ogg", "OggS", 0, 4, NULL},
        {"AU", ".snd", 0, 4, NULL},     {"CAF", "caff\0\1", 0, 6, NULL},
        {"MP3", "ID3", 0, 3, NULL},
    };
    const unsigned char *bytes = data;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= kinds[i].offset + kinds[i].length &&
            !memcmp(bytes + kinds[i].offset, kinds[i].magic, kinds[i].length) &&
            (!kinds[i].begin || !memcmp(bytes, kinds[i].begin, 4)))
            return kinds[i].name;
    /* A frame of MPEG audio: 11 ones, no reserved version, layer, rate of bits or of samples. */
    if (size >= 4 && bytes[0] == 0xff && (bytes[1] & 0xe0) == 0xe0 && (bytes[1] & 0x18) != 0x08 &&
        (bytes[1] & 0x06) && (bytes[2] & 0xf0) != 0xf0 && (bytes[2] & 0xf0) &&
        (bytes[2] & 0x0c) != 0x0c)
        return "MP3";
    return NULL;
}

const char *vqi_sound_allowed(int format, uint32_t *bits)
{
    static const struct {
        int major;
        const char *name;
    } containers[] = {
        {SF_FORMAT_WAV, "WAV"},   {SF_FORMAT_WAVEX, "WAV"}, {SF_FORMAT_RF64, "RF64"},
        {SF_FORMAT_W64, "W64"},   {SF_FORMAT_AIFF, "AIFF"}, {SF_FORMAT_AU, "AU"},
        {SF_FORMAT_CAF, "CAF"},   {SF_FORMAT_FLAC, "FLAC"}, {SF_FORMAT_OGG, "Ogg"},
        {SF_FORMAT_MPEG, "MPEG"},
    };
    static const struct {
        int minor;
        uint32_t bits;
        const char *name; /* instead of the container's */
    } codings[] = {
        {SF_FORMAT_PCM_S8, 8, NULL},         {SF_FORMAT_PCM_U8, 8, NULL},
        {SF_FORMAT_PCM_16, 16, NULL},        {SF_FORMAT_PCM_24, 24, NULL},
        {SF_FORMAT_PCM_32, 32, NULL},        {SF_FORMAT_FLOAT, 32, NULL},
        {SF_FORMAT_DOUBLE, 32, NULL},        {SF_FORMAT_ULAW, 0, NULL},
        {SF_FORMAT_ALAW, 0, NULL},           {SF_FORMAT_VORBIS, 0, "Ogg Vorbis"},
        {SF_FORMAT_OPUS, 0, "Ogg Opus"},     {SF_FORMAT_MPEG_LAYER_I, 0, "MP1"},
        {SF_FORMAT_MPEG_LAYER_II, 0, "MP2"}, {SF_FORMAT_MPEG_LAYER_III, 0, "MP3"},
    };
    for (size_t i = 0; i < sizeof containers / sizeof *containers; i++)
        for (size_t j = 0; j < sizeof codings / sizeof *codings; j++)
            if ((format & SF_FORMAT_TYPEMASK) == containers[i].major &&
                (format & SF_FORMAT_SUBMASK) == codings[j].minor) {
                *bits = codings[j].bits;
                return codings[j].name ? codings[j].name : containers[i].name;
            }
    return NULL;
}

/* Everything that the source gives, in memory that grows with what has come. */
static vq_status read_all(vq_signal **out, vq_sound_source *source, uint64_t most_bytes)
{
    enum { FIRST = 1 << 16 };
    vq_sound_info info;
    vq_sound_source_info(&info, source);
    const size_t frame = info.channels * sizeof(float);
    float *data = NULL;
    size_t room = 0, frames = 0, got = 0;
    vq_status status;
    do {
        if (frames == room) {
            const size_t more = room ? 2 * room : FIRST;
            if (more > most_bytes / frame) {
                status = vqi_sound_named(
                    source,
                    vqi_fail(VQ_E_LIMIT,
                             "the sound takes more than %llu bytes of memory (read it in blocks)",
                             (unsigned long long)most_bytes));
                break;
            }
            float *larger = vqi_alloc(more, frame);
            if (!larger) {
                status = vqi_fail_nomem((unsigned long long)more * frame);
                break;
            }
            if (frames)
                memcpy(larger, data, frames * frame);
            vqi_free(data);
            data = larger;
            room = more;
        }
        status = vq_sound_source_read(source, data + frames * info.channels, room - frames, &got);
        frames += got;
    } while (!status && got);
    if (!status && (!data || !frames))
        status = vqi_sound_named(source, vqi_fail(VQ_E_FORMAT, "there are no samples in it"));
    if (!status)
        status = vq_signal_create(out, VQ_KIND_AUDIO, 2, (size_t[]){frames, info.channels});
    if (!status && data) {
        memcpy((*out)->data, data, frames * frame);
        (*out)->rate = info.rate;
        (*out)->bits = info.bits == 8 ? 8 : 16;
    }
    vqi_free(data);
    return status;
}

static vq_status read_source(vq_signal **out, vq_sound_source *source, const vq_sound_opts *opts)
{
    vq_sound_opts own;
    vq_limits limits;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_sound_opts");
    if (!status)
        status = vq_limits_resolve(&limits, own.limits);
    if (!status)
        status = read_all(out, source, limits.max_alloc_bytes);
    vq_sound_source_free(source);
    return status;
}

vq_status vq_sound_read(vq_signal **out, const char *path, const vq_sound_opts *opts)
{
    *out = NULL;
    vq_sound_source *source;
    const vq_status status = vq_sound_source_open(&source, path, opts);
    return status ? status : read_source(out, source, opts);
}

vq_status vq_sound_parse(vq_signal **out, const void *data, size_t size, const char *name,
                         const vq_sound_opts *opts)
{
    *out = NULL;
    vq_sound_source *source;
    const vq_status status = vq_sound_source_open_memory(&source, data, size, name, opts);
    return status ? status : read_source(out, source, opts);
}
