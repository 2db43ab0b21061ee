/* SPDX-License-Identifier: Apache-2.0 */
/* The header of .npy is Python source. Only what NumPy writes is understood, give or take blanks. */
#include "io/npy_internal.h"

#include <string.h>

#include "vq/error_internal.h"

typedef struct scanner {
    const char *begin, *at, *end;
    size_t offset; /* of begin in the file */
} scanner;

static vq_status bad(const scanner *s, const char *expected)
{
    return vqi_fail(VQ_E_FORMAT, "byte %zu: the header has no %s here",
                    s->offset + (size_t)(s->at - s->begin), expected);
}

static void skip_blanks(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static int skip_char(scanner *s, char c)
{
    skip_blanks(s);
    if (s->at >= s->end || *s->at != c)
        return 0;
    s->at++;
    return 1;
}

static int skip_word(scanner *s, const char *word)
{
    const size_t length = strlen(word);
    skip_blanks(s);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length))
        return 0;
    s->at += length;
    return 1;
}

/* A text in either kind of quotes, without escapes: none of NumPy's has any. */
static int read_text(scanner *s, char *text, size_t room)
{
    skip_blanks(s);
    if (s->at >= s->end || (*s->at != '\'' && *s->at != '"'))
        return 0;
    const char quote = *s->at++;
    size_t length = 0;
    while (s->at < s->end && *s->at != quote && *s->at != '\\' && length + 1 < room)
        text[length++] = *s->at++;
    text[length] = '\0';
    return skip_char(s, quote);
}

static vq_status read_descr(vqi_npy_header *header, scanner *s)
{
    static const struct {
        const char *code;
        vq_dtype dtype;
    } types[] = {{"b1", VQ_DTYPE_BOOL}, {"i1", VQ_DTYPE_I8},  {"i2", VQ_DTYPE_I16},
                 {"i4", VQ_DTYPE_I32},  {"i8", VQ_DTYPE_I64}, {"u1", VQ_DTYPE_U8},
                 {"u2", VQ_DTYPE_U16},  {"u4", VQ_DTYPE_U32}, {"u8", VQ_DTYPE_U64},
                 {"f2", VQ_DTYPE_F16},  {"f4", VQ_DTYPE_F32}, {"f8", VQ_DTYPE_F64}};
    char text[32];
    skip_blanks(s);
    if (s->at < s->end && *s->at == '[')
        return vqi_fail(VQ_E_UNSUPPORTED,
                        "a structured array (save one field of it as an array of its own)");
    if (!read_text(s, text, sizeof text))
        return bad(s, "dtype");
    if (strlen(text) < 2 || !strchr("<>=|", text[0]))
        return vqi_fail(VQ_E_FORMAT, "the dtype \"%s\" is not one of NumPy's", text);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(text + 1, types[i].code)) {
            header->dtype = types[i].dtype;
            header->big_endian = text[0] == '>';
            return VQ_OK;
        }
    switch (text[1]) {
    case 'O':
        return vqi_fail(VQ_E_UNSUPPORTED, "an array of Python objects, which would run code");
    case 'c':
        return vqi_fail(VQ_E_UNSUPPORTED, "complex numbers (save the real and imaginary parts)");
    case 'S':
    case 'U':
    case 'V':
    case 'a':
        return vqi_fail(VQ_E_UNSUPPORTED, "an array of texts or raw bytes (%s)", text);
    case 'M':
    case 'm':
        return vqi_fail(VQ_E_UNSUPPORTED, "an array of dates or times (%s)", text);
    case 'f':
    case 'i':
    case 'u':
    case 'b':
        return vqi_fail(VQ_E_UNSUPPORTED, "numbers of the type %s", text);
    default:
        return vqi_fail(VQ_E_FORMAT, "the dtype \"%s\" is not one of NumPy's", text);
    }
}

static vq_status read_order(vqi_npy_header *header, scanner *s)
{
    if (skip_word(s, "True"))
        header->fortran_order = 1;
    else if (skip_word(s, "False"))
        header->fortran_order = 0;
    else
        return bad(s, "True or False");
    return VQ_OK;
}

static int read_size(scanner *s, size_t *value)
{
    skip_blanks(s);
    const char *first = s->at;
    *value = 0;
    for (; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++)
        if (__builtin_mul_overflow(*value, (size_t)10, value) ||
            __builtin_add_overflow(*value, (size_t)(*s->at - '0'), value))
            return 0;
    return s->at > first;
}

static vq_status read_shape(vqi_npy_header *header, scanner *s)
{
    if (!skip_char(s, '('))
        return bad(s, "shape");
    while (!skip_char(s, ')')) {
        if (header->ndim == VQ_MAX_NDIM)
            return vqi_fail(VQ_E_LIMIT, "the array has more than %d dimensions", VQ_MAX_NDIM);
        if (!read_size(s, &header->shape[header->ndim]))
            return bad(s, "possible size");
        header->ndim++;
        if (!skip_char(s, ',') && (s->at >= s->end || *s->at != ')'))
            return bad(s, "comma");
    }
    return VQ_OK;
}

vq_status vqi_npy_parse_header(vqi_npy_header *out, const char *text, size_t size, size_t offset)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    static vq_status (*const readers[])(vqi_npy_header *, scanner *) = {read_descr, read_order,
                                                                        read_shape};
    scanner s = {text, text, text + size, offset};
    unsigned seen = 0;
    memset(out, 0, sizeof *out);
    if (!skip_char(&s, '{'))
        return bad(&s, "dict");
    while (!skip_char(&s, '}')) {
        char key[16];
        unsigned k = 0;
        if (!read_text(&s, key, sizeof key))
            return bad(&s, "key");
        while (k < 3 && strcmp(key, keys[k]))
            k++;
        if (k == 3 || seen & 1u << k)
            return vqi_fail(VQ_E_FORMAT, "the header's key \"%s\" is %s", key,
                            k == 3 ? "unknown" : "there twice");
        seen |= 1u << k;
        if (!skip_char(&s, ':'))
            return bad(&s, "colon");
        const vq_status status = readers[k](out, &s);
        if (status)
            return status;
        if (!skip_char(&s, ',') && (s.at >= s.end || *s.at != '}'))
            return bad(&s, "comma");
    }
    skip_blanks(&s);
    if (s.at != s.end)
        return bad(&s, "end");
    for (unsigned k = 0; k < 3; k++)
        if (!(seen & 1u << k))
            return vqi_fail(VQ_E_FORMAT, "the header lacks \"%s\"", keys[k]);
    return VQ_OK;
}
