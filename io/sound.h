/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file io/sound.h
 * Sound files in (WAV, RF64, W64, AIFF, FLAC, Ogg with Vorbis or Opus, MP3, AU, CAF; through libsndfile) and out (WAV, FLAC).
 *
 * Samples are float32, full scale is 1. Nothing else is done to them but what is asked for: another rate, by
 * vq_resampler, and other channels (1 = their mean; 2 = a single one twice).
 *
 *     vq_sound_source *source;
 *     vq_sound_source_open(&source, "talk.flac", &(vq_sound_opts){sizeof(vq_sound_opts), 24000, 1, NULL});
 *     while (!(status = vq_sound_source_read(source, block, 4096, &got)) && got)
 *         ...
 *     vq_sound_source_free(source);
 *
 * A file is read in fixed blocks, so that hours of sound take as much memory as a second. What a file declares is not
 * believed: no array is sized by its number of samples.
 */
#ifndef IO_SOUND_H
#define IO_SOUND_H

#include "io/file.h"
#include "vq/signal.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A sound that is read block by block, by one thread at a time. */
typedef struct vq_sound_source vq_sound_source;

/** What the samples should be; NULL means as they are in the file. */
typedef struct vq_sound_opts {
    size_t struct_size;      /**< sizeof(vq_sound_opts) */
    uint32_t rate;           /**< samples per second; 0 = the file's */
    uint32_t channels;       /**< 1 or 2; 0 = the file's */
    const vq_limits *limits; /**< NULL = defaults */
} vq_sound_opts;

#define VQ_SOUND_OPTS_INIT                                                                         \
    {                                                                                              \
        sizeof(vq_sound_opts), 0, 0, NULL                                                          \
    }

/** What a sound is. */
typedef struct vq_sound_info {
    uint32_t rate, channels;           /**< of the samples that are read */
    uint32_t file_rate, file_channels; /**< of the file */
    uint32_t bits;                     /**< per sample of the file: 8 to 32; 0 if it is lossy */
    const char *format;                /**< "WAV", "Ogg Vorbis", ...; static */
    uint64_t
        declared_frames; /**< at `rate`, as the file says: to show progress, for nothing else; 0 = it does not say */
} vq_sound_info;

/**
 * Open a sound file; the format is found from the content. Standard input is read whole.
 * @param[out] out owned by the caller, free with vq_sound_source_free().
 * @return VQ_OK, VQ_E_ARG, VQ_E_IO, VQ_E_FORMAT (no sound, damaged or cut), VQ_E_LIMIT (rate, channels),
 *         VQ_E_UNSUPPORTED (a coding of samples that we do not let in; channels that cannot be made into
 *         those asked for), VQ_E_NOMEM.
 */
VQ_API vq_status vq_sound_source_open(vq_sound_source **out, const char *path,
                                      const vq_sound_opts *opts);
/** The same from memory, which stays the caller's and must outlive the source. `name` is for the sentences; NULL for none. */
VQ_API vq_status vq_sound_source_open_memory(vq_sound_source **out, const void *data, size_t size,
                                             const char *name, const vq_sound_opts *opts);
VQ_API void vq_sound_source_free(vq_sound_source *source);
VQ_API void vq_sound_source_info(vq_sound_info *out, const vq_sound_source *source);

/**
 * The next samples.
 * @param[out] samples most x channels, interleaved.
 * @param[out] got     frames (samples per channel) that were read; 0 = the end, and only then.
 * @return VQ_OK, VQ_E_IO, VQ_E_FORMAT (damaged or cut; a sample 16 times beyond full scale or more), VQ_E_NONFINITE,
 *         VQ_E_LIMIT (max_sound_frames). After a failure only vq_sound_source_free() may follow.
 */
VQ_API vq_status vq_sound_source_read(vq_sound_source *source, float *samples, size_t most,
                                      size_t *got);

/**
 * A whole sound in memory: T x C, with its rate; ->bits is 16, or 8 if the file has no more.
 * @return as the functions above, and VQ_E_LIMIT (max_alloc_bytes), VQ_E_FORMAT (no samples at all).
 */
VQ_API vq_status vq_sound_read(vq_signal **out, const char *path, const vq_sound_opts *opts);
VQ_API vq_status vq_sound_parse(vq_signal **out, const void *data, size_t size, const char *name,
                                const vq_sound_opts *opts);

/** @return "WAV", "FLAC", ... from the first bytes; NULL if it is no sound file that we know by sight. */
VQ_API const char *vq_sound_sniff(const void *data, size_t size);

/** How samples are written. */
typedef enum vq_sound_coding {
    VQ_SOUND_BY_NAME = 0, /**< FLAC if the path ends in .flac, else WAV; 16 bits */
    VQ_SOUND_WAV_16 = 1,
    VQ_SOUND_WAV_24 = 2,
    VQ_SOUND_WAV_FLOAT = 3,
    VQ_SOUND_FLAC_16 = 4,
    VQ_SOUND_FLAC_24 = 5
} vq_sound_coding;

/** A sound file that is being written, block by block. */
typedef struct vq_sound_writer vq_sound_writer;

/**
 * Begin a file: as with vq_file_write() the path names the whole old file or the whole new one. For "-" (and pipes)
 * the file is made in a nameless temporary file first.
 * @param[out] out      owned by the caller: end it with vq_sound_writer_close().
 * @param      rate     1 to 655350.
 * @param      channels 1 to 8.
 * @return VQ_OK, VQ_E_ARG, VQ_E_IO, VQ_E_NOMEM.
 */
VQ_API vq_status vq_sound_writer_open(vq_sound_writer **out, const char *path, uint32_t rate,
                                      uint32_t channels, vq_sound_coding coding,
                                      const vq_write_opts *opts);
/**
 * Append frames, interleaved. Integers are rounded to nearest, and clipped at full scale.
 * @return VQ_OK, VQ_E_NONFINITE, VQ_E_IO, VQ_E_LIMIT (a WAV beyond 4 GiB).
 */
VQ_API vq_status vq_sound_writer_write(vq_sound_writer *writer, const float *samples,
                                       size_t frames);
/** Finish the file and give it its name, if `keep` is not 0, else drop it. The writer is gone in both cases.
 *  @return VQ_OK, VQ_E_IO. */
VQ_API vq_status vq_sound_writer_close(vq_sound_writer *writer, int keep);

/** A whole signal of kind VQ_KIND_AUDIO. @return as the functions above; VQ_E_ARG for another kind or no rate. */
VQ_API vq_status vq_sound_write(const char *path, const vq_signal *sound, vq_sound_coding coding,
                                const vq_write_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
