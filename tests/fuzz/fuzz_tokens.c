/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader takes, the writer writes so that it is read the same. */
#include <stdlib.h>
#include <string.h>

#include "io/tokens_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tokens = 1 << 20;
    vq_tokens *tokens, *copy;
    vq_bytes bytes;
    if (vq_tokens_parse(&tokens, NULL, data, size, "input", &limits))
        return 0;
    for (int packing = VQ_PACKING_RAW; packing <= VQ_PACKING_BITS; packing++) {
        if (vq_tokens_serialize(&bytes, tokens, (vq_packing)packing) ||
            vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "copy", &limits) ||
            memcmp(tokens->codes, copy->codes,
                   tokens->levels * vq_tokens_positions(tokens) * sizeof *tokens->codes) != 0)
            abort();
        vq_tokens_free(copy);
        vq_bytes_clear(&bytes);
    }
    vq_tokens_free(tokens);
    return 0;
}
