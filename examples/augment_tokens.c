/* SPDX-License-Identifier: Apache-2.0 */
/* Two pictures as tokens, changed as training from tokens does, and seen again: augment_tokens a.png b.png out.png SEED */
#include <stdio.h>
#include <stdlib.h>

#include "augment/augment.h"
#include "augment/depth_mask.h"
#include "codecs/codec.h"
#include "io/image.h"

/** Picture to tokens. In training they would come from a file. */
static vq_status encode(vq_tokens **tokens, const vq_codec *codec, const char *path)
{
    vq_signal *picture = NULL;
    vq_status status = vq_image_read(&picture, path, NULL);
    if (!status)
        status = vq_codec_encode(tokens, codec, picture, NULL);
    vq_signal_free(picture);
    return status;
}

/** One training sample: everything that is random comes of `draw`. */
static vq_status augment(vq_tokens *tokens, vq_tokens *other, const vq_quantizer *quantizer,
                         const vq_synonyms *synonyms, vq_draw draw)
{
    vq_token_crop crop;
    double share = 0;

    vq_status status = vq_tokens_draw_crop(&crop, tokens, 0.3, 4.0 / 3, draw);
    if (!status)
        status = vq_tokens_crop(tokens, quantizer, &crop, VQ_MULTISCALE_BICUBIC, NULL);
    if (!status)
        status = vq_tokens_color_adapt(tokens, other, quantizer, NULL);
    if (!status)
        status = vq_tokens_swap_synonyms(tokens, synonyms, 0.25, draw);
    if (!status)
        status = vq_tokens_cutmix(&share, tokens, other, draw);
    if (!status)
        printf("a crop of %.1f x %.1f positions, in the colours of the other picture; %.0f %% are "
               "its own\n",
               crop.rows, crop.columns, 100 * share);
    return status;
}

/** What a masked model of residual tokens (ResGen) would see of them: half of the codes, shallow ones first. */
static vq_status mask(const vq_tokens *tokens, vq_draw draw)
{
    const size_t positions = vq_tokens_positions(tokens);
    const uint64_t masked = positions * tokens->levels / 2;
    uint32_t *visible = malloc(positions * sizeof *visible);
    size_t whole = 0;

    if (!visible)
        return VQ_E_NOMEM;
    const vq_status status = vq_depth_mask_draw(visible, positions, tokens->levels, masked, draw);
    for (size_t i = 0; !status && i < positions; i++)
        whole += visible[i] == tokens->levels;
    if (!status)
        printf("%llu of %zu codes masked; %zu of %zu positions keep all levels\n",
               (unsigned long long)masked, positions * tokens->levels, whole, positions);
    free(visible);
    return status;
}

int main(int argc, char **argv)
{
    vq_codec *codec = NULL;
    vq_codec_info info;
    vq_tokens *tokens = NULL, *other = NULL;
    vq_synonyms *synonyms = NULL;
    vq_signal *seen = NULL;

    if (argc != 5) {
        fprintf(stderr, "usage: %s a.png b.png out.png SEED\n", argv[0]);
        return 2;
    }
    const vq_draw draw = {strtoull(argv[4], NULL, 10), 0};

    vq_status status = vq_codec_open(&codec, "image", NULL);
    if (!status) {
        vq_codec_get_info(&info, codec);
        status = vq_synonyms_create(&synonyms, info.quantizer, 5, 0); /* once for all samples */
    }
    if (!status)
        status = encode(&tokens, codec, argv[1]);
    if (!status)
        status = encode(&other, codec, argv[2]);
    if (!status)
        status = augment(tokens, other, info.quantizer, synonyms, draw);
    if (!status)
        status = mask(tokens, draw);

    /* Training needs no pixels; people like to see what became of them. */
    if (!status)
        status = vq_codec_decode(&seen, codec, tokens, NULL);
    if (!status)
        status = vq_png_write(argv[3], seen, 0, NULL);
    if (status)
        fprintf(stderr, "%s: %s\n", argv[0], vq_last_error());

    vq_signal_free(seen);
    vq_tokens_free(tokens);
    vq_tokens_free(other);
    vq_synonyms_free(synonyms);
    vq_codec_free(codec);
    return status ? 1 : 0;
}
