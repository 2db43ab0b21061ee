/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "io/actions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read can be written, both ways, and read again to the same numbers. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_signal *signal, *again;
    vq_dimensions *dimensions;
    if (!vq_dimensions_parse_stats(&dimensions, data, size, NULL, NULL, NULL) &&
        vq_dimensions_validate(dimensions))
        abort();
    vq_dimensions_free(dimensions);
    if (vq_actions_parse(&signal, data, size, NULL, NULL))
        return 0;
    for (int format = VQ_ACTIONS_NPY; format <= VQ_ACTIONS_CSV; format++) {
        vq_bytes bytes;
        if (vq_actions_serialize(&bytes, signal, (vq_actions_format)format) ||
            vq_actions_parse(&again, bytes.data, bytes.size, NULL, NULL))
            abort();
        const size_t count = vq_signal_count(signal);
        if (vq_signal_count(again) != count ||
            memcmp(again->data, signal->data, count * sizeof(float)) != 0)
            abort();
        vq_signal_free(again);
        vq_bytes_clear(&bytes);
    }
    vq_signal_free(signal);
    return 0;
}
