/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "io/sound.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A second of memory at most: whatever is declared, a short file must not take long or much. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_sound_frames = 1 << 20;
    vq_sound_opts opts = VQ_SOUND_OPTS_INIT;
    opts.limits = &limits;
    opts.rate = size % 2 ? 24000 : 0;
    opts.channels = size % 4 < 2 ? 1 : 0;
    vq_sound_source *source;
    vq_sound_info info;
    if (vq_sound_source_open_memory(&source, data, size, "sound", &opts))
        return 0;
    vq_sound_source_info(&info, source);
    static float block[1000 * 8];
    size_t got;
    while (!vq_sound_source_read(source, block, 1000, &got) && got)
        for (size_t i = 0; i < got * info.channels; i++)
            if (!isfinite(block[i]))
                abort();
    vq_sound_source_free(source);
    return 0;
}
