/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a text JSON (RFC 8259), and how deep? Asked before jansson sees it, for three reasons: jansson recurses,
 * its messages hold no byte offset of the file, and it reports an allocation that failed as a syntax error.
 */
#include <string.h>

#include "io/json_internal.h"

typedef struct scanner {
    const char *begin, *at, *end;
    uint32_t depth, limit;
    int too_deep;
} scanner;

static void skip_space(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static int skip_char(scanner *s, char c)
{
    if (s->at >= s->end || *s->at != c)
        return 0;
    s->at++;
    return 1;
}

static int skip_digits(scanner *s)
{
    const char *first = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > first;
}

static int skip_number(scanner *s)
{
    skip_char(s, '-');
    if (!skip_char(s, '0') && !skip_digits(s))
        return 0;
    if (skip_char(s, '.') && !skip_digits(s))
        return 0;
    if (skip_char(s, 'e') || skip_char(s, 'E')) {
        if (!skip_char(s, '+'))
            skip_char(s, '-');
        return skip_digits(s);
    }
    return 1;
}

/* The number of "\uXXXX" at the cursor, or -1. */
static long skip_unicode(scanner *s)
{
    long value = 0;
    if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        const char c = s->at[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    s->at += 6;
    return value;
}

static int skip_escape(scanner *s)
{
    if (s->end - s->at < 2)
        return 0;
    if (s->at[1] != 'u') {
        if (!s->at[1] || !strchr("\"\\/bfnrt", s->at[1]))
            return 0;
        s->at += 2;
        return 1;
    }
    const long high = skip_unicode(s);
    if (high < 0xd800 || high > 0xdfff)
        return high >= 0;
    /* A surrogate is half a character: the other half must follow. */
    const long low = high <= 0xdbff ? skip_unicode(s) : -1;
    return low >= 0xdc00 && low <= 0xdfff;
}

static int skip_string(scanner *s)
{
    if (!skip_char(s, '"'))
        return 0;
    while (s->at < s->end && *s->at != '"') {
        if (*s->at == '\\') {
            if (!skip_escape(s))
                return 0;
        } else if ((unsigned char)*s->at < 0x20)
            return 0;
        else
            s->at++;
    }
    return skip_char(s, '"');
}

static int skip_word(scanner *s, const char *word)
{
    const size_t length = strlen(word);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length))
        return 0;
    s->at += length;
    return 1;
}

static int skip_value(scanner *s);

/* An object or an array: members between brackets, parted by commas. The recursion is bounded by the limit. */
static int skip_members(scanner *s, char close, int keyed)
{
    s->at++;
    if (++s->depth > s->limit) {
        s->too_deep = 1;
        return 0;
    }
    skip_space(s);
    if (!skip_char(s, close)) {
        do {
            skip_space(s);
            if (keyed) {
                if (!skip_string(s))
                    return 0;
                skip_space(s);
                if (!skip_char(s, ':'))
                    return 0;
            }
            if (!skip_value(s))
                return 0;
        } while (skip_char(s, ','));
        if (!skip_char(s, close))
            return 0;
    }
    s->depth--;
    return 1;
}

static int skip_value(scanner *s)
{
    int good = 0;
    skip_space(s);
    if (s->at < s->end)
        switch (*s->at) {
        case '{':
            good = skip_members(s, '}', 1);
            break;
        case '[':
            good = skip_members(s, ']', 0);
            break;
        case '"':
            good = skip_string(s);
            break;
        default:
            good = skip_word(s, "true") || skip_word(s, "false") || skip_word(s, "null") ||
                   skip_number(s);
        }
    if (good)
        skip_space(s);
    return good;
}

vqi_json_verdict vqi_json_check(size_t *offset, const char *text, size_t size, uint32_t max_depth)
{
    scanner s = {text, text, text + size, 0, max_depth, 0};
    const int good = skip_value(&s) && s.at == s.end;
    *offset = (size_t)(s.at - s.begin);
    return good ? VQI_JSON_VALID : s.too_deep ? VQI_JSON_TOO_DEEP : VQI_JSON_INVALID;
}
