/* SPDX-License-Identifier: Apache-2.0 */
/* The front ends that this library has, and the models that are built into it. */
#include <string.h>

#include "codecs/codec_internal.h"
#include "vq/error_internal.h"

#ifdef VQ_AUDIO
#define AUDIO "audio, "
#else
#define AUDIO
#endif

static const vqi_front_end *const front_ends[] = {
    &vqi_front_end_image,
#ifdef VQ_AUDIO
    &vqi_front_end_audio,
#endif
    &vqi_front_end_action, &vqi_front_end_bins, &vqi_front_end_fast,
};

/* The files of models/, laid into the library by builtin_models.c. */
extern const unsigned char vqi_model_image[], vqi_model_image_end[], vqi_model_audio[],
    vqi_model_audio_end[];
extern const unsigned char vqi_model_action[], vqi_model_action_end[];
extern const unsigned char vqi_model_bins[], vqi_model_bins_end[];
extern const char vqi_sha256_image[], vqi_sha256_audio[], vqi_sha256_action[], vqi_sha256_bins[];

static const struct {
    const char *name;
    const unsigned char *begin, *end;
    const char *sha256;
} models[] = {
    {"image", vqi_model_image, vqi_model_image_end, vqi_sha256_image},
#ifdef VQ_AUDIO
    {"audio", vqi_model_audio, vqi_model_audio_end, vqi_sha256_audio},
#endif
    {"action", vqi_model_action, vqi_model_action_end, vqi_sha256_action},
    {"bins", vqi_model_bins, vqi_model_bins_end, vqi_sha256_bins},
};

enum {
    FRONT_END_COUNT = sizeof front_ends / sizeof *front_ends,
    MODEL_COUNT = sizeof models / sizeof *models
};

const vqi_front_end *vqi_front_end_find(const char *name)
{
    for (size_t i = 0; i < FRONT_END_COUNT; i++)
        if (!strcmp(front_ends[i]->name, name))
            return front_ends[i];
    return NULL;
}

const char *vq_codec_builtin(size_t i)
{
    return i < MODEL_COUNT ? models[i].name : NULL;
}

/* The number of a model; MODEL_COUNT if there is none, and then the sentence says so. */
static size_t find_model(const char *name)
{
    size_t i = 0;
    while (i < MODEL_COUNT && strcmp(models[i].name, name) != 0)
        i++;
    if (i == MODEL_COUNT)
        vqi_fail(VQ_E_ARG,
                 "there is no built-in model \"%.40s\" (there is: image, " AUDIO
                 "action, bins; a path holds a / or a .)",
                 name);
    return i;
}

vq_status vq_codec_builtin_model(const void **data, size_t *size, const char *name)
{
    const size_t i = find_model(name);
    if (i == MODEL_COUNT)
        return VQ_E_ARG;
    *data = models[i].begin;
    *size = (size_t)(models[i].end - models[i].begin);
    return VQ_OK;
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

vq_status vq_codec_builtin_sha256(uint8_t sha256[VQ_SHA256_SIZE], const char *name)
{
    const size_t i = find_model(name);
    if (i == MODEL_COUNT)
        return VQ_E_ARG;
    for (int b = 0; b < VQ_SHA256_SIZE; b++)
        sha256[b] =
            (uint8_t)(digit(models[i].sha256[2 * b]) * 16 + digit(models[i].sha256[2 * b + 1]));
    return VQ_OK;
}
