/* SPDX-License-Identifier: Apache-2.0 */
/* A record as bytes: what is known of it, the shapes of its streams, their codes. */
#include <string.h>

#include "io/dimensions_internal.h"
#include "io/head_internal.h"
#include "io/packing_internal.h"
#include "io/store_record_internal.h"
#include "io/tokens_format_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* One stream's codes as bytes: how many, and those that are entropy coded. */
typedef struct payload {
    size_t size;
    bool plain;
    vqi_buffer coded;
} payload;

static vq_status check_text(const char *text, const char *what, size_t most)
{
    if (!text)
        return VQ_OK;
    if (strlen(text) > most)
        return vqi_fail(VQ_E_ARG, "the %s \"%.40s...\" has %zu bytes (at most %zu)", what, text,
                        strlen(text), most);
    return vqi_is_utf8(text) ? VQ_OK
                             : vqi_fail(VQ_E_ARG, "the %s \"%.40s\" is not UTF-8", what, text);
}

static vq_status too_large(void)
{
    return vqi_fail(
        VQ_E_ARG, "a record of more than %zu bytes or codes (cut the signal into several records)",
        VQI_RECORD_MOST);
}

static vq_status check_tokens(const vq_tokens *tokens, const vq_store_stream *stream)
{
    size_t codes = tokens->levels; /* few enough, before each is looked at */
    for (uint32_t i = 0; i < 3; i++)
        if (!vqi_mul(&codes, codes, tokens->grid[i]) || codes > VQI_RECORD_MOST)
            return too_large();
    vq_status status = vq_tokens_validate(tokens);
    if (!status && tokens->kind)
        status = vqi_tokens_check_source(tokens);
    else if (!status && (tokens->source_ndim || tokens->dimensions))
        status = vqi_fail(VQ_E_ARG, "tokens of no kind have a source");
    if (status)
        return status;
    if (tokens->levels != stream->levels ||
        memcmp(tokens->k, stream->k, stream->levels * sizeof *stream->k) != 0)
        return vqi_fail(VQ_E_MISMATCH, "the levels or their K are not those of the stream");
    if (tokens->kind != stream->kind || strcmp(tokens->codec, stream->codec) != 0 ||
        memcmp(tokens->model_sha256, stream->model_sha256, sizeof stream->model_sha256) != 0)
        return vqi_fail(VQ_E_MISMATCH, "the kind, codec or model is not the stream's");
    return VQ_OK;
}

static vq_status put_text(vqi_buffer *out, const char *text)
{
    if (!text)
        return VQ_OK;
    const size_t size = strlen(text);
    const vq_status status = vqi_buffer_put_varint(out, size);
    return status ? status : vqi_buffer_put(out, text, size);
}

static vq_status put_info(vqi_buffer *out, const vq_record_info *info)
{
    const uint8_t flags =
        (uint8_t)((info->key ? VQI_RECORD_KEY : 0) | (info->has_label ? VQI_RECORD_LABEL : 0) |
                  (info->split ? VQI_RECORD_SPLIT : 0) | (info->caption ? VQI_RECORD_CAPTION : 0) |
                  (info->source_bytes ? VQI_RECORD_SOURCE : 0));
    vq_status status = vqi_buffer_put(out, &flags, 1);
    if (!status)
        status = put_text(out, info->key);
    if (!status && info->has_label)
        status = vqi_buffer_put_varint(out, vqi_zigzag(info->label));
    if (!status)
        status = put_text(out, info->split);
    if (!status)
        status = put_text(out, info->caption);
    if (!status && info->source_bytes)
        status = vqi_buffer_put_varint(out, info->source_bytes);
    return status;
}

static vq_status put_sizes(vqi_buffer *out, const size_t *sizes, uint32_t count)
{
    vq_status status = VQ_OK;
    for (uint32_t i = 0; !status && i < count; i++)
        status = vqi_buffer_put_varint(out, sizes[i]);
    return status;
}

static vq_status put_dimensions(vqi_buffer *out, const vq_dimensions *dimensions)
{
    char *text;
    size_t size;
    vq_status status = vqi_head_text(&text, &size, vqi_dimensions_to_json(dimensions));
    if (!status)
        status = vqi_buffer_put_varint(out, size);
    if (!status)
        status = vqi_buffer_put(out, text, size);
    vq_free(text);
    return status;
}

/* The shape of one stream's tokens, and how many bytes of codes follow. */
static vq_status put_shape(vqi_buffer *out, const vq_tokens *tokens, const payload *p)
{
    const uint8_t flags =
        (uint8_t)(tokens->grid_ndim | tokens->source_ndim << 2 | (p->plain ? VQI_STREAM_PLAIN : 0) |
                  (tokens->rate > 0 ? VQI_STREAM_RATE : 0) | (tokens->bits ? VQI_STREAM_BITS : 0) |
                  (tokens->dimensions ? VQI_STREAM_DIMENSIONS : 0));
    uint8_t rate[8];
    uint64_t word;
    memcpy(&word, &tokens->rate, 8);
    vqi_store_u64(rate, word);
    vq_status status = vqi_buffer_put(out, &flags, 1);
    if (!status)
        status = put_sizes(out, tokens->grid, tokens->grid_ndim);
    if (!status)
        status = put_sizes(out, tokens->source_shape, tokens->source_ndim);
    if (!status && flags & VQI_STREAM_RATE)
        status = vqi_buffer_put(out, rate, 8);
    if (!status && flags & VQI_STREAM_BITS)
        status = vqi_buffer_put_varint(out, tokens->bits);
    if (!status && tokens->dimensions)
        status = put_dimensions(out, tokens->dimensions);
    return status ? status : vqi_buffer_put_varint(out, p->size);
}

static vq_status put_align(vqi_buffer *out, size_t begin, size_t align)
{
    static const uint8_t zeros[VQI_RAW_ALIGN];
    const size_t size = out->size - begin;
    return vqi_buffer_put(out, zeros, vqi_align_up(size, align) - size);
}

static vq_status put_codes(vqi_buffer *out, const vq_tokens *tokens, vq_packing packing,
                           const payload *p)
{
    if (p->coded.data)
        return vqi_buffer_put(out, p->coded.data, p->size);
    uint8_t *to = vqi_buffer_reserve(out, p->size);
    if (!to)
        return VQ_E_NOMEM;
    vqi_pack(to, tokens->codes, vq_tokens_positions(tokens), tokens->levels, tokens->k,
             packing == VQ_PACKING_RAW ? VQ_PACKING_RAW : VQ_PACKING_BITS);
    out->size += p->size;
    return VQ_OK;
}

static vq_status append(vqi_buffer *out, const vqi_store_head *head, const vq_record_info *info,
                        const vq_tokens *const *tokens, const payload *payloads)
{
    static const uint8_t absent = 0;
    const size_t begin = out->size, align = vqi_record_align(head->packing);
    vq_status status = put_info(out, info);
    for (uint32_t i = 0; !status && i < head->schema.streams; i++)
        status =
            tokens[i] ? put_shape(out, tokens[i], &payloads[i]) : vqi_buffer_put(out, &absent, 1);
    for (uint32_t i = 0; !status && i < head->schema.streams; i++) {
        if (!tokens[i])
            continue;
        status = put_align(out, begin, align);
        if (!status)
            status = put_codes(out, tokens[i], head->packing, &payloads[i]);
    }
    return status;
}

/* Entropy coded, if that is smaller. */
static vq_status code(payload *p, const vqi_store_head *head, uint32_t i, const vq_tokens *tokens)
{
    p->plain = true;
    if (head->rans && !head->rans->stream[i].levels)
        return VQ_OK;
    const vq_status status = head->rans ? vqi_rans_pack(&p->coded, &head->rans->stream[i], tokens)
                                        : vqi_model_pack(&p->coded, head->model, i, tokens);
    if (!status && p->coded.size < p->size) {
        p->plain = false;
        p->size = p->coded.size;
    } else {
        vq_free(p->coded.data);
        p->coded = (vqi_buffer){0};
    }
    return status;
}

static vq_status check(payload *payloads, const vqi_store_head *head, const vq_record_info *info,
                       const vq_tokens *const *tokens)
{
    vq_status status = check_text(info->key, "key", VQ_STORE_MAX_KEY);
    if (!status)
        status = check_text(info->split, "split", VQ_STORE_MAX_SPLIT);
    if (!status)
        status = check_text(info->caption, "caption", VQ_STORE_MAX_CAPTION);
    size_t codes = 0, bytes = 0;
    for (uint32_t i = 0; !status && i < head->schema.streams; i++) {
        const vq_tokens *t = tokens[i];
        if (!t)
            continue;
        status = check_tokens(t, &head->schema.stream[i]);
        if (status) {
            vqi_fail_in(status, head->schema.stream[i].name);
        } else if (!vqi_levels_bytes(&payloads[i].size, vq_tokens_positions(t), t->levels, t->k,
                                     head->packing) ||
                   !vqi_add(&bytes, bytes, payloads[i].size) ||
                   !vqi_add(&codes, codes, vq_tokens_positions(t) * t->levels) ||
                   bytes > VQI_RECORD_MOST || codes > VQI_RECORD_MOST)
            status = too_large();
    }
    return status;
}

vq_status vqi_record_append(vqi_buffer *out, const vqi_store_head *head, const vq_record_info *info,
                            const vq_tokens *const *tokens)
{
    static const vq_record_info nothing;
    payload payloads[VQ_STORE_MAX_STREAMS] = {{0}};
    info = info ? info : &nothing;
    vq_status status = check(payloads, head, info, tokens);
    const int coded = head->packing == VQ_PACKING_RANS || head->packing == VQ_PACKING_ENTROPY;
    for (uint32_t i = 0; !status && coded && i < head->schema.streams; i++)
        if (tokens[i])
            status = code(&payloads[i], head, i, tokens[i]);
    const size_t before = out->size;
    if (!status)
        status = append(out, head, info, tokens, payloads);
    for (uint32_t i = 0; i < head->schema.streams; i++)
        vq_free(payloads[i].coded.data);
    if (!status && out->size - before > VQI_RECORD_MOST)
        status = vqi_fail(VQ_E_ARG, "a record of %zu bytes (at most %zu)", out->size - before,
                          VQI_RECORD_MOST);
    if (status)
        out->size = before;
    return status;
}
