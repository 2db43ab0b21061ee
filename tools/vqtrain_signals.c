/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures, sounds or actions: files to a codec's model. */
#include <stdlib.h>
#include <string.h>

#include "codecs/train.h"
#include "io/actions.h"
#include "io/digest.h"
#include "io/image.h"
#include "io/sound.h"
#include "vqtrain.h"

/** The files, and the checksum of those that have been read in the trainer's first pass. */
typedef struct source {
    vqtrain_run *run;
    size_t read; /**< files of the first pass that have been read */
    uint64_t bytes;
    uint32_t crc;
} source;

/** All files of the first pass are read: now it is known whether the checkpoint belongs to them. */
static vq_status all_read(source *s)
{
    s->run->data = cli_format("files=%zu bytes=%llu crc32c=%08x", s->run->inputs->count,
                              (unsigned long long)s->bytes, s->crc);
    s->run->code = vqtrain_check_data(s->run);
    return s->run->code ? VQ_E_MISMATCH : VQ_OK;
}

/* Sounds are mixed to one channel, at the rate that the recipe is for. */
static vq_status parse(vq_signal **out, const source *s, const vq_bytes *bytes, const char *path)
{
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = VQ_AUDIO_TRAIN_RATE;
    opts.channels = 1;
    if (s->run->settings->action)
        return vq_actions_parse(out, bytes->data, bytes->size, path, NULL);
    return s->run->settings->kind_of_signal->kind == VQ_KIND_AUDIO
               ? vq_sound_parse(out, bytes->data, bytes->size, path, &opts)
               : vq_image_parse(out, bytes->data, bytes->size, path, NULL);
}

static vq_status read_signal(void *context, size_t index, vq_signal **out)
{
    source *s = context;
    const char *path = s->run->inputs->path[index];
    vq_bytes bytes = {0};
    *out = NULL;
    vq_status status = vq_file_read(&bytes, path, NULL);
    if (!status)
        status = parse(out, s, &bytes, path);
    if (status) {
        cli_progress_clear(&s->run->progress);
        s->run->code = cli_fail(s->run->common, path, status);
    } else if (index == s->read) {
        s->crc = vq_crc32c(s->crc, bytes.data, bytes.size);
        s->bytes += bytes.size;
        if (++s->read == s->run->inputs->count)
            status = all_read(s);
    }
    vq_bytes_clear(&bytes);
    if (status) {
        vq_signal_free(*out);
        *out = NULL;
    }
    return status;
}

static int on_reading(void *context, size_t done, size_t count)
{
    vqtrain_run *run = ((source *)context)->run;
    return cli_progress_show(&run->progress, "reading", (double)done, (double)count,
                             run->settings->kind_of_signal->many);
}

static int on_level(void *context, uint32_t level, const vq_quantizer *so_far,
                    const vq_kmeans_report *report)
{
    return vqtrain_level_done(((source *)context)->run, level, so_far, report);
}

static int on_progress(void *context, uint32_t level, const vq_kmeans_progress *progress)
{
    return vqtrain_progress(((source *)context)->run, level, progress);
}

static vq_status on_quantizer(void *context, vq_quantizer **out, const float *latents, size_t n,
                              uint32_t d)
{
    vqtrain_run *run = ((source *)context)->run;
    const vq_source rows = vq_source_from_memory(latents, n, d);
    return vqtrain_quantizer(run, out, &rows);
}

/* The report is of the levels as they are written, after they were trained together. */
static vq_status on_trained(void *context, const vq_quantizer *quantizer, const float *latents,
                            size_t n)
{
    vqtrain_run *run = ((source *)context)->run;
    const vq_source rows = vq_source_from_memory(latents, n, vq_quantizer_dim(quantizer));
    run->vectors = n;
    cli_progress_clear(&run->progress);
    return vqtrain_measure(run, quantizer, &rows);
}

int vqtrain_signals(vqtrain_run *run, vq_tensors **model)
{
    const vqtrain_settings *s = run->settings;
    source files = {.run = run};
    const vq_signal_source signals = {run->inputs->count, read_signal, &files};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    opts.levels = s->levels;
    opts.k = s->k;
    opts.dim = s->dim;
    opts.horizon = s->horizon;
    opts.universal = s->universal;
    opts.quantile_bins = s->quantile_bins;
    opts.max_iterations = s->iterations;
    opts.beam = s->train_beam;
    opts.refits = s->refits;
    /* 0 is the recipe's */
    opts.lambda = (s->given & VQTRAIN_LAMBDA) && !(s->lambda > 0) ? -1.0f : s->lambda;
    opts.max_vectors = (size_t)s->max_vectors;
    opts.seed = s->seed;
    opts.threads = run->common->threads;
    opts.resume = run->before;
    opts.level_done = on_level;
    opts.progress = on_progress;
    opts.reading = on_reading;
    opts.trained = on_trained;
    opts.context = &files;
    if (s->kind)
        opts.quantizer = on_quantizer;
    cli_progress_start(&run->progress, run->common);
    const vq_status status = vq_codec_train(model, s->codec, &signals, &opts);
    cli_progress_clear(&run->progress);
    if (!status)
        return CLI_DONE;
    return run->code ? run->code : cli_fail(run->common, NULL, status);
}
