/* SPDX-License-Identifier: Apache-2.0 */
#include "io/json_internal.h"

#include "vq/error_internal.h"

/* jansson refuses deeper nesting by itself; our recursion must be bounded whatever the caller allows. */
enum { MAX_DEPTH = 1024 };

vq_status vqi_json_parse(json_t **out, const char *text, size_t size, size_t offset,
                         const vq_limits *limits)
{
    *out = NULL;
    size_t at;
    const uint32_t max_depth =
        limits->max_json_depth < MAX_DEPTH ? limits->max_json_depth : MAX_DEPTH;
    switch (vqi_json_check(&at, text, size, max_depth)) {
    case VQI_JSON_VALID:
        break;
    case VQI_JSON_TOO_DEEP:
        return vqi_fail(VQ_E_LIMIT, "byte %zu: the JSON is nested deeper than %u", offset + at,
                        max_depth);
    case VQI_JSON_INVALID:
        return vqi_fail(VQ_E_FORMAT, "byte %zu: not valid JSON", offset + at);
    }
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        switch (json_error_code(&error)) {
        case json_error_invalid_utf8:
        case json_error_null_character:
        case json_error_null_byte_in_key:
        case json_error_duplicate_key:
        case json_error_numeric_overflow:
            return vqi_fail(VQ_E_FORMAT, "byte %zu: the JSON cannot be used (%s)",
                            offset + (error.position > 0 ? (size_t)error.position : 0), error.text);
        default: /* the text is JSON: what is left is memory */
            return vqi_fail_nomem(size);
        }
    }
    if (!json_is_object(json)) {
        json_decref(json);
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the JSON is not an object", offset);
    }
    *out = json;
    return VQ_OK;
}
