/* SPDX-License-Identifier: Apache-2.0 */
/* A quantizer and a codec from any bytes; one that opens must encode and decode a small picture. */
#include <stdlib.h>

#include "codecs/codec.h"
#include "io/safetensors.h"
#include "vq/quantizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_codec(const vq_codec *codec)
{
    const size_t shape[3] = {33, 20, 3};
    vq_signal *picture, *copy = NULL;
    vq_tokens *tokens = NULL;
    if (vq_signal_create(&picture, VQ_KIND_IMAGE, 3, shape))
        abort();
    for (size_t i = 0; i < vq_signal_count(picture); i++)
        picture->data[i] = (float)(i % 251) / 250.0f;
    const vq_status status = vq_codec_encode(&tokens, codec, picture, NULL);
    /* Tables of enormous numbers overflow, which has a status; nothing else may go wrong. */
    if (status && status != VQ_E_NONFINITE)
        abort();
    if (!status && vq_codec_decode(&copy, codec, tokens, NULL))
        abort();
    vq_signal_free(copy);
    vq_tokens_free(tokens);
    vq_signal_free(picture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_tensors *set;
    vq_quantizer *quantizer;
    vq_codec *codec;
    if (vq_safetensors_parse(&set, data, size, "input", NULL))
        return 0;
    if (!vq_quantizer_load(&quantizer, set, "", NULL))
        vq_quantizer_free(quantizer);
    vq_tensors_free(set);
    if (!vq_codec_open_memory(&codec, data, size, "input", NULL)) {
        use_codec(codec);
        vq_codec_free(codec);
    }
    return 0;
}
