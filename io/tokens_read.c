/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "io/bytes_internal.h"
#include "io/digest.h"
#include "io/dimensions_internal.h"
#include "io/json_internal.h"
#include "io/tokens_entropy_internal.h"
#include "io/tokens_format_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

typedef struct chunk {
    char type[5];
    size_t offset; /* of its header */
    const uint8_t *payload;
    size_t length;
} chunk;

static vq_status read_file_header(vqi_cursor *cursor, vq_tokens_info *info)
{
    const size_t size = vqi_remaining(cursor);
    const uint8_t *header = vqi_take(cursor, VQI_FILE_HEADER);
    if (!size)
        return vqi_fail(VQ_E_FORMAT, "not a token file (it is empty)");
    if (memcmp(cursor->begin, VQI_TOKENS_MAGIC, size < 8 ? size : 8))
        return vqi_fail(VQ_E_FORMAT, "not a token file (it does not begin with its signature)");
    if (!header)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends inside its header", size);
    info->version_major = vqi_load_u16(header + 8);
    info->version_minor = vqi_load_u16(header + 10);
    if (vqi_load_u32(header + 44) != vq_crc32c(0, header, 44))
        return vqi_fail(VQ_E_CHECKSUM, "byte 44: the checksum of the file header does not match");
    if (info->version_major != VQI_VERSION_MAJOR)
        return vqi_fail(VQ_E_VERSION, "byte 8: version %u.%u (this library reads %d.x)",
                        info->version_major, info->version_minor, VQI_VERSION_MAJOR);
    for (size_t i = 12; i < 44; i++)
        if (header[i] && info->version_minor == VQI_VERSION_MINOR)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a reserved byte is not 0", i);
    return VQ_OK;
}

static vq_status read_chunk(chunk *c, vqi_cursor *cursor)
{
    c->offset = vqi_offset(cursor);
    const uint8_t *header = vqi_take(cursor, VQI_CHUNK_HEADER);
    if (!header)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends where a chunk should begin",
                        c->offset);
    for (int i = 0; i < 4; i++) {
        const int letter = header[i] | 0x20;
        if (letter < 'a' || letter > 'z')
            return vqi_fail(VQ_E_FORMAT, "byte %zu: not the type of a chunk", c->offset);
        c->type[i] = (char)header[i];
    }
    c->type[4] = '\0';
    const uint64_t length = vqi_load_u64(header + 8);
    c->payload = vqi_take(cursor, length);
    const uint8_t *crc = c->payload ? vqi_take(cursor, 4) : NULL;
    if (!crc)
        return vqi_fail(VQ_E_FORMAT,
                        "byte %zu: the chunk %s declares %llu bytes, more than the file has",
                        c->offset, c->type, (unsigned long long)length);
    c->length = (size_t)length;
    if (vqi_load_u32(crc) != vq_crc32c(0, header, VQI_CHUNK_HEADER + c->length))
        return vqi_fail(VQ_E_CHECKSUM, "byte %zu: the checksum of the chunk %s does not match",
                        c->offset, c->type);
    if (vqi_load_u32(header + 4))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the chunk %s has flags that are not known",
                        c->offset + 4, c->type);
    return VQ_OK;
}

/* Zeros up to where the next chunk's payload is aligned. */
static vq_status skip_padding(vqi_cursor *cursor)
{
    while ((vqi_offset(cursor) + VQI_CHUNK_HEADER) % VQI_CHUNK_ALIGN) {
        const size_t offset = vqi_offset(cursor);
        const uint8_t *byte = vqi_take(cursor, 1);
        if (!byte)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: the file ends where a chunk should begin",
                            offset);
        if (*byte)
            return vqi_fail(VQ_E_FORMAT, "byte %zu: a padding byte is not 0", offset);
    }
    return VQ_OK;
}

/* The whole file's frame: HEAD first, one TOKS, TEND last, other chunks only if they may be skipped. */
static vq_status read_frame(chunk *head, chunk *codes, vq_tokens_info *info, const uint8_t *data,
                            size_t size)
{
    vqi_cursor cursor = vqi_cursor_of(data, size);
    vq_status status = read_file_header(&cursor, info);
    int heads = 0, payloads = 0;
    while (!status) {
        chunk c;
        status = read_chunk(&c, &cursor);
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
        status = skip_padding(&cursor);
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

static vq_status bad_entry(const char *key)
{
    return vqi_fail(VQ_E_FORMAT, "HEAD: \"%s\" is missing or is not what it should be", key);
}

/* An array of 1 to `room` whole numbers from 1 to `most`. */
static vq_status get_sizes(uint64_t *values, uint32_t *count, const json_t *head, const char *key,
                           uint32_t room, uint64_t most)
{
    const json_t *array = json_object_get(head, key);
    if (!json_is_array(array) || !json_array_size(array) || json_array_size(array) > room)
        return bad_entry(key);
    *count = (uint32_t)json_array_size(array);
    for (uint32_t i = 0; i < *count; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 1 ||
            (uint64_t)json_integer_value(value) > most)
            return bad_entry(key);
        values[i] = (uint64_t)json_integer_value(value);
    }
    return VQ_OK;
}

static vq_status get_kind(description *d, const json_t *head)
{
    const char *kind = json_string_value(json_object_get(head, "kind"));
    for (int k = VQ_KIND_IMAGE; kind && k <= VQ_KIND_ACTION; k++)
        if (!strcmp(kind, vq_kind_name((vq_kind)k))) {
            d->tokens.kind = (vq_kind)k;
            return VQ_OK;
        }
    return bad_entry("kind");
}

static vq_status get_packing(description *d, const json_t *head)
{
    const char *packing = json_string_value(json_object_get(head, "packing"));
    if (!packing)
        return bad_entry("packing");
    for (int p = VQ_PACKING_RAW; p <= VQ_PACKING_ENTROPY; p++)
        if (!strcmp(packing, vq_packing_name((vq_packing)p))) {
            d->packing = (vq_packing)p;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_UNSUPPORTED, "HEAD: the packing \"%.20s\" is not known", packing);
}

/* The entries that may be left out. */
static vq_status get_optional(description *d, const json_t *head)
{
    const json_t *rate = json_object_get(head, "rate"), *bits = json_object_get(head, "bits");
    const json_t *codec = json_object_get(head, "codec"), *model = json_object_get(head, "model");
    if (rate) {
        d->tokens.rate = json_number_value(rate);
        if (!json_is_number(rate) || !isfinite(d->tokens.rate) || d->tokens.rate <= 0)
            return bad_entry("rate");
    }
    if (bits) {
        if (!json_is_integer(bits) || json_integer_value(bits) < 1 || json_integer_value(bits) > 64)
            return bad_entry("bits");
        d->tokens.bits = (uint32_t)json_integer_value(bits);
    }
    if (codec) {
        if (!json_is_string(codec) || json_string_length(codec) >= sizeof d->tokens.codec)
            return bad_entry("codec");
        memcpy(d->tokens.codec, json_string_value(codec), json_string_length(codec));
    }
    if (model) {
        if (!json_is_string(model) || json_string_length(model) != 2 * VQ_SHA256_SIZE)
            return bad_entry("model");
        for (size_t i = 0; i < 2 * VQ_SHA256_SIZE; i++) {
            const char c = json_string_value(model)[i];
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                     : -1;
            if (digit < 0)
                return bad_entry("model");
            d->tokens.model_sha256[i / 2] =
                (uint8_t)(d->tokens.model_sha256[i / 2] << 4 | (uint8_t)digit);
        }
    }
    return VQ_OK;
}

static vq_status get_shapes(description *d, const json_t *head, const vq_limits *limits)
{
    uint64_t shape[3] = {1, 1, 1}, grid[3] = {1, 1, 1}, k[VQ_MAX_LEVELS] = {0};
    vq_status status = get_sizes(shape, &d->tokens.source_ndim, head, "shape", 3, SIZE_MAX >> 1);
    if (!status)
        status = get_sizes(grid, &d->tokens.grid_ndim, head, "grid", 3, SIZE_MAX >> 1);
    if (!status)
        status = get_sizes(k, &d->tokens.levels, head, "k", VQ_MAX_LEVELS, UINT32_MAX);
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
        return bad_entry("dimensions");
    return vqi_dimensions_from_json(&d->dimensions, json_object_get(head, "dimensions"),
                                    d->tokens.source_shape[d->tokens.source_ndim - 1]);
}

static vq_status read_head(description *d, const chunk *head, const vq_limits *limits)
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
    status = get_kind(d, json);
    if (!status)
        status = get_shapes(d, json, limits);
    if (!status)
        status = get_packing(d, json);
    if (!status)
        status = get_optional(d, json);
    if (!status && json_object_get(json, "dimensions"))
        status = get_dimensions(d, json);
    json_decref(json);
    return status;
}

static void unpack_raw(uint32_t *codes, const uint8_t *bytes, size_t n, unsigned width)
{
    for (size_t i = 0; i < n; i++, bytes += width) {
        codes[i] = 0;
        for (unsigned b = 0; b < width; b++)
            codes[i] |= (uint32_t)bytes[b] << 8 * b;
    }
}

/* Returns the bits that are left in the last byte, which must be 0. */
static uint64_t unpack_bits(uint32_t *codes, const uint8_t *bytes, size_t n, unsigned bits)
{
    const uint64_t mask = ((uint64_t)1 << bits) - 1;
    uint64_t waiting = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        for (; have < bits; have += 8)
            waiting |= (uint64_t)*bytes++ << have;
        codes[i] = (uint32_t)(waiting & mask);
        waiting >>= bits;
        have -= bits;
    }
    return waiting;
}

static vq_status read_level(vq_tokens *tokens, uint32_t level, vqi_cursor *cursor,
                            vq_packing packing)
{
    const size_t positions = vq_tokens_positions(tokens), offset = vqi_offset(cursor);
    const unsigned width = vqi_raw_width(tokens->levels, tokens->k);
    uint32_t *codes = tokens->codes + level * positions;
    size_t bytes = 0;
    vqi_level_bytes(&bytes, positions, tokens->k[level], packing, width);
    const uint8_t *packed = vqi_take(cursor, bytes);
    if (!packed)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: level %u is cut short", offset, level);
    if (packing == VQ_PACKING_RAW)
        unpack_raw(codes, packed, positions, width);
    else if (unpack_bits(codes, packed, positions, vqi_code_bits(tokens->k[level])))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: a padding bit is not 0", offset + bytes - 1);
    for (size_t i = 0; i < positions; i++)
        if (codes[i] >= tokens->k[level])
            return vqi_fail(VQ_E_FORMAT, "byte %zu: code %u at level %u, position %zu (K is %u)",
                            offset, codes[i], level, i, tokens->k[level]);
    return VQ_OK;
}

/* Are the bytes of TOKS as many as HEAD implies? Asked before memory is taken for the codes. */
static vq_status check_length(const description *d, const chunk *codes)
{
    if (d->packing == VQ_PACKING_ENTROPY)
        return vqi_entropy_plausible(codes->length, d->positions * d->tokens.levels)
                   ? VQ_OK
                   : vqi_fail(VQ_E_FORMAT, "byte %zu: TOKS has %zu bytes, too few for %zu codes",
                              codes->offset, codes->length, d->positions * d->tokens.levels);
    const unsigned width = vqi_raw_width(d->tokens.levels, d->tokens.k);
    size_t expected = 0;
    for (uint32_t l = 0; l < d->tokens.levels; l++) {
        size_t bytes;
        if (!vqi_level_bytes(&bytes, d->positions, d->tokens.k[l], d->packing, width) ||
            !vqi_add(&expected, expected, bytes))
            return vqi_fail(VQ_E_LIMIT, "HEAD: the codes are larger than the address space");
    }
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

static vq_status read_codes(vq_tokens **out, const description *d, const chunk *codes,
                            const uint8_t *file, const vq_code_tables *tables)
{
    vq_tokens *tokens;
    vq_status status = vq_tokens_create(&tokens, d->tokens.grid_ndim, d->tokens.grid,
                                        d->tokens.levels, d->tokens.k);
    if (status)
        return status;
    uint32_t *array = tokens->codes;
    *tokens = d->tokens;
    tokens->codes = array;
    vqi_cursor cursor = vqi_cursor_of(file, (size_t)(codes->payload - file) + codes->length);
    cursor.at = codes->payload;
    if (d->packing == VQ_PACKING_ENTROPY)
        status = vqi_entropy_unpack(tokens, codes->payload, codes->length, tables);
    else
        for (uint32_t l = 0; !status && l < tokens->levels; l++)
            status = read_level(tokens, l, &cursor, d->packing);
    if (status) {
        vq_tokens_free(tokens);
        return status;
    }
    *out = tokens;
    return VQ_OK;
}

/* Everything but the codes. */
static vq_status read_description(description *d, chunk *codes, vq_tokens_info *info,
                                  const void *data, size_t size, const vq_limits *limits)
{
    vq_limits own;
    vq_status status = vq_limits_resolve(&own, limits);
    if (status)
        return status;
    vq_tokens_info own_info = {0};
    chunk head = {0};
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
    chunk codes = {0};
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
    chunk codes = {0};
    description d = {0};
    vq_tokens_info own_info;
    vq_status status = read_description(&d, &codes, &own_info, data, size, limits);
    if (!status)
        status = check_tables(&d, tables);
    if (!status)
        status = read_codes(out, &d, &codes, data, tables);
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
