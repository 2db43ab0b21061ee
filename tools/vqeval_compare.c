/* SPDX-License-Identifier: Apache-2.0 */
/* Two pictures: how close they are, and a drawing that shows where they are not. */
#include <string.h>

#include "io/image.h"
#include "vqeval.h"

static size_t colours(const vq_signal *picture)
{
    return picture->shape[2] >= 3 ? 3 : 1;
}

/** The picture without its alpha channel. */
static vq_status opaque(vq_signal **out, const vq_signal *picture)
{
    const size_t c = colours(picture);
    const size_t shape[3] = {picture->shape[0], picture->shape[1], c};
    const vq_status status = vq_signal_create(out, VQ_KIND_IMAGE, 3, shape);
    if (status)
        return status;
    for (size_t i = 0; i < shape[0] * shape[1]; i++)
        memcpy((*out)->data + i * c, picture->data + i * picture->shape[2],
               c * sizeof *picture->data);
    return VQ_OK;
}

int vqeval_compare(vq_image_quality *out, const cli_common *common, const char *name,
                   const vq_signal *original, const vq_signal *decoded)
{
    if (original->shape[0] != decoded->shape[0] || original->shape[1] != decoded->shape[1] ||
        colours(original) != colours(decoded))
        return cli_fault(common, name, "is %zux%zu %s, but the original is %zux%zu %s",
                         decoded->shape[1], decoded->shape[0], cli_channels_name(decoded->shape[2]),
                         original->shape[1], original->shape[0],
                         cli_channels_name(original->shape[2]));
    vq_signal *a = NULL, *b = NULL;
    vq_status status = opaque(&a, original);
    if (!status)
        status = opaque(&b, decoded);
    if (!status)
        status = vq_image_compare(out, a, b);
    vq_signal_free(a);
    vq_signal_free(b);
    return status ? cli_fail(common, name, status) : CLI_DONE;
}

static float clip(float value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

int vqeval_draw(const cli_common *common, const vqeval_settings *settings,
                const vq_signal *original, const vq_signal *decoded)
{
    enum { GAP = 8 };
    const size_t h = original->shape[0], w = original->shape[1], c = colours(original);
    const size_t a = original->shape[2], b = decoded->shape[2];
    const size_t shape[3] = {h, 3 * w + 2 * GAP, c};
    vq_signal *side;
    vq_status status = vq_signal_create(&side, VQ_KIND_IMAGE, 3, shape);
    if (status)
        return cli_fail(common, settings->side, status);
    for (size_t i = 0; i < vq_signal_count(side); i++)
        side->data[i] = 1;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++)
            for (size_t i = 0; i < c; i++) {
                float *out = side->data + (y * shape[1] + x) * c + i;
                const float before = clip(original->data[(y * w + x) * a + i]);
                const float after = clip(decoded->data[(y * w + x) * b + i]);
                out[0] = before;
                out[(w + GAP) * c] = after;
                out[2 * (w + GAP) * c] = clip(0.5f + (float)settings->amplify * (after - before));
            }
    status = vq_png_write(settings->side, side, 8, NULL);
    vq_signal_free(side);
    if (status)
        return cli_fail(common, settings->side, status);
    cli_note(common, "%s: original, decoded, error x %g (grey is none)", settings->side,
             settings->amplify);
    return CLI_DONE;
}

void vqeval_json_quality(json_t *object, const vq_image_quality *quality)
{
    json_object_set_new(object, "psnr_db", cli_json_real(quality->psnr_db));
    json_object_set_new(object, "mse", cli_json_real(quality->mse));
    json_object_set_new(object, "ssim", cli_json_real(quality->ssim));
    json_object_set_new(object, "ms_ssim", cli_json_real(quality->ms_ssim));
}
