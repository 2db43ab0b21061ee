/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "io/store_internal.h"
#include "io/store_set_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

vq_status vq_store_stream_of(vq_store_stream *stream, const char *name, const vq_tokens *tokens)
{
    memset(stream, 0, sizeof *stream);
    if (!*name || strlen(name) >= sizeof stream->name)
        return vqi_fail(VQ_E_ARG, "the stream's name \"%.40s\" has %zu bytes (1 to %d)", name,
                        strlen(name), VQ_STORE_NAME_SIZE - 1);
    memcpy(stream->name, name, strlen(name));
    stream->kind = tokens->kind;
    stream->levels = tokens->levels;
    memcpy(stream->k, tokens->k, tokens->levels * sizeof *tokens->k);
    memcpy(stream->codec, tokens->codec, sizeof stream->codec);
    memcpy(stream->model_sha256, tokens->model_sha256, sizeof stream->model_sha256);
    return VQ_OK;
}

static vq_status check_stream(const vq_store_stream *s)
{
    if (!memchr(s->name, 0, sizeof s->name) || !*s->name || !vqi_is_utf8(s->name))
        return vqi_fail(VQ_E_ARG, "a stream's name is empty, does not end or is not UTF-8");
    if ((int)s->kind < 0 || s->kind > VQ_KIND_ACTION)
        return vqi_fail(VQ_E_ARG, "the kind of stream \"%s\" is not known", s->name);
    if (!s->levels || s->levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "stream \"%s\" has %u levels (1 to %d)", s->name, s->levels,
                        VQ_MAX_LEVELS);
    for (uint32_t l = 0; l < s->levels; l++)
        if (!s->k[l])
            return vqi_fail(VQ_E_ARG, "K of level %u of stream \"%s\" is 0", l, s->name);
    if (!memchr(s->codec, 0, sizeof s->codec) || !vqi_is_utf8(s->codec))
        return vqi_fail(VQ_E_ARG, "the codec of stream \"%s\" does not end or is not UTF-8",
                        s->name);
    return VQ_OK;
}

vq_status vqi_store_check_schema(const vq_store_schema *schema)
{
    if (!schema->streams || schema->streams > VQ_STORE_MAX_STREAMS)
        return vqi_fail(VQ_E_ARG, "%u streams (1 to %d)", schema->streams, VQ_STORE_MAX_STREAMS);
    for (uint32_t i = 0; i < schema->streams; i++) {
        const vq_status status = check_stream(&schema->stream[i]);
        if (status)
            return status;
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(schema->stream[i].name, schema->stream[j].name))
                return vqi_fail(VQ_E_ARG, "two streams are called \"%s\"", schema->stream[i].name);
    }
    return VQ_OK;
}

static json_t *stream_json(const vq_store_stream *s)
{
    size_t k[VQ_MAX_LEVELS];
    for (uint32_t l = 0; l < s->levels; l++)
        k[l] = s->k[l];
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", json_string(s->name));
    if (s->kind)
        failed |= json_object_set_new(object, "kind", json_string(vq_kind_name(s->kind)));
    failed |= json_object_set_new(object, "k", vqi_head_sizes(k, s->levels));
    failed |= vqi_head_put_codec(object, s->codec, s->model_sha256);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *vqi_store_streams(const vq_store_schema *schema)
{
    json_t *streams = json_array();
    int failed = 0;
    for (uint32_t i = 0; i < schema->streams; i++)
        failed |= json_array_append_new(streams, stream_json(&schema->stream[i]));
    if (failed) {
        json_decref(streams);
        return NULL;
    }
    return streams;
}

static json_t *head_json(const vqi_store_head *head)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, "streams", vqi_store_streams(&head->schema));
    failed |= json_object_set_new(object, "packing", json_string(vq_packing_name(head->packing)));
    failed |= json_object_set_new(object, "block", json_integer(head->block_bytes));
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* The tables, behind what is there already, which is the file so far. */
static vq_status put_tables(vqi_buffer *out, const vqi_store_head *head)
{
    static const uint8_t zeros[VQI_CHUNK_ALIGN + VQI_CHUNK_HEADER];
    const size_t at = vqi_chunk_next(out->size);
    vq_status status = vqi_buffer_put(out, zeros, at + VQI_CHUNK_HEADER - out->size);
    if (!status)
        status = vqi_rans_write(out, head->rans, &head->schema);
    if (status || !vqi_buffer_reserve(out, 4))
        return VQ_E_NOMEM;
    out->size = vqi_chunk_seal(out->data, at, "TABL", out->size - at - VQI_CHUNK_HEADER);
    return VQ_OK;
}

vq_status vqi_store_begin(vqi_buffer *out, const vqi_store_head *head)
{
    char *text;
    size_t size;
    vq_status status = vqi_head_text(&text, &size, head_json(head));
    if (status)
        return status;
    const size_t bytes = VQI_FILE_HEADER + VQI_CHUNK_HEADER + size + 4;
    uint8_t *file = vqi_buffer_reserve(out, bytes);
    if (file) {
        vqi_file_header_write(file, VQI_SHARD_MAGIC);
        memcpy(file + VQI_FILE_HEADER + VQI_CHUNK_HEADER, text, size);
        vqi_chunk_seal(file, VQI_FILE_HEADER, "HEAD", size);
        out->size += bytes;
    }
    vq_free(text);
    if (!file)
        return VQ_E_NOMEM;
    return head->rans ? put_tables(out, head) : VQ_OK;
}

static vq_status get_stream(vq_store_stream *s, const json_t *object, const vq_limits *limits)
{
    const json_t *name = json_object_get(object, "name");
    if (!json_is_string(name) || !json_string_length(name) ||
        json_string_length(name) >= sizeof s->name)
        return vqi_head_bad("name");
    memcpy(s->name, json_string_value(name), json_string_length(name));
    uint64_t k[VQ_MAX_LEVELS] = {0};
    vq_status status =
        vqi_head_get_sizes(k, &s->levels, object, "k", limits->max_levels, UINT32_MAX);
    for (uint32_t l = 0; !status && l < s->levels; l++)
        s->k[l] = (uint32_t)k[l];
    if (!status && json_object_get(object, "kind"))
        status = vqi_head_get_kind(&s->kind, object);
    return status ? status : vqi_head_get_codec(s->codec, s->model_sha256, object);
}

vq_status vqi_store_get_streams(vq_store_schema *schema, const json_t *object,
                                const vq_limits *limits)
{
    const json_t *streams = json_object_get(object, "streams");
    if (!json_is_array(streams) || !json_array_size(streams) ||
        json_array_size(streams) > VQ_STORE_MAX_STREAMS)
        return vqi_head_bad("streams");
    vq_status status = VQ_OK;
    schema->streams = (uint32_t)json_array_size(streams);
    for (uint32_t i = 0; !status && i < schema->streams; i++)
        status = get_stream(&schema->stream[i], json_array_get(streams, i), limits);
    return !status && vqi_store_check_schema(schema) ? vqi_head_bad("streams") : status;
}

static vq_status read_head(vqi_store_head *head, const json_t *json, const vq_limits *limits)
{
    const json_t *block = json_object_get(json, "block");
    vq_status status = vqi_head_get_packing(&head->packing, json, VQ_PACKING_RANS);
    if (!status)
        status = vqi_store_get_streams(&head->schema, json, limits);
    if (!status && (!json_is_integer(block) || json_integer_value(block) < VQI_BLOCK_LEAST ||
                    json_integer_value(block) > VQI_BLOCK_MOST))
        status = vqi_head_bad("block");
    if (!status)
        head->block_bytes = (uint32_t)json_integer_value(block);
    return status;
}

static vq_status read_tables(vqi_store_head *head, vqi_cursor *cursor)
{
    vqi_chunk chunk;
    vq_status status = vqi_chunk_skip_padding(cursor);
    if (!status)
        status = vqi_chunk_take(&chunk, cursor);
    if (!status)
        status = vqi_chunk_check(&chunk);
    if (status)
        return status;
    if (strcmp(chunk.type, "TABL") != 0)
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the second chunk is %s, not TABL", chunk.offset,
                        chunk.type);
    head->table_bytes = chunk.length;
    return vqi_rans_parse(&head->rans, &head->schema, chunk.payload, chunk.length);
}

vq_status vqi_store_begin_read(vqi_store_head *head, uint32_t version[2], vqi_cursor *cursor,
                               const vq_limits *limits)
{
    memset(head, 0, sizeof *head);
    vqi_chunk chunk = {0};
    vq_status status =
        vqi_file_header_read(&version[0], &version[1], cursor, VQI_SHARD_MAGIC, "shard");
    if (!status)
        status = vqi_chunk_take(&chunk, cursor);
    if (!status)
        status = vqi_chunk_check(&chunk);
    if (status)
        return status;
    if (strcmp(chunk.type, "HEAD"))
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the first chunk is %s, not HEAD", chunk.offset,
                        chunk.type);
    if (chunk.length > limits->max_header_bytes)
        return vqi_fail(VQ_E_LIMIT, "byte %zu: HEAD has %zu bytes (at most %u)", chunk.offset,
                        chunk.length, limits->max_header_bytes);
    json_t *json;
    status = vqi_json_parse(&json, (const char *)chunk.payload, chunk.length,
                            chunk.offset + VQI_CHUNK_HEADER, limits);
    if (status)
        return status;
    status = read_head(head, json, limits);
    json_decref(json);
    return !status && head->packing == VQ_PACKING_RANS ? read_tables(head, cursor) : status;
}
