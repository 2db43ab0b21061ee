/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "io/dimensions_internal.h"
#include "io/head_internal.h"
#include "io/packing_internal.h"
#include "io/tokens_entropy_internal.h"
#include "io/tokens_format_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* The tokens' description; NULL when there is no memory. An entry that says nothing is left out. */
static json_t *head_json(const vq_tokens *tokens, vq_packing packing)
{
    size_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < tokens->levels; l++)
        k[l] = tokens->k[l];
    json_t *head = json_object();
    int failed = json_object_set_new(head, "kind", json_string(vq_kind_name(tokens->kind)));
    failed |= json_object_set_new(head, "shape",
                                  vqi_head_sizes(tokens->source_shape, tokens->source_ndim));
    if (tokens->rate != 0)
        failed |= json_object_set_new(head, "rate", json_real(tokens->rate));
    if (tokens->bits)
        failed |= json_object_set_new(head, "bits", json_integer(tokens->bits));
    failed |= json_object_set_new(head, "grid", vqi_head_sizes(tokens->grid, tokens->grid_ndim));
    failed |= json_object_set_new(head, "k", vqi_head_sizes(k, tokens->levels));
    failed |= json_object_set_new(head, "packing", json_string(vq_packing_name(packing)));
    failed |= vqi_head_put_codec(head, tokens->codec, tokens->model_sha256);
    if (tokens->dimensions)
        failed |=
            json_object_set_new(head, "dimensions", vqi_dimensions_to_json(tokens->dimensions));
    if (failed) {
        json_decref(head);
        return NULL;
    }
    return head;
}

/* coded: the payload if it is there already, codes_size bytes; NULL = to be packed in place. */
static vq_status assemble(vq_bytes *out, const vq_tokens *tokens, vq_packing packing,
                          const char *head, size_t head_size, const uint8_t *coded,
                          size_t codes_size)
{
    const size_t head_at = VQI_FILE_HEADER;
    const size_t codes_at = vqi_chunk_next(head_at + VQI_CHUNK_HEADER + head_size + 4);
    size_t end_at;
    if (!vqi_add(&end_at, codes_at, codes_size) ||
        !vqi_add(&end_at, end_at, 4 + 2 * VQI_CHUNK_HEADER + 2 * VQI_CHUNK_ALIGN))
        return vqi_fail(VQ_E_ARG, "the tokens are larger than the address space");
    end_at = vqi_chunk_next(codes_at + VQI_CHUNK_HEADER + codes_size + 4);
    const size_t size = end_at + VQI_CHUNK_HEADER + 8 + 4;
    uint8_t *file = vqi_calloc(size, 1);
    if (!file)
        return vqi_fail_nomem(size);
    vqi_file_header_write(file, VQI_TOKENS_MAGIC);
    memcpy(file + head_at + VQI_CHUNK_HEADER, head, head_size);
    vqi_chunk_seal(file, head_at, "HEAD", head_size);
    if (coded)
        memcpy(file + codes_at + VQI_CHUNK_HEADER, coded, codes_size);
    else
        vqi_pack(file + codes_at + VQI_CHUNK_HEADER, tokens->codes, vq_tokens_positions(tokens),
                 tokens->levels, tokens->k, packing);
    vqi_chunk_seal(file, codes_at, "TOKS", codes_size);
    vqi_store_u64(file + end_at + VQI_CHUNK_HEADER, size);
    vqi_chunk_seal(file, end_at, "TEND", 8);
    out->data = file;
    out->size = size;
    return VQ_OK;
}

/* What the reader will ask of HEAD, beyond what vq_tokens_validate() knows. */
vq_status vqi_tokens_check_source(const vq_tokens *tokens)
{
    if (tokens->kind < VQ_KIND_IMAGE || tokens->kind > VQ_KIND_ACTION)
        return vqi_fail(VQ_E_ARG, "the tokens' kind is not set");
    if (tokens->source_ndim < 1 || tokens->source_ndim > 3)
        return vqi_fail(VQ_E_ARG, "the tokens' source has %u dimensions (1 to 3)",
                        tokens->source_ndim);
    for (uint32_t i = 0; i < tokens->source_ndim; i++)
        if (!tokens->source_shape[i] || tokens->source_shape[i] > SIZE_MAX >> 1)
            return vqi_fail(VQ_E_ARG, "dimension %u of the tokens' source is %zu", i,
                            tokens->source_shape[i]);
    if (!(tokens->rate >= 0) || !isfinite(tokens->rate) || tokens->bits > 64)
        return vqi_fail(VQ_E_ARG, "the tokens' rate or bits are not possible");
    if (!memchr(tokens->codec, 0, sizeof tokens->codec))
        return vqi_fail(VQ_E_ARG, "the tokens' codec name does not end");
    if (!vqi_is_utf8(tokens->codec))
        return vqi_fail(VQ_E_ARG, "the tokens' codec name is not UTF-8");
    const vq_dimensions *d = tokens->dimensions;
    if (d && (tokens->kind != VQ_KIND_ACTION ||
              d->count != tokens->source_shape[tokens->source_ndim - 1]))
        return vqi_fail(VQ_E_ARG, "the tokens' dimensions are not those of their source");
    for (size_t i = 0; d && d->names && i < d->count; i++)
        if (!vqi_is_utf8(d->names[i]))
            return vqi_fail(VQ_E_ARG, "the name of dimension %zu is not UTF-8", i);
    return d ? vq_dimensions_validate(d) : VQ_OK;
}

/* The payload of an entropy coded file, or the size of one that is packed in place. */
static vq_status prepare_payload(uint8_t **coded, size_t *size, const vq_tokens *tokens,
                                 vq_packing packing, const vq_code_tables *tables)
{
    if (packing != VQ_PACKING_ENTROPY)
        return vqi_levels_bytes(size, vq_tokens_positions(tokens), tokens->levels, tokens->k,
                                packing)
                   ? VQ_OK
                   : vqi_fail(VQ_E_ARG, "the tokens are larger than the address space");
    if (!tables)
        return vqi_fail(VQ_E_ARG, "the packing \"entropy\" needs tables of probabilities, and the "
                                  "model has none (take \"bits\")");
    const vq_status status = vqi_entropy_check(tokens, tables);
    return status ? status : vqi_entropy_pack(coded, size, tokens, tables);
}

vq_status vq_tokens_serialize_with(vq_bytes *out, const vq_tokens *tokens, vq_packing packing,
                                   const vq_code_tables *tables)
{
    out->data = NULL;
    out->size = 0;
    if (packing < VQ_PACKING_RAW || packing > VQ_PACKING_ENTROPY)
        return vqi_fail(VQ_E_ARG, "%d is not a packing of token files", (int)packing);
    vq_status status = vq_tokens_validate(tokens);
    if (!status)
        status = vqi_tokens_check_source(tokens);
    uint8_t *coded = NULL;
    size_t size = 0;
    if (!status)
        status = prepare_payload(&coded, &size, tokens, packing, tables);
    if (status)
        return status;
    char *head;
    size_t head_size;
    status = vqi_head_text(&head, &head_size, head_json(tokens, packing));
    if (!status)
        status = assemble(out, tokens, packing, head, head_size, coded, size);
    vq_free(head);
    vq_free(coded);
    return status;
}

vq_status vq_tokens_serialize(vq_bytes *out, const vq_tokens *tokens, vq_packing packing)
{
    return vq_tokens_serialize_with(out, tokens, packing, NULL);
}

vq_status vq_tokens_write(const char *path, const vq_tokens *tokens, vq_packing packing,
                          const vq_write_opts *opts)
{
    vq_bytes bytes;
    vq_status status = vq_tokens_serialize(&bytes, tokens, packing);
    if (!status)
        status = vq_file_write(path, bytes.data, bytes.size, opts);
    vq_bytes_clear(&bytes);
    return status;
}
