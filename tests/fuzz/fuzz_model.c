/* SPDX-License-Identifier: Apache-2.0 */
/* A quantizer, a head and a codec from any bytes; one that opens must encode and decode a small signal, or score tokens. */
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "io/safetensors.h"
#include "io/safetensors_internal.h"
#include "rvq/multiscale.h"
#include "vq/logits.h"
#include "vq/quantizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_codec(const vq_codec *codec)
{
    const size_t shapes[2][3] = {{33, 20, 3}, {999, 2}};
    vq_signal *signal, *copy = NULL;
    vq_tokens *tokens = NULL;
    vq_codec_info info;
    vq_codec_get_info(&info, codec);
    const int sound = info.kind == VQ_KIND_AUDIO;
    if (vq_signal_create(&signal, info.kind, sound ? 2 : 3, shapes[sound]))
        abort();
    for (size_t i = 0; i < vq_signal_count(signal); i++)
        signal->data[i] = (float)(i % 251) / 250.0f;
    const vq_status status = vq_codec_encode(&tokens, codec, signal, NULL);
    /* Tables of enormous numbers overflow, and actions have other dimensions than a model fitted to some; nothing else may go
     * wrong. */
    if (status && status != VQ_E_NONFINITE && !(info.kind == VQ_KIND_ACTION && status == VQ_E_ARG))
        abort();
    if (!status && vq_codec_decode(&copy, codec, tokens, NULL))
        abort();
    vq_signal_free(copy);
    vq_tokens_free(tokens);
    vq_signal_free(signal);
}

/* Any vector has codes, and they decode; numbers may overflow. */
static void use_quantizer(const vq_quantizer *q)
{
    const size_t d = vq_quantizer_dim(q), levels = vq_quantizer_levels(q);
    float *x = calloc(3 * d, sizeof *x);
    uint32_t *codes = calloc(3 * levels, sizeof *codes);
    if (!x || !codes)
        abort();
    for (size_t i = 0; i < 3 * d; i++)
        x[i] = (float)(i % 7) - 3;
    const vq_status status = vq_quantize(codes, q, x, 3, NULL);
    if (status ? status != VQ_E_NONFINITE : vq_dequantize(x, q, codes, 3, NULL) != VQ_OK)
        abort();
    free(x);
    free(codes);
}

static void use_multiscale(const vq_multiscale *m)
{
    const vq_multiscale_design *design = vq_multiscale_get_design(m);
    const size_t floats = (size_t)design->rows * design->columns * design->channels;
    if (floats > 1 << 12 || vq_multiscale_tokens(m, 0) > 1 << 12)
        return; /* slow, and nothing new */
    float *x = calloc(floats, sizeof *x);
    uint32_t *codes = calloc(vq_multiscale_tokens(m, 0), sizeof *codes);
    if (!x || !codes)
        abort();
    for (size_t i = 0; i < floats; i++)
        x[i] = (float)(i % 7) - 3;
    const vq_status status = vq_multiscale_encode(codes, m, x, 1, NULL);
    if (status ? status != VQ_E_NONFINITE : vq_multiscale_decode(x, m, codes, 1, NULL) != VQ_OK)
        abort();
    free(x);
    free(codes);
}

/* Any state has best tokens, and the logits are finite; numbers may overflow. */
static void use_head(const vq_head *head)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&info, head);
    float *state = calloc(info.d, sizeof *state), logit, log_prob,
          *all = calloc(info.v, sizeof *all);
    uint32_t id, drawn;
    if (!state || !all)
        abort();
    for (size_t i = 0; i < info.d; i++)
        state[i] = (float)(i % 7) - 3;
    vq_status status = vq_head_topk(&id, &logit, NULL, NULL, head, state, 1, 1, NULL);
    if (!status)
        status = vq_head_logits(all, NULL, NULL, head, state, 1, NULL);
    if (!status)
        status = vq_head_log_probs(&log_prob, NULL, head, state, 1, &id, 1, NULL);
    if (!status)
        status = vq_head_sample(&drawn, NULL, NULL, head, state, 1, NULL, NULL);
    if (status && status != VQ_E_NONFINITE)
        abort();
    free(state);
    free(all);
}

/* Give the file a true seal if it has one at all: else no engine would ever get past it. */
static void mend_seal(uint8_t *file, size_t size)
{
    static const char key[] = "\"" VQI_SEAL_KEY "\":\"";
    const size_t length = sizeof key - 1;
    for (size_t at = 0; at + length + VQI_SEAL_SIZE <= size; at++)
        if (!memcmp(file + at, key, length)) {
            char digits[VQI_SEAL_SIZE + 1];
            vqi_seal(digits, file, size, at + length);
            memcpy(file + at + length, digits, VQI_SEAL_SIZE);
            return;
        }
}

static void use(const uint8_t *data, size_t size)
{
    vq_tensors *set;
    vq_quantizer *quantizer;
    vq_multiscale *multiscale;
    vq_codec *codec;
    vq_head *head;
    if (vq_safetensors_parse(&set, data, size, "input", NULL))
        return;
    if (!vq_quantizer_load(&quantizer, set, "", NULL)) {
        use_quantizer(quantizer);
        vq_quantizer_free(quantizer);
    }
    if (!vq_quantizer_import(
            &quantizer, set,
            &(vq_import_opts){sizeof(vq_import_opts), "*", "product", VQ_METRIC_COSINE}, NULL))
        vq_quantizer_free(quantizer);
    if (!vq_multiscale_load(&multiscale, set, "", NULL)) {
        use_multiscale(multiscale);
        vq_multiscale_free(multiscale);
    }
    if (!vq_head_load(&head, set, "", NULL)) {
        use_head(head);
        vq_head_free(head);
    }
    vq_tensors_free(set);
    if (!vq_codec_open_memory(&codec, data, size, "input", NULL)) {
        use_codec(codec);
        vq_codec_free(codec);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *mended = malloc(size ? size : 1);
    if (!mended)
        return 0;
    if (size)
        memcpy(mended, data, size);
    mend_seal(mended, size);
    use(mended, size);
    free(mended);
    return 0;
}
