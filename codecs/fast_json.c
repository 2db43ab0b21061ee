/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer.json of Hugging Face's tokenizers: of one kind, a byte-level BPE. */
#include <string.h>

#include "codecs/fast_internal.h"
#include "io/json_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

/* jansson has no keys with a NUL, which FAST's vocabularies have: "\\u0000" is read as this private character, and turned back. */
static const char stand_in[] = "\\ue000", stand_in_utf8[] = "\xee\x80\x80";

/* A copy of the text in which no "\\u0000" is left; NULL when there is no memory, or *taken where the stand-in is there. */
static char *without_nul(int *taken, const char *text, size_t size)
{
    char *copy = vqi_alloc(size, 1);
    *taken = 0;
    for (size_t i = 0; copy && i < size; i++) {
        copy[i] = text[i];
        *taken |= size - i >= 3 && !memcmp(text + i, stand_in_utf8, 3);
        if (text[i] != '\\' || i + 1 == size)
            continue;
        const int escape = text[i + 1] == 'u' && size - i >= 6;
        *taken |= escape && (!memcmp(text + i + 2, "e000", 4) || !memcmp(text + i + 2, "E000", 4));
        if (escape && !memcmp(text + i + 2, "0000", 4)) {
            memcpy(copy + i, stand_in, 6);
            i += 5;
        } else {
            copy[i + 1] = text[i + 1];
            i++;
        }
    }
    if (copy && *taken) {
        vq_free(copy);
        copy = NULL;
    }
    return copy;
}

/* The text that a string of the JSON means, into `out`, which has room for all of it. @return its bytes. */
static size_t meaning(uint8_t *out, const char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < size; n++)
        if (size - i >= 3 && !memcmp(text + i, stand_in_utf8, 3)) {
            out[n] = 0;
            i += 3;
        } else
            out[n] = (uint8_t)text[i++];
    return n;
}

static const char *type_of(const json_t *parent, const char *key)
{
    const char *type = json_string_value(json_object_get(json_object_get(parent, key), "type"));
    return type ? type : "";
}

static vq_status check_kind(const json_t *json)
{
    const json_t *model = json_object_get(json, "model"),
                 *added = json_object_get(json, "added_tokens");
    const json_t *pre = json_object_get(json, "pre_tokenizer"),
                 *normalizer = json_object_get(json, "normalizer");
    if (!json_is_object(model))
        return vqi_fail(VQ_E_FORMAT, "not a tokenizer.json (it has no \"model\")");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE"))
        return vqi_fail(VQ_E_UNSUPPORTED, "a tokenizer of type %.40s (BPE is read)", type);
    if (strcmp(type_of(json, "pre_tokenizer"), "ByteLevel") ||
        strcmp(type_of(json, "decoder"), "ByteLevel") ||
        json_is_true(json_object_get(pre, "add_prefix_space")) ||
        json_is_false(json_object_get(pre, "use_regex")))
        return vqi_fail(
            VQ_E_UNSUPPORTED,
            "its pre_tokenizer and decoder are not ByteLevel without a blank before the text");
    if ((normalizer && !json_is_null(normalizer)) || json_array_size(added))
        return vqi_fail(VQ_E_UNSUPPORTED, "it has a normalizer or added tokens");
    static const char *const unused[] = {"unk_token", "continuing_subword_prefix",
                                         "end_of_word_suffix", "dropout"};
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
        const json_t *value = json_object_get(model, unused[i]);
        if (value && !json_is_null(value) && !(json_is_string(value) && !json_string_length(value)))
            return vqi_fail(VQ_E_UNSUPPORTED, "its \"%s\" is set", unused[i]);
    }
    return VQ_OK;
}

/* Texts by id, which are 0 to n - 1 in any order. */
static vq_status read_vocabulary(vqi_bpe *bpe, const json_t *model)
{
    json_t *vocabulary = json_object_get(model, "vocab"), *value;
    const size_t n = json_object_size(vocabulary);
    const char *key;
    if (!n)
        return vqi_fail(VQ_E_FORMAT, "its vocabulary is missing or empty");
    const char **tokens = vqi_calloc(n, sizeof *tokens);
    if (!tokens)
        return vqi_fail_nomem(n * sizeof *tokens);
    vq_status status = VQ_OK;
    json_object_foreach(vocabulary, key, value)
    {
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (uint64_t)id >= n || tokens[id]) {
            status = vqi_fail(VQ_E_FORMAT, "the ids of its vocabulary are not 0 to %zu, each once",
                              n - 1);
            break;
        }
        tokens[id] = key;
    }
    for (size_t i = 0; !status && i < n; i++) {
        const size_t size = strlen(tokens[i]);
        uint8_t *text = vqi_alloc(size, 1);
        status = text ? vqi_texts_add(&bpe->vocabulary, text, meaning(text, tokens[i], size))
                      : vqi_fail_nomem(size);
        vq_free(text);
    }
    vq_free(tokens);
    return status;
}

static vq_status add_merge(vqi_bpe *bpe, const char *left, size_t left_room, const char *right,
                           size_t i)
{
    const size_t right_room = strlen(right);
    uint8_t *text = vqi_alloc(left_room + right_room, 1);
    if (!text)
        return vqi_fail_nomem(left_room + right_room);
    const size_t left_size = meaning(text, left, left_room);
    const size_t right_size = meaning(text + left_size, right, right_room);
    const int64_t l = vqi_texts_find(&bpe->vocabulary, text, left_size);
    const int64_t r = vqi_texts_find(&bpe->vocabulary, text + left_size, right_size);
    const int64_t made = vqi_texts_find(&bpe->vocabulary, text, left_size + right_size);
    vq_free(text);
    if (l < 0 || r < 0 || made < 0 || !left_size || !right_size)
        return vqi_fail(VQ_E_FORMAT, "merge %zu is of tokens that are not in the vocabulary", i);
    return vqi_bpe_add_merge(bpe, (vqi_merge){(uint32_t)l, (uint32_t)r, (uint32_t)made});
}

/* ["a", "b"], or, as older files have it, "a b". */
static vq_status read_merges(vqi_bpe *bpe, const json_t *model)
{
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges))
        return vqi_fail(VQ_E_FORMAT, "its merges are missing");
    vq_status status = VQ_OK;
    for (size_t i = 0; !status && i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *left = json_string_value(merge), *right = left ? strchr(left, ' ') : NULL;
        size_t size = right ? (size_t)(right - left) : 0;
        right = right ? right + 1 : NULL;
        if (json_array_size(merge) == 2) {
            left = json_string_value(json_array_get(merge, 0));
            right = json_string_value(json_array_get(merge, 1));
            size = left ? strlen(left) : 0;
        }
        status = left && right ? add_merge(bpe, left, size, right, i)
                               : vqi_fail(VQ_E_FORMAT, "merge %zu is not a pair of texts", i);
    }
    return status;
}

vq_status vqi_bpe_parse(vqi_bpe *bpe, const void *data, size_t size, const vq_limits *limits)
{
    json_t *json = NULL;
    if (size > limits->max_header_bytes)
        return vqi_fail(VQ_E_LIMIT, "%zu bytes of JSON (at most %u)", size,
                        limits->max_header_bytes);
    int taken;
    char *text = without_nul(&taken, data, size);
    if (!text)
        return taken ? vqi_fail(VQ_E_UNSUPPORTED, "its texts hold the character U+E000")
                     : vqi_fail_nomem(size);
    vq_status status = vqi_json_parse(&json, text, size, 0, limits);
    vq_free(text);
    if (!status)
        status = check_kind(json);
    if (!status)
        status = read_vocabulary(bpe, json_object_get(json, "model"));
    if (!status)
        status = read_merges(bpe, json_object_get(json, "model"));
    json_decref(json);
    return status ? status : vqi_bpe_prepare(bpe);
}

static json_t *token_text(const vqi_bpe *bpe, size_t i)
{
    size_t size;
    const uint8_t *text = vqi_texts_at(&size, &bpe->vocabulary, i);
    return json_stringn((const char *)text, size);
}

static json_t *vocabulary_json(const vqi_bpe *bpe)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < bpe->vocabulary.count; i++) {
        size_t size;
        const uint8_t *text = vqi_texts_at(&size, &bpe->vocabulary, i);
        if (json_object_setn_new(object, (const char *)text, size, json_integer((json_int_t)i))) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *merges_json(const vqi_bpe *bpe)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < bpe->merge_count; i++) {
        json_t *pair = json_array();
        int failed = json_array_append_new(pair, token_text(bpe, bpe->merges[i].left));
        failed |= json_array_append_new(pair, token_text(bpe, bpe->merges[i].right));
        if (json_array_append_new(array, pair) || failed) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *byte_level(int prefix)
{
    return json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", prefix,
                     "trim_offsets", 1, "use_regex", 1);
}

vq_status vqi_bpe_serialize(vq_bytes *out, const vqi_bpe *bpe)
{
    json_t *model =
        json_pack("{ss sn sn sn sn sb sb sb so so}", "type", "BPE", "dropout", "unk_token",
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback",
                  0, "ignore_merges", 0, "vocab", vocabulary_json(bpe), "merges", merges_json(bpe));
    json_t *json =
        model ? json_pack("{ss sn sn s[] sn so sn so so}", "version", "1.0", "truncation",
                          "padding", "added_tokens", "normalizer", "pre_tokenizer", byte_level(0),
                          "post_processor", "decoder", byte_level(1), "model", model)
              : NULL;
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    const size_t size = text ? strlen(text) : 0;
    out->size = 0;
    out->data = text ? vqi_alloc(size, 1) : NULL;
    if (out->data) {
        memcpy(out->data, text, size);
        out->size = size;
    }
    json_malloc_t json_alloc;
    json_free_t json_free;
    json_get_alloc_funcs(&json_alloc, &json_free);
    json_free(text);
    json_decref(json);
    return out->data ? VQ_OK : vqi_fail_nomem(size);
}
