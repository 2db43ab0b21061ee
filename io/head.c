/* SPDX-License-Identifier: Apache-2.0 */
#include "io/head_internal.h"

#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"

int vqi_is_utf8(const char *text)
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

/* NULL when there is no memory: an array that lacks one of its values would be a lie in the file. */
json_t *vqi_head_sizes(const size_t *values, uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_integer((json_int_t)values[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

void vqi_head_digest(char text[2 * VQ_SHA256_SIZE + 1], const uint8_t digest[VQ_SHA256_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < VQ_SHA256_SIZE; i++) {
        text[2 * i] = hex[digest[i] >> 4];
        text[2 * i + 1] = hex[digest[i] & 15];
    }
    text[2 * VQ_SHA256_SIZE] = '\0';
}

int vqi_head_put_codec(json_t *head, const char *codec, const uint8_t model[VQ_SHA256_SIZE])
{
    static const uint8_t none[VQ_SHA256_SIZE];
    int failed = 0;
    if (*codec)
        failed |= json_object_set_new(head, "codec", json_string(codec));
    if (memcmp(model, none, sizeof none)) {
        char text[2 * VQ_SHA256_SIZE + 1];
        vqi_head_digest(text, model);
        failed |= json_object_set_new(head, "model", json_string(text));
    }
    return failed;
}

vq_status vqi_head_text(char **text, size_t *size, json_t *head)
{
    /* jansson's texts come from its allocator, which a program may have replaced. */
    json_malloc_t json_alloc;
    json_free_t json_free;
    json_get_alloc_funcs(&json_alloc, &json_free);
    char *theirs = head ? json_dumps(head, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(head);
    *text = theirs ? vqi_strdup(theirs) : NULL;
    *size = *text ? strlen(*text) : 0;
    json_free(theirs);
    return *text ? VQ_OK : vqi_fail_nomem(0);
}

vq_status vqi_head_bad(const char *key)
{
    return vqi_fail(VQ_E_FORMAT, "HEAD: \"%s\" is missing or is not what it should be", key);
}

vq_status vqi_head_get_sizes(uint64_t *values, uint32_t *count, const json_t *head, const char *key,
                             uint32_t room, uint64_t most)
{
    const json_t *array = json_object_get(head, key);
    if (!json_is_array(array) || !json_array_size(array) || json_array_size(array) > room)
        return vqi_head_bad(key);
    *count = (uint32_t)json_array_size(array);
    for (uint32_t i = 0; i < *count; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 1 ||
            (uint64_t)json_integer_value(value) > most)
            return vqi_head_bad(key);
        values[i] = (uint64_t)json_integer_value(value);
    }
    return VQ_OK;
}

vq_status vqi_head_get_kind(vq_kind *out, const json_t *head)
{
    const char *kind = json_string_value(json_object_get(head, "kind"));
    for (int k = VQ_KIND_IMAGE; kind && k <= VQ_KIND_ACTION; k++)
        if (!strcmp(kind, vq_kind_name((vq_kind)k))) {
            *out = (vq_kind)k;
            return VQ_OK;
        }
    return vqi_head_bad("kind");
}

vq_status vqi_head_get_packing(vq_packing *out, const json_t *head, vq_packing most)
{
    const char *packing = json_string_value(json_object_get(head, "packing"));
    if (!packing)
        return vqi_head_bad("packing");
    for (int p = VQ_PACKING_RAW; p <= (int)most; p++)
        if (!strcmp(packing, vq_packing_name((vq_packing)p))) {
            *out = (vq_packing)p;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_UNSUPPORTED, "HEAD: the packing \"%.20s\" is not known", packing);
}

int vqi_head_get_digest(uint8_t digest[VQ_SHA256_SIZE], const json_t *text)
{
    if (!json_is_string(text) || json_string_length(text) != 2 * VQ_SHA256_SIZE)
        return 0;
    for (size_t i = 0; i < 2 * VQ_SHA256_SIZE; i++) {
        const char c = json_string_value(text)[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return 0;
        digest[i / 2] = (uint8_t)(digest[i / 2] << 4 | (uint8_t)digit);
    }
    return 1;
}

vq_status vqi_head_get_codec(char name[VQ_CODEC_NAME_SIZE], uint8_t digest[VQ_SHA256_SIZE],
                             const json_t *head)
{
    const json_t *codec = json_object_get(head, "codec"), *model = json_object_get(head, "model");
    if (codec) {
        if (!json_is_string(codec) || json_string_length(codec) >= VQ_CODEC_NAME_SIZE)
            return vqi_head_bad("codec");
        memcpy(name, json_string_value(codec), json_string_length(codec));
    }
    if (model && !vqi_head_get_digest(digest, model))
        return vqi_head_bad("model");
    return VQ_OK;
}
