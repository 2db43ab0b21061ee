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

/* The whole file's frame: HEAD first, one TOKS, TEND last, other chunks only if they may be skipped. */
static vq_status read_frame(vqi_chunk *head, vqi_chunk *codes, vq_tokens_info *info,
                            const uint8_t *data, size_t size)
{
    vqi_cursor cursor = vqi_cursor_of(data, size);
    vq_status status = vqi_file_header_read(&info->version_major, &info->version_minor, &cursor,
                                            VQI_TOKENS_MAGIC, "token file");
    int heads = 0, payloads = 0;
    while (!status) {
        vqi_chunk c;
        status = vqi_chunk_take(&c, &cursor);
        if (!status)
            status = vqi_chunk_check(&c);
        if (status)
            return status;
        const int is_head = !strcmp(c.type, "HEAD"), is_codes = !strcmp(c.type, "TOKS");
        if (!heads && !is_head)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: the first chunk is %s, not HEAD", c.offset,
                            c.type);
        if (!strcmp(c.type, "TEND")) {
            if (c.length != 8 || vqi_load_u64(c.payload) != size || vqi_remaining(&cursor))
                return vqi_fail(VQ_E_FORMAT,
                                "byte %zu: the end does not agree with the size of the file, %zu "
                                "bytes",
                                c.offset, size);
            if (!payloads)
                return vqi_fail(VQ_E_FORMAT, "byte %zu: there is no chunk TOKS", c.offset);
            return VQ_OK;
        }
        if ((is_head && heads++) || (is_codes && payloads++))
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a second chunk %s", c.offset, c.type);
        if (is_head)
            *head = c;
        else if (is_codes)
            *codes = c;
        else if (!(c.type[0] & 0x20))
            return vqi_fail(VQ_E_UNSUPPORTED,
                            "byte %zu: a chunk %s, which this library does not know and may not "
                            "skip",
                            c.offset, c.type);
        status = vqi_chunk_skip_padding(&cursor);
    }
    return status;
}

/* What HEAD says, range-checked, before anything is allocated for it. */
typedef struct description {
    vq_tokens tokens; /* without codes */
    vq_packing packing;
    size_t positions;
    vq_dimensions *dimensions; /* of an action, or NULL; owned */
} description;

/* The entries that may be left out. */
static vq_status get_optional(description *d, const json_t *head)
{
    const json_t *rate = json_object_get(head, "rate"), *bits = json_object_get(head, "bits");
    if (rate) {
        d->tokens.rate = json_number_value(rate);
        if (!json_is_number(rate) || !isfinite(d->tokens.rate) || d->tokens.rate <= 0)
            return vqi_head_bad("rate");
    }
    if (bits) {
        if (!json_is_integer(bits) || json_integer_value(bits) < 1 || json_integer_value(bits) > 64)
            return vqi_head_bad("bits");
        d->tokens.bits = (uint32_t)json_integer_value(bits);
    }
    return vqi_head_get_codec(d->tokens.codec, d->tokens.model_sha256, head);
}

static vq_status get_shapes(description *d, const json_t *head, const vq_limits *limits)
{
    uint64_t shape[3] = {1, 1, 1}, grid[3] = {1, 1, 1}, k[VQ_MAX_LEVELS] = {0};
    vq_status status =
        vqi_head_get_sizes(shape, &d->tokens.source_ndim, head, "shape", 3, SIZE_MAX >> 1);
    if (!status)
        status = vqi_head_get_sizes(grid, &d->tokens.grid_ndim, head, "grid", 3, SIZE_MAX >> 1);
    if (!status)
        status = vqi_head_get_sizes(k, &d->tokens.levels, head, "k", VQ_MAX_LEVELS, UINT32_MAX);
    if (status)
        return status;
    d->positions = 1;
    for (int i = 0; i < 3; i++) {
        d->tokens.source_shape[i] = (size_t)shape[i];
        d->tokens.grid[i] = (size_t)grid[i];
        if (!vqi_mul(&d->positions, d->positions, (size_t)grid[i]))
            return vqi_fail(VQ_E_LIMIT, "HEAD: the grid is larger than the address space");
    }
    for (uint32_t l = 0; l < d->tokens.levels; l++)
        d->tokens.k[l] = (uint32_t)k[l];
    size_t count;
    if (!vqi_mul(&count, d->positions, d->tokens.levels) || count > limits->max_tokens ||
        count > limits->max_alloc_bytes / sizeof(uint32_t))
        return vqi_fail(VQ_E_LIMIT,
                        "HEAD: a grid of %zu positions with %u levels (at most %llu "
                        "codes)",
                        d->positions, d->tokens.levels, (unsigned long long)limits->max_tokens);
    if (d->tokens.levels > limits->max_levels)
        return vqi_fail(VQ_E_LIMIT, "HEAD: %u levels (at most %u)", d->tokens.levels,
                        limits->max_levels);
    return VQ_OK;
}

static vq_status get_dimensions(description *d, const json_t *head)
{
    if (d->tokens.kind != VQ_KIND_ACTION)
        return vqi_head_bad("dimensions");
    return vqi_dimensions_from_json(&d->dimensions, json_object_get(head, "dimensions"),
                                    d->tokens.source_shape[d->tokens.source_ndim - 1]);
}

static vq_status read_head(description *d, const vqi_chunk *head, const vq_limits *limits)
{
    memset(d, 0, sizeof *d);
    if (head->length > limits->max_header_bytes)
        return vqi_fail(VQ_E_LIMIT, "byte %zu: HEAD has %zu bytes (at most %u)", head->offset,
                        head->length, limits->max_header_bytes);
    json_t *json;
    vq_status status = vqi_json_parse(&json, (const char *)head->payload, head->length,
                                      head->offset + VQI_CHUNK_HEADER, limits);
    if (status)
        return status;
    status = vqi_head_get_kind(&d->tokens.kind, json);
    if (!status)
        status = get_shapes(d, json, limits);
    if (!status)
        status = vqi_head_get_packing(&d->packing, json, VQ_PACKING_ENTROPY);
    if (!status)
        status = get_optional(d, json);
    if (!status && json_object_get(json, "dimensions"))
        status = get_dimensions(d, json);
    json_decref(json);
    return status;
}

/* Are the bytes of TOKS as many as HEAD implies? Asked before memory is taken for the codes. */
static vq_status check_length(const description *d, const vqi_chunk *codes)
{
    if (d->packing == VQ_PACKING_ENTROPY)
        return vqi_entropy_plausible(codes->length, d->positions * d->tokens.levels)
                   ? VQ_OK
                   : vqi_fail(VQ_E_FORMAT, "byte %zu: TOKS has %zu bytes, too few for %zu codes",
                              codes->offset, codes->length, d->positions * d->tokens.levels);
    size_t expected;
    if (!vqi_levels_bytes(&expected, d->positions, d->tokens.levels, d->tokens.k, d->packing))
        return vqi_fail(VQ_E_LIMIT, "HEAD: the codes are larger than the address space");
    if (expected != codes->length)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: TOKS has %zu bytes, and HEAD says %zu",
                        codes->offset, codes->length, expected);
    return VQ_OK;
}

static vq_status check_tables(const description *d, const vq_code_tables *tables)
{
    if (d->packing != VQ_PACKING_ENTROPY)
        return VQ_OK;
    if (!tables)
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "the codes are entropy coded (read them with the tables of the model that "
                        "made them)");
    return vqi_entropy_check(&d->tokens, tables) ? VQ_E_MISMATCH : VQ_OK;
}

static vq_status read_codes(vq_tokens **out, const description *d, const vqi_chunk *codes,
                            const vq_code_tables *tables)
{
    vq_tokens *tokens;
    vq_status status = vq_tokens_create(&tokens, d->tokens.grid_ndim, d->tokens.grid,
                                        d->tokens.levels, d->tokens.k);
    if (status)
        return status;
    uint32_t *array = tokens->codes;
    *tokens = d->tokens;
    tokens->codes = array;
    if (d->packing == VQ_PACKING_ENTROPY)
        status = vqi_entropy_unpack(tokens, codes->payload, codes->length, tables);
    else
        status = vqi_unpack(tokens->codes, codes->payload, d->positions, tokens->levels, tokens->k,
                            d->packing, codes->offset + VQI_CHUNK_HEADER);
    if (status) {
        vq_tokens_free(tokens);
        return status;
    }
    *out = tokens;
    return VQ_OK;
}

/* Everything but the codes. */
static vq_status read_description(description *d, vqi_chunk *codes, vq_tokens_info *info,
                                  const void *data, size_t size, const vq_limits *limits)
{
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    vq_tokens_info own_info = {0};
    vqi_chunk head = {0};
    status = read_frame(&head, codes, &own_info, data, size);
    if (!status)
        status = read_head(d, &head, &own);
    if (!status)
        status = check_length(d, codes);
    if (status || !info)
        return status;
    own_info.packing = d->packing;
    own_info.file_bytes = size;
    own_info.payload_bytes = codes->length;
    own_info.payload_offset = codes->offset + VQI_CHUNK_HEADER;
    *info = own_info;
    return VQ_OK;
}

vq_status vq_tokens_parse_head(vq_tokens *head, vq_tokens_info *info, const void *data, size_t size,
                               const char *name, const vq_limits *limits)
{
    vqi_chunk codes = {0};
    description d = {0};
    const vq_status status = read_description(&d, &codes, info, data, size, limits);
    vq_dimensions_free(d.dimensions);
    if (status)
        return name ? vqi_fail_in(status, name) : status;
    *head = d.tokens;
    return VQ_OK;
}

vq_status vq_tokens_parse_with(vq_tokens **out, vq_tokens_info *info, const void *data, size_t size,
                               const char *name, const vq_code_tables *tables,
                               const vq_limits *limits)
{
    *out = NULL;
    vqi_chunk codes = {0};
    description d = {0};
    vq_tokens_info own_info;
    vq_status status = read_description(&d, &codes, &own_info, data, size, limits);
    if (!status)
        status = check_tables(&d, tables);
    if (!status)
        status = read_codes(out, &d, &codes, tables);
    if (status)
        vq_dimensions_free(d.dimensions);
    else
        (*out)->dimensions = d.dimensions;
    if (status)
        return name ? vqi_fail_in(status, name) : status;
    if (info)
        *info = own_info;
    return VQ_OK;
}

vq_status vq_tokens_parse(vq_tokens **out, vq_tokens_info *info, const void *data, size_t size,
                          const char *name, const vq_limits *limits)
{
    return vq_tokens_parse_with(out, info, data, size, name, NULL, limits);
}

vq_status vq_tokens_read(vq_tokens **out, vq_tokens_info *info, const char *path,
                         const vq_limits *limits)
{
    *out = NULL;
    vq_bytes bytes;
    vq_status status = vq_file_read(&bytes, path, limits);
    if (!status)
        status = vq_tokens_parse(out, info, bytes.data, bytes.size, path, limits);
    vq_bytes_clear(&bytes);
    return status;
}
