/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WAV and FLAC. libsndfile goes back to the header when the sound ends, so the bytes go where one can: to the sink's
 * nameless file, or, for a pipe, to a temporary file that is copied to it in the end.
 */
#include <errno.h>
#include <math.h>
#include <sndfile.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "io/file_ops_internal.h"
#include "io/sound.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { BLOCK = 2048, MOST_CHANNELS = 8, MOST_RATE = 655350 };

struct vq_sound_writer {
    vqi_sink sink;
    FILE *scratch; /* where the bytes go if the sink is direct */
    SNDFILE *encoder;
    uint32_t channels;
    int is_float;
    double scale, most; /* of integers: full scale, and the largest */
    int bits;
    uint64_t bytes, most_bytes; /* of samples */
    uint64_t frames;
    sf_count_t at, size;
    int error; /* errno of a write that failed */
    int samples[BLOCK * MOST_CHANNELS];
};

static int fd_of(const vq_sound_writer *w)
{
    return w->scratch ? fileno(w->scratch) : w->sink.fd;
}

static sf_count_t io_length(void *context)
{
    const vq_sound_writer *w = context;
    return w->size;
}

static sf_count_t io_seek(sf_count_t offset, int whence, void *context)
{
    vq_sound_writer *w = context;
    const sf_count_t to = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? w->at : w->size);
    return to < 0 ? -1 : (w->at = to);
}

static sf_count_t io_tell(void *context)
{
    const vq_sound_writer *w = context;
    return w->at;
}

static sf_count_t io_read(void *to, sf_count_t count, void *context)
{
    (void)to;
    (void)count;
    (void)context;
    return 0;
}

static sf_count_t io_write(const void *from, sf_count_t count, void *context)
{
    vq_sound_writer *w = context;
    if (w->error || lseek(fd_of(w), (off_t)w->at, SEEK_SET) < 0) {
        w->error = w->error ? w->error : errno;
        return 0;
    }
    sf_count_t done = 0;
    while (done < count) {
        const ssize_t n =
            w->sink.ops->write(fd_of(w), (const char *)from + done, (size_t)(count - done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            w->error = n < 0 ? errno : ENOSPC;
            break;
        }
        done += n;
    }
    w->at += done;
    w->size = w->at > w->size ? w->at : w->size;
    return done;
}

static vq_status write_error(const vq_sound_writer *w)
{
    return vqi_fail(VQ_E_IO, "%s: cannot be written (%s)", w->sink.path,
                    w->error ? strerror(w->error) : sf_strerror(w->encoder));
}

static vq_sound_coding resolve(const char *path, vq_sound_coding coding)
{
    const size_t length = strlen(path);
    if (coding != VQ_SOUND_BY_NAME)
        return coding;
    return length >= 5 && !strcasecmp(path + length - 5, ".flac") ? VQ_SOUND_FLAC_16
                                                                  : VQ_SOUND_WAV_16;
}

static vq_status open_encoder(vq_sound_writer *w, uint32_t rate, vq_sound_coding coding)
{
    static const struct {
        int format, bits;
    } codings[] = {{0, 0},
                   {SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16},
                   {SF_FORMAT_WAV | SF_FORMAT_PCM_24, 24},
                   {SF_FORMAT_WAV | SF_FORMAT_FLOAT, 32},
                   {SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16},
                   {SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 24}};
    SF_VIRTUAL_IO calls = {io_length, io_seek, io_read, io_write, io_tell};
    SF_INFO info = {
        .samplerate = (int)rate, .channels = (int)w->channels, .format = codings[coding].format};
    w->is_float = coding == VQ_SOUND_WAV_FLOAT;
    w->bits = codings[coding].bits;
    w->scale = ldexp(1, w->bits - 1);
    w->most = w->scale - 1;
    w->most_bytes = coding <= VQ_SOUND_WAV_FLOAT ? 0xffffff00u - 4096 : UINT64_MAX;
    if (w->sink.direct && !(w->scratch = tmpfile()))
        return vqi_fail(VQ_E_IO, "%s: no temporary file can be made (%s)", w->sink.path,
                        strerror(errno));
    w->encoder = sf_open_virtual(&calls, SFM_WRITE, &info, w);
    if (!w->encoder)
        return w->error ? write_error(w)
                        : vqi_fail(VQ_E_ARG,
                                   "%u samples per second, %u channels: cannot be written (%s)",
                                   rate, w->channels, sf_error_number(sf_error(NULL)));
    /* No chunk of peaks with the time of day in it: the same sound gives the same file. */
    sf_command(w->encoder, SFC_SET_ADD_PEAK_CHUNK, NULL, SF_FALSE);
    return VQ_OK;
}

vq_status vq_sound_writer_open(vq_sound_writer **out, const char *path, uint32_t rate,
                               uint32_t channels, vq_sound_coding coding, const vq_write_opts *opts)
{
    *out = NULL;
    if (!rate || rate > MOST_RATE || !channels || channels > MOST_CHANNELS)
        return vqi_fail(VQ_E_ARG,
                        "%u samples per second of %u channels cannot be written (1 to %d, 1 to %d)",
                        rate, channels, MOST_RATE, MOST_CHANNELS);
    if (coding < VQ_SOUND_BY_NAME || coding > VQ_SOUND_FLAC_24)
        return vqi_fail(VQ_E_ARG, "the coding %d of samples (see vq_sound_coding)", (int)coding);
    vq_sound_writer *w = vqi_calloc(1, sizeof *w);
    if (!w)
        return vqi_fail_nomem(sizeof *w);
    w->channels = channels;
    vq_status status = vqi_sink_open(&w->sink, &vqi_system_file_ops, path, opts);
    if (!status)
        status = open_encoder(w, rate, resolve(path, coding));
    if (status) {
        vq_sound_writer_close(w, 0);
        return status;
    }
    *out = w;
    return VQ_OK;
}

/* One block; floats as they are, integers rounded here so that rounding is the same everywhere. */
static vq_status write_block(vq_sound_writer *w, const float *samples, size_t frames)
{
    const size_t count = frames * w->channels;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(samples[i]))
            return vqi_fail(VQ_E_NONFINITE, "sample %llu is not a finite number",
                            (unsigned long long)(w->frames + i / w->channels));
        if (w->is_float)
            continue;
        double x = nearbyint((double)samples[i] * w->scale);
        x = x > w->most ? w->most : x < -w->scale ? -w->scale : x;
        w->samples[i] = (int)x * (1 << (32 - w->bits));
    }
    w->bytes += count * (size_t)(w->bits / 8);
    if (w->bytes > w->most_bytes)
        return vqi_fail(VQ_E_LIMIT, "%s: a WAV file holds at most 4 GiB (write FLAC)",
                        w->sink.path);
    const sf_count_t done = w->is_float ? sf_writef_float(w->encoder, samples, (sf_count_t)frames)
                                        : sf_writef_int(w->encoder, w->samples, (sf_count_t)frames);
    w->frames += frames;
    return done == (sf_count_t)frames && !w->error ? VQ_OK : write_error(w);
}

vq_status vq_sound_writer_write(vq_sound_writer *w, const float *samples, size_t frames)
{
    vq_status status = VQ_OK;
    while (frames && !status) {
        const size_t some = frames < BLOCK ? frames : BLOCK;
        status = write_block(w, samples, some);
        samples += some * w->channels;
        frames -= some;
    }
    return status;
}

static vq_status copy_scratch(vq_sound_writer *w)
{
    char block[1 << 14];
    size_t got;
    vq_status status = VQ_OK;
    if (fseek(w->scratch, 0, SEEK_SET))
        return vqi_fail(VQ_E_IO, "%s: cannot be written (%s)", w->sink.path, strerror(errno));
    while (!status && (got = fread(block, 1, sizeof block, w->scratch)))
        status = vqi_sink_write(&w->sink, block, got);
    if (!status && ferror(w->scratch))
        status = vqi_fail(VQ_E_IO, "%s: its temporary file cannot be read", w->sink.path);
    return status;
}

vq_status vq_sound_writer_close(vq_sound_writer *w, int keep)
{
    if (!w)
        return VQ_OK;
    vq_status status = VQ_OK;
    if (w->encoder && sf_close(w->encoder) && !w->error)
        w->error = EIO;
    if (keep && w->error)
        status = vqi_fail(VQ_E_IO, "%s: cannot be written (%s)", w->sink.path, strerror(w->error));
    if (keep && !status && w->scratch)
        status = copy_scratch(w);
    if (keep && !status)
        status = vqi_sink_commit(&w->sink);
    if (w->scratch)
        fclose(w->scratch);
    vqi_sink_close(&w->sink);
    vqi_free(w);
    return status;
}

vq_status vq_sound_write(const char *path, const vq_signal *sound, vq_sound_coding coding,
                         const vq_write_opts *opts)
{
    if (sound->kind != VQ_KIND_AUDIO)
        return vqi_fail(VQ_E_ARG, "a signal of kind %s cannot be written as sound",
                        vq_kind_name(sound->kind));
    if (!(sound->rate >= 1 && sound->rate <= MOST_RATE && sound->rate == floor(sound->rate)))
        return vqi_fail(VQ_E_ARG, "a rate of %g samples per second cannot be written", sound->rate);
    vq_sound_writer *writer;
    const size_t channels = sound->shape[1] <= MOST_CHANNELS ? sound->shape[1] : MOST_CHANNELS + 1;
    vq_status status = vq_sound_writer_open(&writer, path, (uint32_t)sound->rate,
                                            (uint32_t)channels, coding, opts);
    if (status)
        return status;
    status = vq_sound_writer_write(writer, sound->data, sound->shape[0]);
    const vq_status closed = vq_sound_writer_close(writer, !status);
    return status ? status : closed;
}
