/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader takes, the writer writes so that it is read the same. Checksums are mended first: else no
   engine would ever get past them. */
#include <stdlib.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/digest.h"
#include "io/tokens_format_internal.h"
#include "rvq/residual.h"

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

/* Tables for the K of the files in tests/malformed/tokens, so that the packing "entropy" is reached. */
static const vq_code_tables *tables(void)
{
    static vq_code_tables *made;
    static const uint32_t k[2] = {16, 8};
    static const size_t grid[2] = {6, 8};
    if (made)
        return made;
    vq_codebook *codebooks[2];
    vq_quantizer *quantizer;
    vq_table_counts *counts;
    vq_tokens *tokens;
    float codewords[16];
    for (int i = 0; i < 16; i++)
        codewords[i] = (float)i;
    for (int l = 0; l < 2; l++)
        if (vq_codebook_create(&codebooks[l], codewords, k[l], 1, VQ_METRIC_EUCLIDEAN,
                               VQ_DTYPE_F32))
            abort();
    if (vq_residual_create(&quantizer, codebooks, 2) ||
        vq_table_counts_create(&counts, quantizer) || vq_tokens_create(&tokens, 2, grid, 2, k))
        abort();
    for (uint32_t i = 0; i < 96; i++)
        tokens->codes[i] = i / 5 % 8;
    if (vq_table_counts_add(counts, 0, tokens) || vq_code_tables_create(&made, counts, 1))
        abort();
    vq_tokens_free(tokens);
    vq_table_counts_free(counts);
    vq_quantizer_free(quantizer);
    return made;
}

static void use(const uint8_t *data, size_t size)
{
    vq_limits limits = VQ_LIMITS_INIT;
    limits.max_tokens = 1 << 20;
    vq_tokens *tokens, *copy;
    vq_bytes bytes;
    if (vq_tokens_parse_with(&tokens, NULL, data, size, "input", tables(), &limits))
        return;
    for (int packing = VQ_PACKING_RAW; packing <= VQ_PACKING_ENTROPY; packing++) {
        const vq_status status =
            vq_tokens_serialize_with(&bytes, tokens, (vq_packing)packing, tables());
        if (packing == VQ_PACKING_ENTROPY && status == VQ_E_ARG)
            continue; /* tokens of other K than the tables' */
        if (status ||
            vq_tokens_parse_with(&copy, NULL, bytes.data, bytes.size, "copy", tables(), &limits) ||
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
