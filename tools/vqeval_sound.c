/* SPDX-License-Identifier: Apache-2.0 */
/* Sounds: how close two are, or what a codec makes of them at one or every number of levels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli_sound.h"
#include "codecs/audio_metrics.h"
#include "io/image.h"
#include "io/resample.h"
#include "vqeval.h"

enum { FIGURES = 4, COLUMNS = 800, ROWS = 256, GAP = 8 };

static const char *const figure_keys[FIGURES] = {"si_sdr_db", "lsd_db", "log_mel", "stoi"};

/** One sound at one number of levels, or the mean of all. */
typedef struct score {
    double bytes, kbits, figure[FIGURES];
} score;

static void take_figures(score *s, const vq_audio_quality *q)
{
    s->figure[0] = q->si_sdr_db;
    s->figure[1] = q->lsd_db;
    s->figure[2] = q->log_mel;
    s->figure[3] = q->stoi;
}

static void json_figures(json_t *object, const score *s)
{
    for (int i = 0; i < FIGURES; i++)
        json_object_set_new(object, figure_keys[i], cli_json_real(s->figure[i]));
}

/** From black over red and yellow to white. */
static void paint(float *pixel, double x)
{
    for (int c = 0; c < 3; c++) {
        const double v = 3 * x - c;
        pixel[c] = (float)(v < 0 ? 0 : v > 1 ? 1 : v);
    }
}

/** Both spectrograms, the original above. */
static int draw(const cli_common *common, const vqeval_settings *settings,
                const vq_signal *original, const vq_signal *decoded)
{
    static float powers[COLUMNS * ROWS];
    const vq_signal *sounds[2] = {original, decoded};
    vq_signal *picture;
    vq_status status =
        vq_signal_create(&picture, VQ_KIND_IMAGE, 3, (size_t[]){2 * ROWS + GAP, COLUMNS, 3});
    if (status)
        return cli_fail(common, settings->side, status);
    for (size_t i = 0; i < vq_signal_count(picture); i++)
        picture->data[i] = 1;
    for (size_t half = 0; half < 2 && !status; half++) {
        status = vq_audio_spectrogram(powers, sounds[half], COLUMNS, ROWS);
        for (size_t y = 0; y < ROWS && !status; y++)
            for (size_t x = 0; x < COLUMNS; x++)
                paint(picture->data + ((half * (ROWS + GAP) + y) * COLUMNS + x) * 3,
                      1 + (double)powers[x * ROWS + ROWS - 1 - y] / 100);
    }
    if (!status)
        status = vq_png_write(settings->side, picture, 8, NULL);
    vq_signal_free(picture);
    if (status)
        return cli_fail(common, settings->side, status);
    cli_note(common, "%s: spectrograms, original above decoded, 0 to %g Hz, -100 to 0 dB",
             settings->side, original->rate / 2);
    return CLI_DONE;
}

static vq_status read_sound(vq_signal **out, const char *path, uint32_t rate, uint32_t channels)
{
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.rate = rate;
    opts.channels = channels;
    return vq_sound_read(out, path, &opts);
}

int vqeval_sounds(const cli_common *common, const vqeval_settings *s, const cli_paths *sounds)
{
    const char *a = sounds->path[0], *b = sounds->path[1];
    vq_signal *original = NULL, *decoded = NULL;
    vq_audio_quality quality = {0};
    int code = CLI_DONE;
    vq_status status = read_sound(&original, a, 0, 0);
    if (status)
        code = cli_fail(common, cli_input_name(a), status);
    /* The decoded one at the rate of the original, and both mono unless both have the same channels. */
    else if ((status = read_sound(&decoded, b, (uint32_t)original->rate, 0)))
        code = cli_fail(common, cli_input_name(b), status);
    if (!code && original && decoded && original->shape[1] != decoded->shape[1]) {
        const uint32_t rate = (uint32_t)original->rate;
        vq_signal_free(original);
        vq_signal_free(decoded);
        original = decoded = NULL;
        if ((status = read_sound(&original, a, rate, 1)) ||
            (status = read_sound(&decoded, b, rate, 1)))
            code = cli_fail(common, original ? b : a, status);
    }
    if (!code && (status = vq_audio_compare(&quality, original, decoded)))
        code = cli_fail(common, cli_input_name(b), status);
    if (!code && s->side)
        code = draw(common, s, original, decoded);
    score figures = {0};
    if (!code)
        take_figures(&figures, &quality);
    if (!code && common->json) {
        json_t *result = json_pack("{ss ss}", "original", a, "decoded", b);
        json_figures(result, &figures);
        code = cli_json_print(common, result, 1);
    } else if (!code) {
        fputs("SI-SDR ", stdout);
        cli_print_real(stdout, 1, 3, figures.figure[0]);
        printf(" dB, log-spectral distance %.3f dB, log-mel distance %.4f, STOI ",
               figures.figure[1], figures.figure[2]);
        cli_print_real(stdout, 1, 4, figures.figure[3]);
        putchar('\n');
    }
    vq_signal_free(original);
    vq_signal_free(decoded);
    return code;
}

typedef struct evaluation {
    vqeval_trial trial;
    score *scores; /**< [sound][level - low] */
    double seconds, encode_seconds, decode_seconds;
} evaluation;

static score *score_of(const evaluation *e, size_t sound, uint32_t levels)
{
    return &e->scores[sound * (e->trial.high - e->trial.low + 1) + levels - e->trial.low];
}

/** The sound at another rate. The old one is released. */
static vq_status resample(vq_signal **sound, double rate)
{
    const vq_signal *from = *sound;
    const uint32_t channels = (uint32_t)from->shape[1];
    if (from->rate == rate)
        return VQ_OK;
    const size_t length =
        (size_t)vq_resampled_length(from->shape[0], (uint32_t)from->rate, (uint32_t)rate);
    vq_signal *to = NULL;
    vq_resampler *resampler = NULL;
    vq_status status = vq_signal_create(&to, VQ_KIND_AUDIO, 2, (size_t[]){length, channels});
    if (!status)
        status = vq_resampler_create(&resampler, (uint32_t)from->rate, (uint32_t)rate, channels);
    for (size_t at = 0, filled = 0, used, got; !status && filled < length; filled += got) {
        status = vq_resampler_process(resampler, from->data + at * channels, from->shape[0] - at,
                                      &used, to->data + filled * channels, length - filled, &got);
        at += used;
    }
    vq_resampler_free(resampler);
    if (status) {
        vq_signal_free(to);
        return status;
    }
    to->rate = rate;
    vq_signal_free(*sound);
    *sound = to;
    return VQ_OK;
}

/** Decode what `levels` levels say, and compare. The tokens lose their other levels. */
static int try_levels(evaluation *e, size_t index, uint32_t levels, vq_tokens *tokens,
                      const vq_signal *original)
{
    score *s = score_of(e, index, levels);
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.threads = e->trial.common->threads;
    vq_bytes bytes = {0};
    vq_signal *decoded = NULL;
    vq_audio_quality quality = {0};
    vq_status status = vq_tokens_truncate(tokens, levels);
    if (!status)
        status = vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS);
    const double started = cli_seconds();
    if (!status)
        status = vq_codec_decode(&decoded, e->trial.codec, tokens, &opts);
    e->decode_seconds += cli_seconds() - started;
    if (!status)
        status = resample(&decoded, original->rate);
    if (!status)
        status = vq_audio_compare(&quality, original, decoded);
    int code = status ? cli_fail(e->trial.common, e->trial.inputs->path[index], status) : CLI_DONE;
    if (!code) {
        s->bytes = (double)bytes.size;
        s->kbits = cli_kind_rate(cli_kind_of(VQ_KIND_AUDIO), bytes.size, tokens);
        take_figures(s, &quality);
    }
    if (!code && e->trial.settings->side)
        code = draw(e->trial.common, e->trial.settings, original, decoded);
    vq_signal_free(decoded);
    vq_bytes_clear(&bytes);
    return code;
}

/** The original at the lower of its own and the codec's rate: what lies above either is not the codec's to say. */
static int try_sound(void *state, size_t index)
{
    evaluation *e = state;
    const char *path = e->trial.inputs->path[index];
    vq_signal *original = NULL, *input = NULL;
    vq_tokens *tokens = NULL;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    opts.levels = e->trial.high;
    opts.beam = e->trial.settings->beam;
    opts.threads = e->trial.common->threads;
    vq_status status = read_sound(&original, path, 0, 0);
    if (!status && original && (original->rate > e->trial.info.rate || original->shape[1] > 2)) {
        const double rate =
            original->rate < e->trial.info.rate ? original->rate : e->trial.info.rate;
        const uint32_t channels = original->shape[1] > 2;
        vq_signal_free(original);
        original = NULL;
        status = read_sound(&original, path, (uint32_t)rate, channels);
    }
    if (!status && original)
        status =
            read_sound(&input, path, (uint32_t)e->trial.info.rate, (uint32_t)original->shape[1]);
    const double started = cli_seconds();
    if (!status)
        status = vq_codec_encode(&tokens, e->trial.codec, input, &opts);
    e->encode_seconds += cli_seconds() - started;
    if (!status)
        status = vq_report_add_tokens(e->trial.report, tokens);
    int code = status ? cli_fail(e->trial.common, path, status) : CLI_DONE;
    if (!code)
        e->seconds += !input ? 0 : (double)input->shape[0] / e->trial.info.rate;
    vq_signal_free(input);
    for (uint32_t levels = e->trial.high; !code && original && levels >= e->trial.low; levels--)
        code = try_levels(e, index, levels, tokens, original);
    vq_tokens_free(tokens);
    vq_signal_free(original);
    return code;
}

/** The mean over the sounds; a figure that a sound does not have (NaN) does not count. */
static score mean_of(const evaluation *e, uint32_t levels)
{
    score mean = {0};
    const size_t n = e->trial.inputs->count;
    size_t known[FIGURES] = {0};
    for (size_t i = 0; i < n; i++) {
        const score *s = score_of(e, i, levels);
        mean.bytes += s->bytes / (double)n;
        mean.kbits += s->kbits / (double)n;
        for (int k = 0; k < FIGURES; k++)
            if (!isnan(s->figure[k])) {
                mean.figure[k] += s->figure[k];
                known[k]++;
            }
    }
    for (int k = 0; k < FIGURES; k++)
        mean.figure[k] = known[k] ? mean.figure[k] / (double)known[k] : NAN;
    return mean;
}

static score score_at(const evaluation *e, ptrdiff_t index, uint32_t levels)
{
    return index == VQEVAL_MEAN ? mean_of(e, levels) : *score_of(e, (size_t)index, levels);
}

static void print_score(const void *state, ptrdiff_t index, uint32_t levels)
{
    const score s = score_at(state, index, levels);
    printf(" %10.0f %8.3f", s.bytes, s.kbits);
    cli_print_real(stdout, 10, 3, s.figure[0]);
    cli_print_real(stdout, 9, 3, s.figure[1]);
    cli_print_real(stdout, 9, 4, s.figure[2]);
    cli_print_real(stdout, 9, 4, s.figure[3]);
}

static json_t *score_as_json(const void *state, ptrdiff_t index, uint32_t levels)
{
    const score s = score_at(state, index, levels);
    json_t *object =
        json_pack("{sI sf}", "bytes", (json_int_t)(s.bytes + 0.5), "kbit_per_s", s.kbits);
    json_figures(object, &s);
    return object;
}

static int run(evaluation *e)
{
    const size_t count = e->trial.inputs->count;
    e->scores = cli_need(calloc(count * (e->trial.high - e->trial.low + 1), sizeof *e->scores));
    const int code = vqeval_trial_each(&e->trial, "sounds", try_sound, e);
    if (code)
        return code;
    const vqeval_telling how = {.one = "sound",
                                .list = "sounds",
                                .grid = "frames",
                                .columns =
                                    "      bytes   kbit/s SI-SDR dB   LSD dB  log-mel     STOI",
                                .width = 9,
                                .print = print_score,
                                .as_json = score_as_json,
                                .amount_name = "seconds",
                                .amount = e->seconds,
                                .encode_seconds = e->encode_seconds,
                                .decode_seconds = e->decode_seconds};
    return vqeval_trial_tell(&e->trial, &how, e);
}

int vqeval_sound_codec(const cli_common *common, const vqeval_settings *settings,
                       const cli_paths *sounds, const vq_codec *codec)
{
    evaluation e = {.scores = NULL};
    int code = vqeval_trial_open(&e.trial, common, settings, sounds, codec);
    if (!code)
        code = run(&e);
    vq_report_free(e.trial.report);
    free(e.scores);
    return code;
}
