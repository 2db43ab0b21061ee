/* SPDX-License-Identifier: Apache-2.0 */
#include <codecs/codec.h>
#include <io/image.h>
#include <stdio.h>
#include <string.h>
#include <vq/vq.h>

int main(void)
{
    const char *model = vq_codec_builtin(0);
    vq_codec *codec;
    vq_status status = vq_codec_open(&codec, model, NULL);
    printf("libvq %s opens %s: %s\n", vq_version(), model, vq_status_name(status));
    vq_codec_free(codec);
    return status || strcmp(vq_version(), EXPECTED_VERSION) ||
           !vq_image_sniff("\x89PNG\r\n\x1a\n", 8);
}
