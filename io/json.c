/* SPDX-License-Identifier: Apache-2.0 */
#include "io/json_internal.h"

#include "vq/error_internal.h"

/* jansson recurses, so the depth is measured before it starts. */
static uint32_t depth_of(const char *text, size_t size)
{
    uint32_t depth = 0, deepest = 0;
    int in_string = 0;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"')
            in_string = 1;
        else if (c == '{' || c == '[')
            deepest = ++depth > deepest ? depth : deepest;
        else if ((c == '}' || c == ']') && depth)
            depth--;
    }
    return deepest;
}

vq_status vqi_json_parse(json_t **out, const char *text, size_t size, size_t offset,
                         const vq_limits *limits)
{
    *out = NULL;
    const uint32_t depth = depth_of(text, size);
    if (depth > limits->max_json_depth)
        return vqi_fail(VQ_E_LIMIT, "byte %zu: the JSON is nested %u deep (at most %u)", offset,
                        depth, limits->max_json_depth);
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!json) {
        /* Where an allocation fails deep inside, jansson says nothing at all. */
        if (json_error_code(&error) == json_error_out_of_memory || !*error.text)
            return vqi_fail_nomem(size);
        return vqi_fail(VQ_E_FORMAT, "byte %zu: not valid JSON (%s)",
                        offset + (error.position > 0 ? (size_t)error.position : 0), error.text);
    }
    if (!json_is_object(json)) {
        json_decref(json);
        return vqi_fail(VQ_E_FORMAT, "byte %zu: the JSON is not an object", offset);
    }
    *out = json;
    return VQ_OK;
}
