/* SPDX-License-Identifier: Apache-2.0 */
/* A picture to tokens and back: encode_decode_image picture.png tokens.bin copy.png */
#include <stdio.h>

#include "codecs/codec.h"
#include "codecs/image_metrics.h"
#include "io/image.h"
#include "io/tokens_file.h"

int main(int argc, char **argv)
{
    vq_codec *codec = NULL;
    vq_signal *picture = NULL, *copy = NULL;
    vq_tokens *tokens = NULL;
    vq_tokens *stored = NULL;
    vq_tokens_info info;
    vq_image_quality quality;

    if (argc != 4) {
        fprintf(stderr, "usage: %s picture.png tokens.bin copy.png\n", argv[0]);
        return 2;
    }

    /* Each call returns VQ_OK, or a status whose sentence vq_last_error() knows. */
    vq_status status = vq_codec_open(&codec, "image", NULL); /* the built-in model */
    if (!status)
        status = vq_image_read(&picture, argv[1], NULL);
    if (!status)
        status = vq_codec_encode(&tokens, codec, picture, NULL);
    if (!status)
        status = vq_tokens_write(argv[2], tokens, VQ_PACKING_BITS, NULL);

    /* What follows could be another program, on another day. */
    if (!status)
        status = vq_tokens_read(&stored, &info, argv[2], NULL);
    if (!status)
        status = vq_codec_decode(&copy, codec, stored, NULL);
    if (!status)
        status = vq_png_write(argv[3], copy, 0, NULL);
    if (!status)
        status = vq_image_compare(&quality, picture, copy);

    if (status)
        fprintf(stderr, "%s: %s\n", argv[0], vq_last_error());
    else
        printf("%s: %zu x %zu pixels, %llu bytes of tokens, PSNR %.2f dB\n", argv[1],
               picture->shape[1], picture->shape[0], (unsigned long long)info.file_bytes,
               quality.psnr_db);

    vq_signal_free(copy);
    vq_signal_free(picture);
    vq_tokens_free(stored);
    vq_tokens_free(tokens);
    vq_codec_free(codec);
    return status ? 1 : 0;
}
