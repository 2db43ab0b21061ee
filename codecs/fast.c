/* SPDX-License-Identifier: Apache-2.0 */
/* FAST: a chunk, its integers, their text, its tokens, and back. */
#include "codecs/fast.h"

#include <math.h>
#include <string.h>

#include "codecs/fast_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"

enum { MAX_HORIZON = 512, MAX_DIMENSIONS = 65536, MOST_BYTES = 3, VOCABULARY = 1024 };

struct vq_fast {
    vq_fast_form form;
    size_t size; /* H x D */
    vqi_bpe bpe;
    double *basis; /* H x H: row k is frequency k */
    uint32_t *
        nearest; /* of each character up to nearest_count: the one that all bytes have tokens for; NULL = all do */
};

void vq_fast_free(vq_fast *fast)
{
    if (!fast)
        return;
    vqi_bpe_clear(&fast->bpe);
    vq_free(fast->basis);
    vq_free(fast->nearest);
    vq_free(fast);
}

static vq_status create(vq_fast **out, const vq_fast_form *form)
{
    *out = NULL;
    vq_fast_form own;
    const vq_status status = vqi_options(&own, sizeof own, form, "vq_fast_form");
    if (status)
        return status;
    own.scale = own.scale != 0 ? own.scale : 10;
    own.vocabulary = own.vocabulary ? own.vocabulary : VOCABULARY;
    if (!own.horizon || own.horizon > MAX_HORIZON || !own.dimensions ||
        own.dimensions > MAX_DIMENSIONS || !(own.scale > 0 && own.scale <= 1e6) ||
        own.min_token < -VQI_FAST_LAST || own.min_token > VQI_FAST_LAST ||
        own.vocabulary > 1u << 24)
        return vqi_fail(VQ_E_ARG,
                        "chunks of %u x %u, scale %g, smallest integer %d, %u tokens (horizon 1 to "
                        "%d, dimensions 1 to %d, scale above 0)",
                        own.horizon, own.dimensions, own.scale, (int)own.min_token, own.vocabulary,
                        MAX_HORIZON, MAX_DIMENSIONS);
    vq_fast *fast = vqi_calloc(1, sizeof *fast);
    double *basis = vqi_alloc((size_t)own.horizon * own.horizon, sizeof *basis);
    if (!fast || !basis) {
        vq_free(fast);
        vq_free(basis);
        return vqi_fail_nomem((size_t)own.horizon * own.horizon * sizeof *basis);
    }
    const double pi = 3.14159265358979323846;
    const uint32_t h = own.horizon;
    for (uint32_t k = 0; k < h; k++)
        for (uint32_t t = 0; t < h; t++)
            basis[k * h + t] = sqrt((k ? 2.0 : 1.0) / h) * cos(pi * (2.0 * t + 1) * k / (2.0 * h));
    fast->form = own;
    fast->size = (size_t)own.horizon * own.dimensions;
    fast->basis = basis;
    *out = fast;
    return VQ_OK;
}

static int has_tokens(const vqi_bpe *bpe, uint32_t c)
{
    uint8_t bytes[4];
    const unsigned size = vqi_utf8_put(bytes, c);
    for (unsigned i = 0; i < size; i++)
        if (bpe->byte_id[bytes[i]] < 0)
            return 0;
    return 1;
}

/* For characters whose bytes the vocabulary lacks, the nearest that it has; the lower of two. */
static vq_status find_nearest(vq_fast *fast)
{
    enum { COUNT = VQI_FAST_LAST + 1 };
    uint32_t last = UINT32_MAX;
    int all = 1;
    fast->nearest = vqi_alloc(COUNT, sizeof *fast->nearest);
    if (!fast->nearest)
        return vqi_fail_nomem(COUNT * sizeof *fast->nearest);
    for (uint32_t c = 0; c < COUNT; c++) {
        const int has = has_tokens(&fast->bpe, c);
        all &= has;
        last = has ? c : last;
        fast->nearest[c] = last;
    }
    if (last == UINT32_MAX)
        return vqi_fail(VQ_E_FORMAT, "the vocabulary has no tokens for any character");
    for (uint32_t c = COUNT, next = UINT32_MAX; c-- > 0;) {
        const uint32_t below = fast->nearest[c];
        if (below == c)
            next = c;
        else if (below == UINT32_MAX || (next != UINT32_MAX && next - c < c - below))
            fast->nearest[c] = next;
    }
    if (all) {
        vq_free(fast->nearest);
        fast->nearest = NULL;
    }
    return VQ_OK;
}

/* The integers of a chunk, frequency by frequency. @return 0 if a number is not finite. */
static int transform(double *integers, const vq_fast *fast, const float *chunk)
{
    const uint32_t h = fast->form.horizon, d = fast->form.dimensions;
    for (uint32_t k = 0; k < h; k++)
        for (uint32_t i = 0; i < d; i++) {
            double sum = 0;
            for (uint32_t t = 0; t < h; t++)
                sum += fast->basis[k * h + t] * (double)chunk[t * d + i];
            integers[k * d + i] = rint(sum * fast->form.scale);
            if (!isfinite(integers[k * d + i]))
                return 0;
        }
    return 1;
}

static void untransform(float *chunk, const vq_fast *fast, const double *integers)
{
    const uint32_t h = fast->form.horizon, d = fast->form.dimensions;
    for (uint32_t t = 0; t < h; t++)
        for (uint32_t i = 0; i < d; i++) {
            double sum = 0;
            for (uint32_t k = 0; k < h; k++)
                sum += fast->basis[k * h + t] * (integers[k * d + i] / fast->form.scale);
            chunk[t * d + i] = (float)sum;
        }
}

static vq_status finish_parse(vq_fast *fast, const void *json, size_t size, const vq_limits *limits)
{
    vq_status status = vqi_bpe_parse(&fast->bpe, json, size, limits);
    if (status)
        return status;
    fast->form.vocabulary = (uint32_t)fast->bpe.vocabulary.count;
    return find_nearest(fast);
}

vq_status vq_fast_parse(vq_fast **out, const void *json, size_t size, const vq_fast_form *form,
                        const char *name, const vq_limits *limits)
{
    *out = NULL;
    vq_limits own;
    vq_fast *fast = NULL;
    vq_status status = vq_limits_resolve(&own, limits);
    if (!status)
        status = create(&fast, form);
    if (!status) {
        status = finish_parse(fast, json, size, &own);
        if (status && name)
            vqi_fail_in(status, name);
    }
    if (status) {
        vq_fast_free(fast);
        return status;
    }
    *out = fast;
    return VQ_OK;
}

vq_status vq_fast_serialize(vq_bytes *out, const vq_fast *fast)
{
    return vqi_bpe_serialize(out, &fast->bpe);
}

void vq_fast_get_form(vq_fast_form *out, const vq_fast *fast)
{
    *out = fast->form;
}

size_t vq_fast_max_tokens(const vq_fast *fast)
{
    return MOST_BYTES * fast->size;
}

/* Pieces of text as bytes, each to be used: learnt from, or encoded. */
static size_t piece_bytes(uint8_t *bytes, const uint32_t *text, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += vqi_utf8_put(bytes + size, text[i]);
    return size;
}

typedef struct corpus {
    vqi_texts words;
    uint64_t *counts;
    size_t room;
} corpus;

static vq_status add_word(corpus *c, const uint8_t *bytes, size_t size)
{
    const int64_t known = vqi_texts_find(&c->words, bytes, size);
    if (known >= 0 && c->counts) {
        c->counts[known]++;
        return VQ_OK;
    }
    if (!c->counts || c->words.count == c->room) {
        const size_t room = 2 * c->room + 256;
        uint64_t *counts = vqi_alloc(room, sizeof *counts);
        if (!counts)
            return vqi_fail_nomem(room * sizeof *counts);
        if (c->counts)
            memcpy(counts, c->counts, c->room * sizeof *counts);
        vq_free(c->counts);
        c->counts = counts;
        c->room = room;
    }
    c->counts[c->words.count] = 1;
    return vqi_texts_add(&c->words, bytes, size);
}

static vq_status collect_words(corpus *c, const vq_fast *fast, const double *integers, size_t n)
{
    uint32_t *text = vqi_alloc(fast->size, sizeof *text);
    uint8_t *bytes = vqi_alloc(fast->size, 4);
    vq_status status = text && bytes ? VQ_OK : vqi_fail_nomem(fast->size * (4 + sizeof *text));
    for (size_t chunk = 0; !status && chunk < n; chunk++) {
        for (size_t i = 0; i < fast->size; i++)
            text[i] = (uint32_t)(integers[chunk * fast->size + i] - fast->form.min_token);
        for (size_t at = 0, piece; !status && (piece = vqi_next_piece(text, at, fast->size));
             at += piece)
            status = add_word(c, bytes, piece_bytes(bytes, text + at, piece));
    }
    vq_free(text);
    vq_free(bytes);
    return status;
}

static vq_status learn(vq_fast *fast, const double *integers, size_t n)
{
    double least = integers[0], most = integers[0];
    for (size_t i = 0; i < n * fast->size; i++) {
        least = fmin(least, integers[i]);
        most = fmax(most, integers[i]);
    }
    const double alphabet = most - least + 1;
    if (alphabet > fast->form.vocabulary || alphabet > VQI_FAST_LAST || fabs(least) > VQI_FAST_LAST)
        return vqi_fail(VQ_E_ARG,
                        "the chunks have integers from %.0f to %.0f, and the vocabulary %u tokens "
                        "(take a larger vocabulary or a smaller scale, or normalise)",
                        least, most, fast->form.vocabulary);
    fast->form.min_token = (int32_t)least;
    corpus c = {0};
    vq_status status = collect_words(&c, fast, integers, n);
    if (!status)
        status = vqi_bpe_train(&fast->bpe, &c.words, c.counts, (uint32_t)alphabet,
                               fast->form.vocabulary);
    vqi_texts_clear(&c.words);
    vq_free(c.counts);
    if (status)
        return status;
    fast->form.vocabulary = (uint32_t)fast->bpe.vocabulary.count;
    return find_nearest(fast);
}

vq_status vq_fast_train(vq_fast **out, const float *chunks, size_t n, const vq_fast_form *form)
{
    *out = NULL;
    vq_fast *fast;
    vq_status status = create(&fast, form);
    if (status)
        return status;
    double *integers = NULL;
    size_t values = 0;
    if (!n || !vqi_mul(&values, n, fast->size))
        status = vqi_fail(VQ_E_ARG, "%zu chunks to learn tokens from", n);
    else if (!(integers = vqi_alloc(values, sizeof *integers)))
        status = vqi_fail_nomem(values * sizeof *integers);
    for (size_t i = 0; !status && i < n; i++)
        if (!transform(integers + i * fast->size, fast, chunks + i * fast->size))
            status = vqi_fail(VQ_E_NONFINITE, "chunk %zu holds a NaN or an infinity", i);
    if (!status)
        status = learn(fast, integers, n);
    vq_free(integers);
    if (status) {
        vq_fast_free(fast);
        return status;
    }
    *out = fast;
    return VQ_OK;
}

/* Integers to characters that have tokens. @return how many had to be changed. */
static size_t to_text(uint32_t *text, const vq_fast *fast, const double *integers)
{
    size_t changed = 0;
    for (size_t i = 0; i < fast->size; i++) {
        const double c = integers[i] - fast->form.min_token;
        const double inside = c < 0 ? 0 : c > VQI_FAST_LAST ? VQI_FAST_LAST : c;
        text[i] = (uint32_t)inside;
        if (fast->nearest)
            text[i] = fast->nearest[text[i]];
        changed += (double)text[i] != c;
    }
    return changed;
}

vq_status vq_fast_encode(uint32_t *ids, size_t *count, size_t *clamped, const vq_fast *fast,
                         const float *chunk)
{
    const size_t size = fast->size;
    double *integers = vqi_alloc(size, sizeof *integers);
    uint32_t *text = vqi_alloc(size, sizeof *text);
    uint8_t *bytes = vqi_alloc(size, 4);
    uint32_t *scratch = vqi_alloc(size, (size_t)2 * MOST_BYTES * sizeof *scratch);
    vq_status status = VQ_OK;
    if (!integers || !text || !bytes || !scratch)
        status = vqi_fail_nomem(size * 40);
    else if (!transform(integers, fast, chunk))
        status = vqi_fail(VQ_E_NONFINITE, "the chunk holds a NaN or an infinity");
    if (!status) {
        const size_t changed = to_text(text, fast, integers);
        if (clamped)
            *clamped = changed;
        *count = 0;
        for (size_t at = 0, piece; (piece = vqi_next_piece(text, at, size)); at += piece)
            *count += vqi_bpe_encode(ids + *count, &fast->bpe, bytes,
                                     piece_bytes(bytes, text + at, piece), scratch);
    }
    vq_free(integers);
    vq_free(text);
    vq_free(bytes);
    vq_free(scratch);
    return status;
}

/* Characters of a sequence of tokens, one after the other. */
typedef struct reader {
    const vq_fast *fast;
    const uint32_t *ids;
    size_t count, at;     /* tokens, and those that were opened */
    const uint8_t *bytes; /* what is left of the last one */
    size_t left;
} reader;

/* @return 1; 0 at the end; -1 for an id that there is not; -2 for bytes that are no character. */
static int next_character(uint32_t *c, reader *r)
{
    uint8_t buffer[4];
    unsigned have = 0;
    for (;;) {
        while (!r->left) {
            if (r->at == r->count)
                return have ? -2 : 0;
            if (r->ids[r->at] >= r->fast->form.vocabulary)
                return -1;
            r->bytes = vqi_bpe_bytes(&r->left, &r->fast->bpe, r->ids[r->at++]);
        }
        buffer[have++] = *r->bytes++;
        r->left--;
        if (vqi_utf8_get(c, buffer, have) == have)
            return 1;
        if (have == sizeof buffer)
            return -2;
    }
}

size_t vqi_fast_chunk_tokens(const vq_fast *fast, const uint32_t *ids, size_t at, size_t count)
{
    reader r = {.fast = fast, .ids = ids + at, .count = count - at};
    uint32_t c;
    for (size_t i = 0; i < fast->size; i++)
        if (next_character(&c, &r) != 1)
            return 0;
    return r.left ? 0 : r.at;
}

/* @return how many characters there are, up to H x D, and what ended them. */
static size_t read_integers(double *integers, int *end, const vq_fast *fast, const uint32_t *ids,
                            size_t count)
{
    reader r = {.fast = fast, .ids = ids, .count = count};
    uint32_t c;
    size_t n = 0;
    while ((*end = next_character(&c, &r)) == 1 && n < fast->size)
        integers[n++] = (double)c + fast->form.min_token;
    return n;
}

static vq_status complain(const vq_fast *fast, int end, size_t n)
{
    if (end == -1)
        return vqi_fail(VQ_E_FORMAT, "a token is not below %u, the vocabulary",
                        fast->form.vocabulary);
    if (end == -2)
        return vqi_fail(VQ_E_FORMAT, "after %zu coefficients the tokens spell no character", n);
    return vqi_fail(VQ_E_FORMAT, "the tokens spell %s %zu coefficients (a chunk has %u x %u)",
                    end == 1 ? "more than" : "only", n, fast->form.horizon, fast->form.dimensions);
}

vq_status vq_fast_decode(float *chunk, int *malformed, const vq_fast *fast, const uint32_t *ids,
                         size_t count, vq_fast_policy policy, const float *last)
{
    if (policy < VQ_FAST_STRICT || policy > VQ_FAST_HOLD || (policy == VQ_FAST_HOLD && !last))
        return vqi_fail(VQ_E_ARG, "%d is not a policy, or there is no last action to hold",
                        (int)policy);
    double *integers = vqi_calloc(fast->size, sizeof *integers);
    if (!integers)
        return vqi_fail_nomem(fast->size * sizeof *integers);
    int end;
    const size_t n = read_integers(integers, &end, fast, ids, count);
    const int bad = end != 0 || n != fast->size;
    vq_status status = VQ_OK;
    if (bad && policy == VQ_FAST_STRICT)
        status = complain(fast, end, n);
    else if (bad && policy == VQ_FAST_HOLD)
        for (uint32_t t = 0; t < fast->form.horizon; t++)
            memcpy(chunk + (size_t)t * fast->form.dimensions, last,
                   fast->form.dimensions * sizeof *chunk);
    else
        untransform(chunk, fast, integers);
    vq_free(integers);
    if (malformed)
        *malformed = bad;
    return status;
}
