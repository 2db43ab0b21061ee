/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sound files, block by block. libsndfile sees a file only through the four calls below, after the first bytes have
 * shown one of the formats that we let in, and what it says of the file is checked before anything is made of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sndfile.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/resample.h"
#include "io/sound.h"
#include "io/sound_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { BLOCK = 2048 /* frames that are decoded together */, MOST_CHANNELS = 8, LEAST_RATE = 1000 };

static const float loudest = 16; /* full scale is 1: what is beyond was not scaled, or is noise */

struct vq_sound_source {
    char *name; /* NULL = none */
    vq_sound_info info;
    vq_limits limits;
    SNDFILE *decoder;
    vq_resampler *resampler;
    int fd;              /* -1 = in memory */
    const uint8_t *data; /* in memory */
    vq_bytes owned;      /* what stands behind data, if it is ours */
    sf_count_t size, at;
    int read_error;   /* errno of a read that failed */
    int frames_known; /* the format counts its frames exactly */
    sf_count_t frames_declared;
    uint64_t frames; /* decoded so far */
    int ended;
    size_t begin, end; /* frames of `mixed` that are waiting */
    float *decoded;    /* BLOCK x file_channels */
    float *mixed;      /* BLOCK x channels; `decoded` itself if there is nothing to mix */
};

vq_status vqi_sound_named(const vq_sound_source *source, vq_status status)
{
    return source->name ? vqi_fail_in(status, source->name) : status;
}

/* What libsndfile sees of a file. */

static sf_count_t io_length(void *context)
{
    const vq_sound_source *s = context;
    return s->size;
}

static sf_count_t io_seek(sf_count_t offset, int whence, void *context)
{
    vq_sound_source *s = context;
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : s->size;
    sf_count_t to;
    if (__builtin_add_overflow(from, offset, &to) || to < 0 || to > s->size)
        return -1;
    return s->at = to;
}

static sf_count_t io_tell(void *context)
{
    const vq_sound_source *s = context;
    return s->at;
}

static sf_count_t io_read(void *to, sf_count_t count, void *context)
{
    vq_sound_source *s = context;
    if (count < 0)
        return 0;
    if (count > s->size - s->at)
        count = s->size - s->at;
    sf_count_t done = 0;
    if (s->fd < 0 && count) {
        memcpy(to, s->data + s->at, (size_t)count);
        done = count;
    }
    while (s->fd >= 0 && done < count) {
        const ssize_t got =
            pread(s->fd, (char *)to + done, (size_t)(count - done), (off_t)(s->at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            s->read_error = errno;
        if (got <= 0)
            break;
        done += got;
    }
    s->at += done;
    return done;
}

static sf_count_t io_write(const void *from, sf_count_t count, void *context)
{
    (void)from;
    (void)count;
    (void)context;
    return 0;
}

static uint32_t u32_at(const uint8_t *bytes, int big)
{
    return big ? (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                     bytes[3]
               : (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 |
                     bytes[0];
}

/* libsndfile plays what there is of a RIFF or FORM file that was cut; we say so. A size of 0 or of nearly 4 GiB is what
   programs write that cannot go back to the header. */
static vq_status check_whole(const uint8_t *head, size_t count, uint64_t size)
{
    const int riff = count >= 12 && (!memcmp(head, "RIFF", 4) || !memcmp(head, "RIFX", 4));
    const int form = count >= 12 && !memcmp(head, "FORM", 4);
    if (!riff && !form)
        return VQ_OK;
    const uint64_t declared = u32_at(head + 4, form || head[3] == 'X');
    if (declared && declared < 0xffffff00u && declared + 8 > size + (declared & 1))
        return vqi_fail(VQ_E_FORMAT, "the file was cut: it says %llu bytes and has %llu",
                        (unsigned long long)declared + 8, (unsigned long long)size);
    return VQ_OK;
}

static vq_status check_head(vq_sound_source *s)
{
    uint8_t head[64];
    const size_t count = (size_t)io_read(head, sizeof head, s);
    s->at = 0;
    if (s->read_error)
        return vqi_fail(VQ_E_IO, "cannot be read (%s)", strerror(s->read_error));
    if (!s->size)
        return vqi_fail(VQ_E_FORMAT, "not a sound file (the file is empty)");
    if (!vq_sound_sniff(head, count))
        return vqi_fail(VQ_E_FORMAT,
                        "not a sound file (WAV, FLAC, Ogg, AIFF, MP3, AU and CAF are read)");
    return check_whole(head, count, (uint64_t)s->size);
}

/* What libsndfile found, before anything is made of it. */
static vq_status check_info(vq_sound_source *s, const SF_INFO *found, const vq_sound_opts *opts)
{
    s->info.format = vqi_sound_allowed(found->format, &s->info.bits);
    if (!s->info.format)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "samples are coded in a way that is not read (format %06x; convert it to "
                        "16-bit PCM or FLAC)",
                        (unsigned)found->format & (SF_FORMAT_TYPEMASK | SF_FORMAT_SUBMASK));
    if (found->samplerate < LEAST_RATE || (uint32_t)found->samplerate > s->limits.max_sound_rate)
        return vqi_fail(VQ_E_LIMIT, "%d samples per second (%d to %u)", found->samplerate,
                        LEAST_RATE, s->limits.max_sound_rate);
    const uint32_t most =
        s->limits.max_sound_channels < MOST_CHANNELS ? s->limits.max_sound_channels : MOST_CHANNELS;
    if (found->channels < 1 || (uint32_t)found->channels > most)
        return vqi_fail(VQ_E_LIMIT, "%d channels (1 to %u)", found->channels, most);
    s->info.file_rate = (uint32_t)found->samplerate;
    s->info.file_channels = (uint32_t)found->channels;
    s->info.rate = opts->rate ? opts->rate : s->info.file_rate;
    s->info.channels = opts->channels ? opts->channels : s->info.file_channels;
    if (s->info.channels != s->info.file_channels && s->info.channels != 1 &&
        !(s->info.channels == 2 && s->info.file_channels == 1))
        return vqi_fail(VQ_E_UNSUPPORTED, "%u channels cannot be made into %u (mix them first)",
                        s->info.file_channels, s->info.channels);
    const int container = found->format & SF_FORMAT_TYPEMASK;
    s->frames_declared = found->frames;
    s->frames_known = container != SF_FORMAT_OGG && container != SF_FORMAT_MPEG &&
                      found->frames > 0 && found->frames < (sf_count_t)1 << 60;
    if (found->frames > 0 && found->frames < (sf_count_t)1 << 40)
        s->info.declared_frames =
            vq_resampled_length((uint64_t)found->frames, s->info.file_rate, s->info.rate);
    return VQ_OK;
}

static vq_status open_decoder(vq_sound_source *s, const vq_sound_opts *opts)
{
    SF_VIRTUAL_IO calls = {io_length, io_seek, io_read, io_write, io_tell};
    SF_INFO found = {0};
    vq_status status = check_head(s);
    if (status)
        return status;
    s->decoder = sf_open_virtual(&calls, SFM_READ, &found, s);
    if (s->read_error)
        return vqi_fail(VQ_E_IO, "cannot be read (%s)", strerror(s->read_error));
    if (!s->decoder && sf_error(NULL) == SF_ERR_SYSTEM)
        return vqi_fail_nomem(0);
    if (!s->decoder)
        return vqi_fail(VQ_E_FORMAT, "a damaged sound file (%s)", sf_error_number(sf_error(NULL)));
    status = check_info(s, &found, opts);
    if (status)
        return status;
    s->decoded = vqi_alloc(BLOCK, s->info.file_channels * sizeof *s->decoded);
    s->mixed = s->info.channels == s->info.file_channels
                   ? s->decoded
                   : vqi_alloc(BLOCK, s->info.channels * sizeof *s->mixed);
    if (!s->decoded || !s->mixed)
        return vqi_fail_nomem(BLOCK * MOST_CHANNELS * sizeof(float));
    return vq_resampler_create(&s->resampler, s->info.file_rate, s->info.rate, s->info.channels);
}

static vq_status start(vq_sound_source **out, const char *name, const vq_sound_opts *opts,
                       vq_sound_opts *own)
{
    *out = NULL;
    vq_status status = vqi_options(own, sizeof *own, opts, "vq_sound_opts");
    if (status)
        return status;
    if (own->channels > 2)
        return vqi_fail(VQ_E_ARG, "vq_sound_opts.channels is %u (1 or 2; 0 = the file's)",
                        own->channels);
    vq_sound_source *s = vqi_calloc(1, sizeof *s);
    if (!s)
        return vqi_fail_nomem(sizeof *s);
    s->fd = -1;
    status = vq_limits_resolve(&s->limits, own->limits);
    if (!status && own->rate > s->limits.max_sound_rate)
        status = vqi_fail(VQ_E_ARG, "vq_sound_opts.rate is %u (at most %u)", own->rate,
                          s->limits.max_sound_rate);
    if (!status && name && !(s->name = vqi_strdup(name)))
        status = vqi_fail_nomem(strlen(name) + 1);
    if (status) {
        vq_sound_source_free(s);
        return status;
    }
    *out = s;
    return VQ_OK;
}

/* The decoder on what has been opened; the source is gone if it fails. */
static vq_status finish(vq_sound_source **out, const vq_sound_opts *own, vq_status status)
{
    if (!status) {
        status = open_decoder(*out, own);
        if (status)
            vqi_sound_named(*out, status);
    }
    if (status) {
        vq_sound_source_free(*out);
        *out = NULL;
    }
    return status;
}

/* A regular file is read where it is; what can be read only once is read whole. */
static vq_status open_file(vq_sound_source *s, const char *path)
{
    struct stat info;
    if (strcmp(path, "-") && !stat(path, &info) && S_ISREG(info.st_mode)) {
        s->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (s->fd < 0 || fstat(s->fd, &info))
            return vqi_fail(VQ_E_IO, "%s: cannot be opened (%s)", path, strerror(errno));
        s->size = info.st_size;
        return VQ_OK;
    }
    const vq_status status = vq_file_read(&s->owned, path, &s->limits);
    s->data = s->owned.data;
    s->size = (sf_count_t)s->owned.size;
    return status;
}

vq_status vq_sound_source_open(vq_sound_source **out, const char *path, const vq_sound_opts *opts)
{
    vq_sound_opts own;
    const vq_status status = start(out, strcmp(path, "-") ? path : NULL, opts, &own);
    return status ? status : finish(out, &own, open_file(*out, path));
}

vq_status vq_sound_source_open_memory(vq_sound_source **out, const void *data, size_t size,
                                      const char *name, const vq_sound_opts *opts)
{
    vq_sound_opts own;
    const vq_status status = start(out, name, opts, &own);
    if (status)
        return status;
    (*out)->data = data;
    (*out)->size = (sf_count_t)size;
    return finish(out, &own, VQ_OK);
}

void vq_sound_source_free(vq_sound_source *s)
{
    if (!s)
        return;
    if (s->decoder)
        sf_close(s->decoder);
    vq_resampler_free(s->resampler);
    if (s->mixed != s->decoded)
        vqi_free(s->mixed);
    vqi_free(s->decoded);
    if (s->fd >= 0)
        close(s->fd);
    vq_bytes_clear(&s->owned);
    vqi_free(s->name);
    vqi_free(s);
}

void vq_sound_source_info(vq_sound_info *out, const vq_sound_source *source)
{
    *out = source->info;
}

static vq_status check_samples(const vq_sound_source *s, size_t frames)
{
    const uint32_t channels = s->info.file_channels;
    for (size_t i = 0; i < frames * channels; i++) {
        const float x = s->decoded[i];
        const uint64_t frame = s->frames + i / channels;
        const double when = (double)frame / s->info.file_rate;
        if (!isfinite(x))
            return vqi_fail(VQ_E_NONFINITE, "the sample at %.6f s is not a finite number", when);
        if (fabsf(x) >= loudest)
            return vqi_fail(VQ_E_FORMAT,
                            "the sample at %.6f s is %g (full scale is 1; scale the file first)",
                            when, (double)x);
    }
    return VQ_OK;
}

static void mix(vq_sound_source *s, size_t frames)
{
    const uint32_t from = s->info.file_channels, to = s->info.channels;
    if (from == to)
        return;
    for (size_t i = 0; i < frames; i++) {
        float sum = 0;
        for (uint32_t c = 0; c < from; c++)
            sum += s->decoded[i * from + c];
        for (uint32_t c = 0; c < to; c++)
            s->mixed[i * to + c] = sum / (float)from;
    }
}

/* The next block of the file; none left = ended. */
static vq_status decode(vq_sound_source *s)
{
    const sf_count_t got = sf_readf_float(s->decoder, s->decoded, BLOCK);
    if (s->read_error)
        return vqi_fail(VQ_E_IO, "cannot be read (%s)", strerror(s->read_error));
    if (got < 0 || got > BLOCK || sf_error(s->decoder))
        return vqi_fail(VQ_E_FORMAT, "damaged at %.3f s (%s)",
                        (double)s->frames / s->info.file_rate, sf_strerror(s->decoder));
    if (!got && s->frames_known && s->frames < (uint64_t)s->frames_declared)
        return vqi_fail(VQ_E_FORMAT, "the file was cut or is damaged: %llu of %lld samples",
                        (unsigned long long)s->frames, (long long)s->frames_declared);
    const vq_status status = check_samples(s, (size_t)got);
    if (status)
        return status;
    s->frames += (uint64_t)got;
    if (s->frames > s->limits.max_sound_frames)
        return vqi_fail(VQ_E_LIMIT, "more than %llu samples",
                        (unsigned long long)s->limits.max_sound_frames);
    mix(s, (size_t)got);
    s->begin = 0;
    s->end = (size_t)got;
    s->ended = !got;
    return VQ_OK;
}

vq_status vq_sound_source_read(vq_sound_source *s, float *samples, size_t most, size_t *got)
{
    *got = 0;
    while (*got < most) {
        if (s->begin == s->end && !s->ended) {
            const vq_status status = decode(s);
            if (status)
                return vqi_sound_named(s, status);
        }
        size_t used, some;
        const vq_status status = vq_resampler_process(
            s->resampler, s->mixed + s->begin * s->info.channels, s->end - s->begin, &used,
            samples + *got * s->info.channels, most - *got, &some);
        if (status)
            return vqi_sound_named(s, status);
        s->begin += used;
        *got += some;
        if (s->ended && !some)
            break;
    }
    return VQ_OK;
}
