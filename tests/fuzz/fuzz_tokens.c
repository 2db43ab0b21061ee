/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader takes, the writer writes so that it is read the same. Checksums are mended first: else no
   engine would ever get past them. */
#include <stdlib.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/digest.h"
#include "io/tokens_format_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_checksums(uint8_t *file, size_t size)
{
    if (size < VQI_FILE_HEADER)
        return;
    vqi_store_u32(file + 44, vq_crc32c(0, file, 44));
    size_t at = VQI_FILE_HEADER;
    while (size - at >= VQI_CHUNK_HEADER + 4) {
        const uint64_t length = vqi_load_u64(file + at + 8);
        if (length > size - at - VQI_CHUNK_HEADER - 4)
            return;
        const size_t end = at + VQI_CHUNK_HEADER + (size_t)length;
        vqi_store_u32(file + end, vq_crc32c(0, file + at, end - at));
        at =
            (end + 4 + VQI_CHUNK_HEADER + VQI_CHUNK_ALIGN - 1) / VQI_CHUNK_ALIGN * VQI_CHUNK_ALIGN -
            VQI_CHUNK_HEADER;
        if (at > size)
            return;
    }
}

static int same(const vq_tokens *a, const vq_tokens *b)
{
    return a->kind == b->kind && a->source_ndim == b->source_ndim &&
           !memcmp(a->source_shape, b->source_shape, sizeof a->source_shape) &&
           !(a->rate < b->rate) && !(a->rate > b->rate) && a->bits == b->bits &&
           a->grid_ndim == b->grid_ndim && !memcmp(a->grid, b->grid, sizeof a->grid) &&
           a->levels == b->levels && !memcmp(a->k, b->k, sizeof a->k) &&
           !memcmp(a->codec, b->codec, sizeof a->codec) &&
           !memcmp(a->model_sha256, b->model_sha256, sizeof a->model_sha256) &&
           !memcmp(a->codes, b->codes, a->levels * vq_tokens_positions(a) * sizeof *a->codes);
}

static void use(const uint8_t *data, size_t size)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tokens = 1 << 20;
    vq_tokens *tokens, *copy;
    vq_bytes bytes;
    if (vq_tokens_parse(&tokens, NULL, data, size, "input", &limits))
        return;
    for (int packing = VQ_PACKING_RAW; packing <= VQ_PACKING_BITS; packing++) {
        if (vq_tokens_serialize(&bytes, tokens, (vq_packing)packing) ||
            vq_tokens_parse(&copy, NULL, bytes.data, bytes.size, "copy", &limits) ||
            !same(tokens, copy))
            abort();
        vq_tokens_free(copy);
        vq_bytes_clear(&bytes);
    }
    vq_tokens_free(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *mended = malloc(size ? size : 1);
    if (!mended)
        return 0;
    use(data, size);
    if (size)
        memcpy(mended, data, size);
    mend_checksums(mended, size);
    use(mended, size);
    free(mended);
    return 0;
}
