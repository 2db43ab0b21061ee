/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/digest.h"
#include "io/dimensions_internal.h"
#include "io/tokens_entropy_internal.h"
#include "io/tokens_format_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

const char *vq_packing_name(vq_packing packing)
{
    static const char *const names[] = {"raw", "bits", "entropy"};
    return packing >= VQ_PACKING_RAW && packing <= VQ_PACKING_ENTROPY ? names[packing] : NULL;
}

unsigned vqi_raw_width(uint32_t levels, const uint32_t *k)
{
    uint32_t largest = 1;
    for (uint32_t l = 0; l < levels; l++)
        largest = k[l] > largest ? k[l] : largest;
    return largest <= 1u << 8 ? 1 : largest <= 1u << 16 ? 2 : 4;
}

int vqi_level_bytes(size_t *bytes, size_t positions, uint32_t k, vq_packing packing,
                    unsigned raw_width)
{
    if (packing == VQ_PACKING_RAW)
        return vqi_mul(bytes, positions, raw_width);
    size_t bits;
    if (!vqi_mul(&bits, positions, vqi_code_bits(k)) || !vqi_add(&bits, bits, 7))
        return 0;
    *bytes = bits / 8;
    return 1;
}

static void pack_raw(uint8_t *out, const uint32_t *codes, size_t n, unsigned width)
{
    for (size_t i = 0; i < n; i++, out += width)
        for (unsigned b = 0; b < width; b++)
            out[b] = (uint8_t)(codes[i] >> 8 * b);
}

/* Codes one after the other from the least significant bit of the first byte up. */
static void pack_bits(uint8_t *out, const uint32_t *codes, size_t n, unsigned bits)
{
    uint64_t waiting = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        waiting |= (uint64_t)codes[i] << have;
        for (have += bits; have >= 8; have -= 8, waiting >>= 8)
            *out++ = (uint8_t)waiting;
    }
    if (have)
        *out = (uint8_t)waiting;
}

/* NULL when there is no memory: an array that lacks one of its values would be a lie in the file. */
static json_t *sizes(const size_t *values, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_integer((json_int_t)values[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* The tokens' description; NULL when there is no memory. An entry that says nothing is left out. */
static json_t *head_json(const vq_tokens *tokens, vq_packing packing)
{
    static const uint8_t no_model[VQ_SHA256_SIZE];
    size_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < tokens->levels; l++)
        k[l] = tokens->k[l];
    json_t *head = json_object();
    int failed = json_object_set_new(head, "kind", json_string(vq_kind_name(tokens->kind)));
    failed |= json_object_set_new(head, "shape", sizes(tokens->source_shape, tokens->source_ndim));
    if (tokens->rate != 0)
        failed |= json_object_set_new(head, "rate", json_real(tokens->rate));
    if (tokens->bits)
        failed |= json_object_set_new(head, "bits", json_integer(tokens->bits));
    failed |= json_object_set_new(head, "grid", sizes(tokens->grid, tokens->grid_ndim));
    failed |= json_object_set_new(head, "k", sizes(k, tokens->levels));
    failed |= json_object_set_new(head, "packing", json_string(vq_packing_name(packing)));
    if (*tokens->codec)
        failed |= json_object_set_new(head, "codec", json_string(tokens->codec));
    if (memcmp(tokens->model_sha256, no_model, sizeof no_model)) {
        static const char digits[] = "0123456789abcdef";
        char model[2 * VQ_SHA256_SIZE + 1] = "";
        for (int i = 0; i < VQ_SHA256_SIZE; i++) {
            model[2 * i] = digits[tokens->model_sha256[i] >> 4];
            model[2 * i + 1] = digits[tokens->model_sha256[i] & 15];
        }
        failed |= json_object_set_new(head, "model", json_string(model));
    }
    if (tokens->dimensions)
        failed |=
            json_object_set_new(head, "dimensions", vqi_dimensions_to_json(tokens->dimensions));
    if (failed) {
        json_decref(head);
        return NULL;
    }
    return head;
}

/* The offset at which a chunk's header stands when the one before it ended at `end`. */
static size_t next_header(size_t end)
{
    const size_t payload =
        (end + VQI_CHUNK_HEADER + VQI_CHUNK_ALIGN - 1) / VQI_CHUNK_ALIGN * VQI_CHUNK_ALIGN;
    return payload - VQI_CHUNK_HEADER;
}

/* Header before, checksum after a payload that is in place at header + 16; returns where the chunk ends. */
static size_t seal_chunk(uint8_t *file, size_t header, const char *type, size_t length)
{
    memcpy(file + header, type, 4);
    vqi_store_u32(file + header + 4, 0);
    vqi_store_u64(file + header + 8, length);
    const size_t end = header + VQI_CHUNK_HEADER + length;
    vqi_store_u32(file + end, vq_crc32c(0, file + header, end - header));
    return end + 4;
}

static vq_status payload_size(size_t *size, const vq_tokens *tokens, vq_packing packing)
{
    const unsigned width = vqi_raw_width(tokens->levels, tokens->k);
    *size = 0;
    for (uint32_t l = 0; l < tokens->levels; l++) {
        size_t bytes;
        if (!vqi_level_bytes(&bytes, vq_tokens_positions(tokens), tokens->k[l], packing, width) ||
            !vqi_add(size, *size, bytes))
            return vqi_fail(VQ_E_ARG, "the tokens are larger than the address space");
    }
    return VQ_OK;
}

static void pack(uint8_t *out, const vq_tokens *tokens, vq_packing packing)
{
    const size_t positions = vq_tokens_positions(tokens);
    const unsigned width = vqi_raw_width(tokens->levels, tokens->k);
    for (uint32_t l = 0; l < tokens->levels; l++) {
        size_t bytes = 0;
        const uint32_t *codes = tokens->codes + l * positions;
        vqi_level_bytes(&bytes, positions, tokens->k[l], packing, width);
        if (packing == VQ_PACKING_RAW)
            pack_raw(out, codes, positions, width);
        else
            pack_bits(out, codes, positions, vqi_code_bits(tokens->k[l]));
        out += bytes;
    }
}

/* coded: the payload if it is there already, codes_size bytes; NULL = to be packed in place. */
static vq_status assemble(vq_bytes *out, const vq_tokens *tokens, vq_packing packing,
                          const char *head, const uint8_t *coded, size_t codes_size)
{
    const size_t head_size = strlen(head);
    const size_t head_at = VQI_FILE_HEADER;
    const size_t codes_at = next_header(head_at + VQI_CHUNK_HEADER + head_size + 4);
    size_t end_at;
    if (!vqi_add(&end_at, codes_at, codes_size) ||
        !vqi_add(&end_at, end_at, 4 + 2 * VQI_CHUNK_HEADER + 2 * VQI_CHUNK_ALIGN))
        return vqi_fail(VQ_E_ARG, "the tokens are larger than the address space");
    end_at = next_header(codes_at + VQI_CHUNK_HEADER + codes_size + 4);
    const size_t size = end_at + VQI_CHUNK_HEADER + 8 + 4;
    uint8_t *file = vqi_calloc(size, 1);
    if (!file)
        return vqi_fail_nomem(size);
    memcpy(file, VQI_TOKENS_MAGIC, 8);
    vqi_store_u16(file + 8, VQI_VERSION_MAJOR);
    vqi_store_u16(file + 10, VQI_VERSION_MINOR);
    vqi_store_u32(file + 44, vq_crc32c(0, file, 44));
    memcpy(file + head_at + VQI_CHUNK_HEADER, head, head_size);
    seal_chunk(file, head_at, "HEAD", head_size);
    if (coded)
        memcpy(file + codes_at + VQI_CHUNK_HEADER, coded, codes_size);
    else
        pack(file + codes_at + VQI_CHUNK_HEADER, tokens, packing);
    seal_chunk(file, codes_at, "TOKS", codes_size);
    vqi_store_u64(file + end_at + VQI_CHUNK_HEADER, size);
    seal_chunk(file, end_at, "TEND", 8);
    out->data = file;
    out->size = size;
    return VQ_OK;
}

/* RFC 3629: no bytes too many for a character, no surrogates, nothing above U+10FFFF. */
static int is_utf8(const char *text)
{
    const uint8_t *at = (const uint8_t *)text;
    while (*at) {
        const unsigned first = *at++;
        const int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        uint32_t value = first & (more ? 0x3fu >> more : 0x7fu);
        if ((first >= 0x80 && first < 0xc2) || first > 0xf4)
            return 0;
        for (int i = 0; i < more; i++, at++) {
            if ((*at & 0xc0) != 0x80)
                return 0;
            value = value << 6 | (*at & 0x3fu);
        }
        if ((more == 2 && value < 0x800) || (more == 3 && value < 0x10000) || value > 0x10ffff ||
            (value >= 0xd800 && value <= 0xdfff))
            return 0;
    }
    return 1;
}

/* What the reader will ask of HEAD, beyond what vq_tokens_validate() knows. */
static vq_status check_source(const vq_tokens *tokens)
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
    if (!is_utf8(tokens->codec))
        return vqi_fail(VQ_E_ARG, "the tokens' codec name is not UTF-8");
    const vq_dimensions *d = tokens->dimensions;
    if (d && (tokens->kind != VQ_KIND_ACTION ||
              d->count != tokens->source_shape[tokens->source_ndim - 1]))
        return vqi_fail(VQ_E_ARG, "the tokens' dimensions are not those of their source");
    for (size_t i = 0; d && d->names && i < d->count; i++)
        if (!is_utf8(d->names[i]))
            return vqi_fail(VQ_E_ARG, "the name of dimension %zu is not UTF-8", i);
    return d ? vq_dimensions_validate(d) : VQ_OK;
}

/* The payload of an entropy coded file, or the size of one that is packed in place. */
static vq_status prepare_payload(uint8_t **coded, size_t *size, const vq_tokens *tokens,
                                 vq_packing packing, const vq_code_tables *tables)
{
    if (packing != VQ_PACKING_ENTROPY)
        return payload_size(size, tokens, packing);
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
    if (!vq_packing_name(packing))
        return vqi_fail(VQ_E_ARG, "%d is not a packing", (int)packing);
    vq_status status = vq_tokens_validate(tokens);
    if (!status)
        status = check_source(tokens);
    uint8_t *coded = NULL;
    size_t size = 0;
    if (!status)
        status = prepare_payload(&coded, &size, tokens, packing, tables);
    if (status)
        return status;
    json_t *json = head_json(tokens, packing);
    char *head = json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    status = head ? assemble(out, tokens, packing, head, coded, size) : vqi_fail_nomem(0);
    /* jansson's texts come from its allocator, which a program may have replaced. */
    json_malloc_t json_alloc;
    json_free_t json_free;
    json_get_alloc_funcs(&json_alloc, &json_free);
    json_free(head);
    json_decref(json);
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
