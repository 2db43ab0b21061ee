/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/limits.h"

#include "vq/error_internal.h"
#include "vq/options_internal.h"

vq_status vq_limits_resolve(vq_limits *out, const vq_limits *limits)
{
    const vq_status status = vqi_options(out, sizeof *out, limits, "vq_limits");
    if (status)
        return status;
#define DEFAULT(field, value)                                                                      \
    if (!out->field)                                                                               \
    out->field = (value)
    DEFAULT(max_file_bytes, (uint64_t)8 << 30);
    DEFAULT(max_alloc_bytes, (uint64_t)4 << 30);
    DEFAULT(max_image_side, 16384);
    DEFAULT(max_image_pixels, (uint64_t)1 << 28);
    DEFAULT(max_codewords, 1u << 20);
    DEFAULT(max_dim, 4096);
    DEFAULT(max_levels, VQ_MAX_LEVELS);
    DEFAULT(max_tokens, (uint64_t)1 << 30);
    DEFAULT(max_tensors, 16384);
    DEFAULT(max_header_bytes, 16u << 20);
    DEFAULT(max_json_depth, 64);
    DEFAULT(max_sound_rate, 768000);
    DEFAULT(max_sound_channels, 8);
    DEFAULT(max_sound_frames, (uint64_t)1 << 34);
#undef DEFAULT
    if (out->max_levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "vq_limits.max_levels is %u (at most %d)", out->max_levels,
                        VQ_MAX_LEVELS);
    return VQ_OK;
}
