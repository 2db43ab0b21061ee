/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a record: first the shapes, each checked, then memory, then the codes. */
#include <math.h>
#include <string.h>

#include "io/dimensions_internal.h"
#include "io/head_internal.h"
#include "io/packing_internal.h"
#include "io/store_record_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

typedef struct text {
    const uint8_t *bytes; /* NULL = none */
    size_t size;
} text;

typedef struct stream {
    int there;
    uint32_t grid_ndim, source_ndim;
    uint64_t grid[3], source[3];
    double rate;
    uint32_t bits;
    text dimensions;
    size_t positions;
    const uint8_t *payload;
    size_t payload_size;
    vq_packing packing;
} stream;

typedef struct layout {
    text key, split, caption;
    int has_label;
    int64_t label;
    uint64_t source_bytes;
    size_t codes;
    stream streams[VQ_STORE_MAX_STREAMS];
} layout;

/* What a caller sees is the first member. */
typedef struct own_record {
    vq_record seen;
    vq_tokens tokens[VQ_STORE_MAX_STREAMS];
    vq_dimensions *dimensions[VQ_STORE_MAX_STREAMS];
    uint32_t *codes;
    size_t codes_room;
    vqi_buffer texts;
} own_record;

static vq_status broken(const vqi_cursor *c, const char *what)
{
    return vqi_fail(VQ_E_FORMAT, "byte %zu of the record: %s", vqi_offset(c), what);
}

static vq_status take_text(text *out, vqi_cursor *c, size_t most, const char *what)
{
    uint64_t size;
    if (!vqi_take_varint(c, &size) || size > most || !(out->bytes = vqi_take(c, size)))
        return vqi_fail(VQ_E_FORMAT, "byte %zu of the record: its %s is too long or cut short",
                        vqi_offset(c), what);
    out->size = (size_t)size;
    if (memchr(out->bytes, 0, out->size))
        return vqi_fail(VQ_E_FORMAT, "byte %zu of the record: a 0 in its %s", vqi_offset(c), what);
    return VQ_OK;
}

static vq_status take_info(layout *l, vqi_cursor *c)
{
    const uint8_t *flags = vqi_take(c, 1);
    if (!flags)
        return broken(c, "it is empty");
    if (*flags & ~VQI_RECORD_KNOWN)
        return broken(c, "its first byte has bits that are not known");
    vq_status status = VQ_OK;
    uint64_t number;
    if (*flags & VQI_RECORD_KEY)
        status = take_text(&l->key, c, VQ_STORE_MAX_KEY, "key");
    if (!status && *flags & VQI_RECORD_LABEL) {
        if (!vqi_take_varint(c, &number))
            return broken(c, "its label cannot be");
        l->has_label = 1;
        l->label = vqi_unzigzag(number);
    }
    if (!status && *flags & VQI_RECORD_SPLIT)
        status = take_text(&l->split, c, VQ_STORE_MAX_SPLIT, "split");
    if (!status && *flags & VQI_RECORD_CAPTION)
        status = take_text(&l->caption, c, VQ_STORE_MAX_CAPTION, "caption");
    if (!status && *flags & VQI_RECORD_SOURCE) {
        if (!vqi_take_varint(c, &l->source_bytes) || !l->source_bytes)
            return broken(c, "the size of its source cannot be");
    }
    return status;
}

static int take_sizes(uint64_t sizes[3], vqi_cursor *c, uint32_t count)
{
    for (uint32_t i = 0; i < 3; i++)
        sizes[i] = 1;
    for (uint32_t i = 0; i < count; i++)
        if (!vqi_take_varint(c, &sizes[i]) || !sizes[i] || sizes[i] > SIZE_MAX >> 1)
            return 0;
    return 1;
}

static vq_status take_optional(stream *s, vqi_cursor *c, unsigned flags, const vq_limits *limits)
{
    uint64_t number = 0;
    if (flags & VQI_STREAM_RATE) {
        if (!vqi_read_u64(c, &number))
            return broken(c, "a rate is cut short");
        memcpy(&s->rate, &number, 8);
        if (!isfinite(s->rate) || s->rate <= 0)
            return broken(c, "a rate cannot be");
    }
    if (flags & VQI_STREAM_BITS) {
        if (!vqi_take_varint(c, &number) || !number || number > 64)
            return broken(c, "bits per sample that cannot be");
        s->bits = (uint32_t)number;
    }
    return flags & VQI_STREAM_DIMENSIONS
               ? take_text(&s->dimensions, c, limits->max_header_bytes, "dimensions")
               : VQ_OK;
}

/* As many bytes of codes as the shape implies, or as can hold them. */
static vq_status check_payload(const stream *s, const vqi_cursor *c, const vq_store_stream *schema)
{
    size_t expected, codes;
    const int coded = s->packing == VQ_PACKING_RANS || s->packing == VQ_PACKING_ENTROPY;
    if (coded ? !vqi_mul(&codes, s->positions, schema->levels) ||
                    !vqi_rans_plausible(s->payload_size, codes)
              : !vqi_levels_bytes(&expected, s->positions, schema->levels, schema->k, s->packing) ||
                    expected != s->payload_size)
        return broken(c, "the bytes of its codes are not as many as its shape implies");
    return VQ_OK;
}

static vq_status take_stream(stream *s, vqi_cursor *c, const vq_store_stream *schema,
                             vq_packing packing, const vqi_rans_stream *tables,
                             const vq_limits *limits)
{
    memset(s, 0, sizeof *s);
    const uint8_t *flags = vqi_take(c, 1);
    if (!flags)
        return broken(c, "it ends where a stream should begin");
    s->grid_ndim = *flags & 3;
    s->source_ndim = *flags >> 2 & 3;
    s->packing = packing;
    if (!s->grid_ndim)
        return *flags ? broken(c, "a stream that is not there has a shape") : VQ_OK;
    s->there = 1;
    if (!schema->kind != !s->source_ndim)
        return broken(c, "a source without a kind, or the reverse");
    const int may_be_plain = tables || packing == VQ_PACKING_ENTROPY;
    if (*flags & VQI_STREAM_PLAIN ? !may_be_plain : tables && !tables->levels)
        return broken(c, "a stream is packed as the shard is not");
    if (*flags & VQI_STREAM_PLAIN)
        s->packing = VQ_PACKING_BITS;
    if (!take_sizes(s->grid, c, s->grid_ndim) || !take_sizes(s->source, c, s->source_ndim))
        return broken(c, "a shape cannot be");
    const vq_status status = take_optional(s, c, *flags, limits);
    if (status)
        return status;
    uint64_t size;
    if (!vqi_take_varint(c, &size) || size > vqi_remaining(c))
        return broken(c, "more codes than there are bytes");
    s->payload_size = (size_t)size;
    s->positions = 1;
    for (int i = 0; i < 3; i++)
        if (!vqi_mul(&s->positions, s->positions, (size_t)s->grid[i]))
            return vqi_fail(VQ_E_LIMIT, "a grid larger than the address space");
    return check_payload(s, c, schema);
}

/* Each stream's codes begin at a multiple of `align` from the record's begin on. */
static vq_status take_payloads(layout *l, vqi_cursor *c, uint32_t streams, size_t align)
{
    for (uint32_t i = 0; i < streams; i++) {
        stream *s = &l->streams[i];
        if (!s->there)
            continue;
        while (vqi_offset(c) % align) {
            const uint8_t *zero = vqi_take(c, 1);
            if (!zero || *zero)
                return broken(c, "a padding byte is not there, or not 0");
        }
        s->payload = vqi_take(c, s->payload_size);
        if (!s->payload)
            return broken(c, "its codes are cut short");
    }
    return vqi_remaining(c) ? broken(c, "bytes follow its codes") : VQ_OK;
}

static vq_status take_layout(layout *l, const vqi_store_head *head, const uint8_t *bytes,
                             size_t size, const vq_limits *limits)
{
    l->key = l->split = l->caption = (text){NULL, 0};
    l->has_label = 0;
    l->label = 0;
    l->source_bytes = 0;
    l->codes = 0;
    vqi_cursor c = vqi_cursor_of(bytes, size);
    vq_status status = take_info(l, &c);
    for (uint32_t i = 0; !status && i < head->schema.streams; i++) {
        const vq_store_stream *schema = &head->schema.stream[i];
        stream *s = &l->streams[i];
        status = take_stream(s, &c, schema, head->packing,
                             head->rans ? &head->rans->stream[i] : NULL, limits);
        size_t codes;
        if (!status && s->there &&
            (!vqi_mul(&codes, s->positions, schema->levels) ||
             !vqi_add(&l->codes, l->codes, codes) || l->codes > limits->max_tokens ||
             l->codes > limits->max_alloc_bytes / sizeof(uint32_t) || l->codes > VQI_RECORD_MOST))
            status = vqi_fail(VQ_E_LIMIT, "a record of %zu codes or more (at most %llu)", l->codes,
                              (unsigned long long)limits->max_tokens);
    }
    return status ? status
                  : take_payloads(l, &c, head->schema.streams, vqi_record_align(head->packing));
}

vq_status vqi_record_peek_at(vqi_record_peek *peek, const vqi_store_head *head,
                             const uint8_t *bytes, size_t size, const vq_limits *limits)
{
    layout l;
    const vq_status status = take_layout(&l, head, bytes, size, limits);
    if (status)
        return status;
    *peek = (vqi_record_peek){l.key.bytes, l.key.size, l.has_label, l.label, l.codes};
    return VQ_OK;
}

static void forget(own_record *own)
{
    for (uint32_t i = 0; i < VQ_STORE_MAX_STREAMS; i++) {
        vq_dimensions_free(own->dimensions[i]);
        own->dimensions[i] = NULL;
        own->seen.tokens[i] = NULL;
    }
    own->seen.streams = 0;
    own->seen.info = (vq_record_info){0};
    own->texts.size = 0;
}

vq_status vq_record_create(vq_record **out)
{
    own_record *own = vqi_calloc(1, sizeof *own);
    *out = own ? &own->seen : NULL;
    return own ? VQ_OK : vqi_fail_nomem(sizeof *own);
}

void vq_record_free(vq_record *record)
{
    if (!record)
        return;
    own_record *own = (own_record *)record;
    forget(own);
    vq_free(own->codes);
    vq_free(own->texts.data);
    vq_free(own);
}

/* A text with a 0 behind it. There is room. */
static const char *keep_text(own_record *own, const text *t)
{
    if (!t->bytes)
        return NULL;
    char *to = (char *)own->texts.data + own->texts.size;
    if (t->size)
        memcpy(to, t->bytes, t->size);
    to[t->size] = '\0';
    own->texts.size += t->size + 1;
    return to;
}

static vq_status keep_info(own_record *own, const layout *l)
{
    if (!vqi_buffer_reserve(&own->texts, l->key.size + l->split.size + l->caption.size + 3))
        return VQ_E_NOMEM;
    own->seen.info = (vq_record_info){.has_label = l->has_label,
                                      .label = l->label,
                                      .source_bytes = l->source_bytes,
                                      .key = keep_text(own, &l->key),
                                      .split = keep_text(own, &l->split),
                                      .caption = keep_text(own, &l->caption)};
    const vq_record_info *info = &own->seen.info;
    if ((info->key && !vqi_is_utf8(info->key)) || (info->split && !vqi_is_utf8(info->split)) ||
        (info->caption && !vqi_is_utf8(info->caption)))
        return vqi_fail(VQ_E_FORMAT, "a text of the record is not UTF-8");
    return VQ_OK;
}

static vq_status keep_dimensions(own_record *own, uint32_t i, const stream *s,
                                 const vq_limits *limits)
{
    json_t *json;
    vq_status status =
        vqi_json_parse(&json, (const char *)s->dimensions.bytes, s->dimensions.size, 0, limits);
    if (status)
        return status;
    if (own->tokens[i].kind != VQ_KIND_ACTION)
        status = vqi_head_bad("dimensions");
    else
        status = vqi_dimensions_from_json(&own->dimensions[i], json,
                                          own->tokens[i].source_shape[s->source_ndim - 1]);
    json_decref(json);
    own->tokens[i].dimensions = own->dimensions[i];
    return status;
}

static void keep_shape(vq_tokens *t, const stream *s, const vq_store_stream *schema)
{
    memset(t, 0, sizeof *t);
    t->kind = schema->kind;
    t->source_ndim = s->source_ndim;
    t->grid_ndim = s->grid_ndim;
    for (int i = 0; i < 3; i++) {
        t->source_shape[i] = (size_t)s->source[i];
        t->grid[i] = (size_t)s->grid[i];
    }
    t->rate = s->rate;
    t->bits = s->bits;
    t->levels = schema->levels;
    memcpy(t->k, schema->k, schema->levels * sizeof *t->k);
    memcpy(t->codec, schema->codec, sizeof t->codec);
    memcpy(t->model_sha256, schema->model_sha256, sizeof t->model_sha256);
}

static vq_status make_room(own_record *own, size_t codes)
{
    if (codes <= own->codes_room)
        return VQ_OK;
    uint32_t *array = vqi_alloc(codes, sizeof *array);
    if (!array)
        return vqi_fail_nomem((unsigned long long)codes * sizeof *array);
    vq_free(own->codes);
    own->codes = array;
    own->codes_room = codes;
    return VQ_OK;
}

static vq_status unpack(vq_tokens *t, const stream *s, uint32_t i, const vqi_store_head *head,
                        size_t offset)
{
    if (s->packing == VQ_PACKING_RANS)
        return vqi_rans_unpack(t, &head->rans->stream[i], s->payload, s->payload_size);
    if (s->packing != VQ_PACKING_ENTROPY)
        return vqi_unpack(t->codes, s->payload, s->positions, t->levels, t->k, s->packing, offset);
    return head->model
               ? vqi_model_unpack(t, head->model, i, s->payload, s->payload_size)
               : vqi_fail(VQ_E_UNSUPPORTED, "its codes need the model that they were written with");
}

static vq_status keep(own_record *own, const layout *l, const vqi_store_head *head,
                      const uint8_t *begin, const vq_limits *limits)
{
    vq_status status = keep_info(own, l);
    if (!status)
        status = make_room(own, l->codes);
    uint32_t *codes = own->codes;
    for (uint32_t i = 0; !status && i < head->schema.streams; i++) {
        const stream *s = &l->streams[i];
        const vq_store_stream *schema = &head->schema.stream[i];
        if (!s->there)
            continue;
        vq_tokens *t = &own->tokens[i];
        keep_shape(t, s, schema);
        t->codes = codes;
        codes += s->positions * schema->levels;
        status = unpack(t, s, i, head, (size_t)(s->payload - begin));
        if (!status && s->dimensions.bytes)
            status = keep_dimensions(own, i, s, limits);
        own->seen.tokens[i] = t;
    }
    own->seen.streams = head->schema.streams;
    return status;
}

vq_status vqi_record_read(vq_record *record, const vqi_store_head *head, const uint8_t *bytes,
                          size_t size, const vq_limits *limits)
{
    own_record *own = (own_record *)record;
    forget(own);
    layout l;
    vq_status status = take_layout(&l, head, bytes, size, limits);
    if (!status)
        status = keep(own, &l, head, bytes, limits);
    if (status)
        forget(own);
    return status;
}
