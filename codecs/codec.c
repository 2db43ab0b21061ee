/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/codec.h"

#include <stdio.h>
#include <string.h>

#include "codecs/codec_internal.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/safetensors_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

static vq_status check_tables(const vq_codec *codec)
{
    const uint32_t levels = vq_quantizer_levels(codec->quantizer);
    if (vq_code_tables_levels(codec->tables) != levels)
        return vqi_fail(VQ_E_FORMAT, "the model has %u levels and tables of probabilities for %u",
                        levels, vq_code_tables_levels(codec->tables));
    for (uint32_t l = 0; l < levels; l++)
        if (vq_code_tables_k(codec->tables, l) != vq_quantizer_k(codec->quantizer, l))
            return vqi_fail(VQ_E_FORMAT, "level %u has %u codewords and a table for %u codes", l,
                            vq_quantizer_k(codec->quantizer, l),
                            vq_code_tables_k(codec->tables, l));
    return VQ_OK;
}

static vq_status codec_from_tensors(vq_codec *codec, const vq_tensors *model)
{
    const char *name = vq_tensors_get(model, "codec");
    if (!name)
        return vqi_fail(VQ_E_FORMAT, "not a codec's model (it has no setting \"codec\")");
    codec->front_end = vqi_front_end_find(name);
    if (!codec->front_end)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "the model is for a codec \"%.40s\", which libvq %s does not have", name,
                        vq_version());
    if (codec->front_end->spells)
        return codec->front_end->load(&codec->state, model, NULL, &codec->limits);
    vq_status status = vq_quantizer_load(&codec->quantizer, model, "quantizer.", &codec->limits);
    if (!status)
        status = vq_code_tables_load(&codec->tables, model, "tables.");
    if (!status && codec->tables)
        status = check_tables(codec);
    if (status)
        return status;
    return codec->front_end->load(&codec->state, model, codec->quantizer, &codec->limits);
}

/* sha256: of a file that is built in; NULL = nobody knows it yet. */
static vq_status open_memory(vq_codec **out, const void *data, size_t size, const char *name,
                             const uint8_t *sha256, const vq_limits *limits)
{
    vq_codec *codec = vqi_calloc(1, sizeof *codec);
    if (!codec)
        return vqi_fail_nomem(sizeof *codec);
    vq_tensors *model = NULL;
    vq_status status = vq_limits_resolve(&codec->limits, limits);
    if (!status)
        status = vqi_safetensors_parse(&model, data, size, name, &codec->limits, !sha256);
    if (!status) {
        status = codec_from_tensors(codec, model);
        if (status && name)
            vqi_fail_in(status, name);
    }
    vq_tensors_free(model);
    if (status) {
        vq_codec_free(codec);
        return status;
    }
    if (sha256)
        memcpy(codec->model_sha256, sha256, sizeof codec->model_sha256);
    else
        vq_sha256(codec->model_sha256, data, size);
    *out = codec;
    return VQ_OK;
}

vq_status vq_codec_open_memory(vq_codec **out, const void *data, size_t size, const char *name,
                               const vq_codec_opts *opts)
{
    *out = NULL;
    vq_codec_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_codec_opts");
    if (status)
        return status;
    return open_memory(out, data, size, name, NULL, own.limits);
}

vq_status vq_codec_open(vq_codec **out, const char *model, const vq_codec_opts *opts)
{
    *out = NULL;
    vq_codec_opts own;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_codec_opts");
    if (status)
        return status;
    if (!model || !*model)
        return vqi_fail(VQ_E_ARG, "no model was named");
    if (!strpbrk(model, "/.")) {
        const void *data;
        size_t size;
        uint8_t sha256[VQ_SHA256_SIZE];
        status = vq_codec_builtin_model(&data, &size, model);
        if (!status)
            status = vq_codec_builtin_sha256(sha256, model);
        return status ? status : open_memory(out, data, size, model, sha256, own.limits);
    }
    vq_bytes file = {NULL, 0};
    status = vq_file_read(&file, model, own.limits);
    if (!status)
        status = open_memory(out, file.data, file.size, model, NULL, own.limits);
    vq_bytes_clear(&file);
    return status;
}

void vq_codec_free(vq_codec *codec)
{
    if (!codec)
        return;
    if (codec->front_end)
        codec->front_end->free(codec->state);
    vq_quantizer_free(codec->quantizer);
    vq_code_tables_free(codec->tables);
    vq_free(codec);
}

void vq_codec_get_info(vq_codec_info *out, const vq_codec *codec)
{
    memset(out, 0, sizeof *out);
    out->name = codec->front_end->name;
    out->id = codec->front_end->id;
    out->kind = codec->front_end->kind;
    out->levels = codec->quantizer ? vq_quantizer_levels(codec->quantizer) : 1;
    out->quantizer = codec->quantizer;
    out->tables = codec->tables;
    memcpy(out->model_sha256, codec->model_sha256, sizeof out->model_sha256);
    codec->front_end->describe(out, codec->state);
}

static vq_status resolve(vq_coding_opts *own, const vq_coding_opts *opts, uint32_t levels,
                         uint32_t default_levels)
{
    const vq_status status = vqi_options(own, sizeof *own, opts, "vq_coding_opts");
    if (status)
        return status;
    if (!own->levels)
        own->levels = own->lambda > 0 ? levels : default_levels;
    if (own->levels > levels)
        return vqi_fail(VQ_E_ARG, "%u levels were asked for (there are 1 to %u)", own->levels,
                        levels);
    if (own->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_coding_opts.threads is %d (0 = all)", own->threads);
    if (own->alpha != VQ_ALPHA_KEEP && own->alpha != VQ_ALPHA_COMPOSITE)
        return vqi_fail(VQ_E_ARG, "vq_coding_opts.alpha is %d (see vq_alpha_policy)",
                        (int)own->alpha);
    if (own->malformed < VQ_FAST_STRICT || own->malformed > VQ_FAST_HOLD)
        return vqi_fail(VQ_E_ARG, "vq_coding_opts.malformed is %d (see vq_fast_policy)",
                        (int)own->malformed);
    for (int c = 0; c < 3; c++)
        if (!(own->background[c] >= 0 && own->background[c] <= 1))
            return vqi_fail(VQ_E_ARG, "vq_coding_opts.background[%d] is %g (0 to 1)", c,
                            (double)own->background[c]);
    return VQ_OK;
}

vq_status vq_codec_encode(vq_tokens **out, const vq_codec *codec, const vq_signal *signal,
                          const vq_coding_opts *opts)
{
    *out = NULL;
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_coding_opts own;
    vq_status status = resolve(&own, opts, info.levels, info.default_levels);
    if (status)
        return status;
    if (signal->kind != info.kind)
        return vqi_fail(VQ_E_ARG, "the codec \"%s\" takes a signal of kind %s, not %s", info.name,
                        vq_kind_name(info.kind), vq_kind_name(signal->kind));
    vq_tokens *tokens;
    status = codec->front_end->encode(&tokens, codec, signal, &own);
    if (status)
        return status;
    tokens->kind = info.kind;
    tokens->rate = signal->rate;
    tokens->bits = signal->bits;
    snprintf(tokens->codec, sizeof tokens->codec, "%s", info.name);
    memcpy(tokens->model_sha256, info.model_sha256, sizeof tokens->model_sha256);
    *out = tokens;
    return VQ_OK;
}

static vq_status check_tokens(const vq_codec_info *info, const vq_tokens *tokens, int any_model)
{
    vq_status status = vq_tokens_validate(tokens);
    if (status)
        return status;
    if (strcmp(tokens->codec, info->name) || tokens->kind != info->kind)
        return vqi_fail(VQ_E_ARG, "the tokens were made by the codec \"%.31s\", not \"%s\"",
                        tokens->codec, info->name);
    if (!any_model && memcmp(tokens->model_sha256, info->model_sha256, VQ_SHA256_SIZE)) {
        char theirs[17] = "", ours[17] = "";
        for (int i = 0; i < 8; i++) {
            snprintf(theirs + 2 * i, 3, "%02x", tokens->model_sha256[i]);
            snprintf(ours + 2 * i, 3, "%02x", info->model_sha256[i]);
        }
        return vqi_fail(VQ_E_MISMATCH,
                        "the tokens were made with the model %s..., not with %s... (decode them "
                        "with that model)",
                        theirs, ours);
    }
    for (uint32_t l = 0; info->quantizer && l < tokens->levels; l++)
        if (tokens->k[l] != vq_quantizer_k(info->quantizer, l))
            return vqi_fail(VQ_E_ARG, "level %u of the tokens has K = %u, the model's has %u", l,
                            tokens->k[l], vq_quantizer_k(info->quantizer, l));
    return VQ_OK;
}

vq_status vq_codec_check(const vq_codec *codec, const vq_tokens *tokens, const vq_coding_opts *opts)
{
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_coding_opts own;
    vq_status status = resolve(&own, opts, tokens->levels, tokens->levels);
    if (!status)
        status = check_tokens(&info, tokens, own.any_model);
    if (!status && codec->front_end->check)
        status = codec->front_end->check(codec, tokens);
    return status;
}

vq_status vq_codec_decode(vq_signal **out, const vq_codec *codec, const vq_tokens *tokens,
                          const vq_coding_opts *opts)
{
    *out = NULL;
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    vq_coding_opts own;
    vq_status status = resolve(&own, opts, tokens->levels, tokens->levels);
    if (!status)
        status = check_tokens(&info, tokens, own.any_model);
    if (status)
        return status;
    vq_signal *signal;
    if (own.malformed_chunks)
        *own.malformed_chunks = 0;
    status = codec->front_end->decode(&signal, codec, tokens, &own);
    if (status)
        return status;
    signal->rate = tokens->rate;
    signal->bits = tokens->bits;
    *out = signal;
    return VQ_OK;
}

vq_status vq_codec_train(vq_tensors **model, const char *codec, const vq_signal_source *source,
                         const vq_codec_train_opts *opts)
{
    *model = NULL;
    vq_codec_train_opts own;
    const vq_status status = vqi_options(&own, sizeof own, opts, "vq_codec_train_opts");
    if (status)
        return status;
    const vqi_front_end *front_end = vqi_front_end_find(codec);
    if (!front_end)
        return vqi_fail(VQ_E_ARG, "there is no codec \"%.40s\"", codec);
    return front_end->train(model, source, &own);
}
