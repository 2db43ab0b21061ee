/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rvq head: a row is a sum of codewords, each in a slice of the dimensions. For a state the product with every codeword is made
 * once; a logit is a sum of those, found by the row's codes. Codes lie 16 rows together, level by level, so that a register
 * takes one of each row.
 */
#include <stdio.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/quantizer_internal.h"

enum { TABLE = VQI_TABLE };

void vqi_books_clear(vq_head *head)
{
    for (uint32_t m = 0; head->books && m < head->levels; m++)
        vqi_rows_clear(&head->books[m]);
    vq_free(head->books);
    vq_free(head->book_first);
    vq_free(head->row_codes);
}

/* Where the codes of a row are: from here on, every 16th. */
static size_t codes_at(const vq_head *head, size_t place)
{
    return place / VQI_ROWS * VQI_ROWS * head->levels + place % VQI_ROWS;
}

/* A dot product with a slice of a state, which is followed by others: take it apart first. */
static void dots(float *out, const vqi_head_call *c, size_t state, uint32_t level, size_t first,
                 size_t count, float *slice)
{
    const vqi_rows *book = &c->head->books[level];
    memcpy(slice, vqi_head_state(c, state) + c->head->book_first[level], book->d * sizeof *slice);
    memset(slice + book->d, 0, (vqi_padded(book->d) - book->d) * sizeof *slice);
    c->kernels->one(out, book, first, count, slice);
}

/* The products of all codewords with all states. */
static void make_tables(vqi_head_call *c, size_t states)
{
    const vq_head *head = c->head;
    const size_t levels = head->levels;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (size_t i = 0; i < states * levels; i++)
        dots(c->tables + i * TABLE, c, i / levels, (uint32_t)(i % levels), 0,
             head->books[i % levels].n,
             c->slices + (size_t)omp_get_thread_num() * vqi_padded(head->d));
    c->report.codes += states * head->code_count;
    c->report.bytes += states * head->book_bytes;
}

static void pass_over(vqi_pass *pass, vqi_head_call *c, size_t states)
{
    const vq_head *head = c->head;
    make_tables(c, states);
    pass->rows = &head->rows;
    pass->looked_up = 1;
    vqi_head_pass(c, pass, states);
    c->report.rows += states * head->v;
    c->report.bytes += states * head->v * (head->levels + (head->rows.bias ? sizeof(float) : 0));
}

static void all(float *logits, vqi_mass *mass, vqi_head_call *c, size_t states)
{
    vqi_pass pass = {.mass = mass, .scale = 1};
    pass.logits = logits;
    pass_over(&pass, c, states);
}

static void rank(vqi_mass *mass, vqi_head_call *c, size_t states, float scale)
{
    vqi_pass pass = {.ids = c->count ? c->head->ids : NULL, .mass = mass, .scale = scale};
    pass_over(&pass, c, states);
}

/* By the codewords themselves, which gives the same bits as the tables. */
static float score(vqi_head_call *c, size_t state, size_t place)
{
    const vq_head *head = c->head;
    const uint8_t *codes = head->row_codes + codes_at(head, place);
    float sum = 0;
    for (uint32_t m = 0; m < head->levels; m++) {
        float product;
        dots(&product, c, state, m, codes[(size_t)m * VQI_ROWS], 1, c->slices);
        sum += product;
        c->report.bytes += 1 + head->books[m].d * sizeof(float);
    }
    c->report.rows++;
    return head->rows.bias ? sum + head->rows.bias[place] : sum;
}

static void decode(float *row, float *bias, const vq_head *head, size_t place)
{
    const uint8_t *codes = head->row_codes + codes_at(head, place);
    memset(row, 0, head->d * sizeof *row);
    for (uint32_t m = 0; m < head->levels; m++) {
        const vqi_rows *book = &head->books[m];
        const float *codeword =
            (const float *)book->data + (size_t)codes[(size_t)m * VQI_ROWS] * book->d;
        for (uint32_t i = 0; i < book->d; i++)
            row[head->book_first[m] + i] += codeword[i];
    }
    *bias = head->rows.bias ? head->rows.bias[place] : 0;
}

static double draw(vqi_token *token, vqi_head_call *c, size_t state, double u, vqi_mass mass,
                   float scale)
{
    const vq_head *head = c->head;
    size_t block = 0;
    const double rest = vqi_head_pick_block(&block, c, state, head->v, u, mass);
    const size_t first = block * VQI_HEAD_BLOCK,
                 count = head->v - first < VQI_HEAD_BLOCK ? head->v - first : VQI_HEAD_BLOCK;
    vqi_head_look_up(c->tiles, c, state, first, count);
    const size_t i = vqi_mass_pick(c->tiles, count, scale, rest);
    *token = (vqi_token){c->tiles[i], head->ids[first + i]};
    return (double)token->logit * scale - vqi_mass_log(mass);
}

static void describe(vq_head_info *info, const vq_head *head)
{
    info->levels = head->levels;
    info->codes = head->code_count;
    info->code_storage = VQ_HEAD_F32;
    info->bytes +=
        head->book_bytes + head->v * head->levels + (head->rows.bias ? head->v * sizeof(float) : 0);
}

/* Room for the codes, all 0, and the books. */
static vq_status allocate(vq_head *head, uint32_t levels)
{
    const size_t blocks = (head->v + VQI_ROWS - 1) / VQI_ROWS;
    size_t bytes;
    head->books = vqi_calloc(levels, sizeof *head->books);
    head->levels = head->books ? levels : 0;
    head->book_first = vqi_calloc(levels, sizeof *head->book_first);
    head->row_codes = vqi_mul(&bytes, blocks * VQI_ROWS, levels) ? vqi_calloc(bytes, 1) : NULL;
    if (head->books && head->book_first && head->row_codes)
        return VQ_OK;
    return vqi_fail_nomem((unsigned long long)head->v * levels);
}

/* Take the codes of all rows, `codes` or `bytes`, row by row. */
static vq_status set_codes(vq_head *head, const uint32_t *codes, const uint8_t *bytes,
                           const uint32_t *row_of, vq_status wrong)
{
    const size_t levels = head->levels;
    for (size_t i = 0; i < head->v; i++) {
        const size_t row = (row_of ? row_of[i] : i) * levels;
        uint8_t *to = head->row_codes + codes_at(head, i);
        for (size_t m = 0; m < levels; m++) {
            const uint32_t code = codes ? codes[row + m] : bytes ? bytes[row + m] : 0;
            if (code >= head->books[m].n)
                return vqi_fail(wrong, "the code of row %zu at level %zu is %u (K is %zu)",
                                row / levels, m, code, head->books[m].n);
            to[m * VQI_ROWS] = (uint8_t)code;
        }
    }
    return VQ_OK;
}

/* How large a part of a logit can be: the sum of the levels' longest codewords. */
static void measure(vq_head *head)
{
    head->largest = 0;
    for (uint32_t m = 0; m < head->levels; m++) {
        vqi_rows_measure(&head->books[m], 1);
        head->largest += head->books[m].largest;
        head->code_count += (uint32_t)head->books[m].n;
        head->book_bytes += head->books[m].n * vqi_row_bytes(&head->books[m]);
    }
    head->rows.n = head->v;
    head->rows.d = head->d;
    for (size_t i = 0; head->rows.bias && i < head->v; i++)
        head->most_bias = fmaxf(head->most_bias, fabsf(head->rows.bias[i]));
}

static vq_status take_books(vq_head *head, const vq_codebook *const *books, const uint32_t *first,
                            uint32_t levels)
{
    vq_status status = allocate(head, levels);
    for (uint32_t m = 0; m < levels && !status; m++) {
        const uint32_t k = vq_codebook_k(books[m]), d = vq_codebook_dim(books[m]);
        head->book_first[m] = first ? first[m] : 0;
        if (k > TABLE || d > head->d || head->book_first[m] > head->d - d)
            return vqi_fail(VQ_E_ARG,
                            "codebook %u has %u codewords of %u dimensions from %u on (at most %d, "
                            "within %u)",
                            m, k, d, head->book_first[m], TABLE, head->d);
        status = vqi_rows_allocate(&head->books[m], k, d, VQ_DTYPE_F32);
        if (!status)
            memcpy(head->books[m].data, vq_codebook_codewords(books[m]),
                   (size_t)k * d * sizeof(float));
    }
    return status;
}

vq_status vq_head_from_codes(vq_head **out, const vq_codebook *const *books, const uint32_t *first,
                             uint32_t levels, const uint32_t *codes, size_t v, uint32_t d,
                             const vq_head_opts *opts)
{
    vq_head_opts o;
    vq_head *head = NULL;
    uint32_t *row_of = NULL;
    *out = NULL;
    vq_status status = vqi_options(&o, sizeof o, opts, "vq_head_opts");
    if (!status && o.mode != VQ_HEAD_RVQ)
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.mode is %d, not rvq", (int)o.mode);
    if (!status &&
        (!v || v > VQI_MAX_TOKENS || !d || d > VQI_MAX_DIM || !levels || levels > VQI_MAX_LEVELS))
        status = vqi_fail(VQ_E_ARG, "%zu rows of %u dimensions in %u levels (1 to %d, %d, %d)", v,
                          d, levels, VQI_MAX_TOKENS, VQI_MAX_DIM, VQI_MAX_LEVELS);
    if (!status && o.bias && (o.bias->ndim != 1 || o.bias->count != v))
        status = vqi_fail(VQ_E_ARG, "vq_head_opts.bias has %zu numbers, not %zu", o.bias->count, v);
    if (!status)
        status = vqi_head_new(&head, &row_of, v, d, o.ids);
    if (status)
        return status;
    head->kind = &vqi_head_rvq;
    status = take_books(head, books, first, levels);
    if (!status)
        status = set_codes(head, codes, NULL, row_of, VQ_E_RANGE);
    if (!status)
        status = vqi_head_bias(&head->rows.bias, o.bias, row_of, v);
    vq_free(row_of);
    if (status) {
        vq_head_free(head);
        return status;
    }
    measure(head);
    *out = head;
    return VQ_OK;
}

static vq_status save_codes(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    const size_t shape[2] = {head->v, head->levels};
    vq_tensor *tensor;
    vq_status status = vqi_quantizer_name(name, prefix, "row.codes");
    if (!status)
        status = vq_tensors_add(&tensor, tensors, name, VQ_DTYPE_U8, 2, shape, NULL);
    for (size_t i = 0; i < head->v && !status; i++)
        for (size_t m = 0; m < head->levels; m++)
            ((uint8_t *)tensor->data)[i * head->levels + m] =
                head->row_codes[codes_at(head, i) + m * VQI_ROWS];
    return status;
}

static vq_status save(vq_tensors *tensors, const vq_head *head, const char *prefix)
{
    vq_status status = save_codes(tensors, head, prefix);
    if (!status)
        status = vqi_head_save_array(tensors, prefix, "book.first", VQ_DTYPE_U32, head->levels, 0,
                                     head->book_first);
    for (uint32_t m = 0; m < head->levels && !status; m++) {
        char name[32];
        snprintf(name, sizeof name, "book.%u", m);
        status = vqi_head_save_rows(tensors, prefix, name, &head->books[m]);
    }
    if (!status && head->rows.bias)
        status =
            vqi_head_save_array(tensors, prefix, "bias", VQ_DTYPE_F32, head->v, 0, head->rows.bias);
    return status ? status : vqi_head_save_uint(tensors, prefix, "dim", head->d);
}

static vq_status load_books(vq_head *head, const vq_tensors *tensors, const char *prefix,
                            const uint32_t *first, uint32_t levels, const vq_limits *limits)
{
    vq_status status = allocate(head, levels);
    for (uint32_t m = 0; m < levels && !status; m++) {
        char name[32];
        snprintf(name, sizeof name, "book.%u", m);
        status = vqi_head_load_rows(&head->books[m], tensors, prefix, name, 0, 0, limits);
        const vqi_rows *book = &head->books[m];
        if (!status && (book->n > TABLE || book->dtype != VQ_DTYPE_F32 || book->bias ||
                        book->d > head->d || first[m] > head->d - book->d))
            status = vqi_fail(VQ_E_FORMAT,
                              "tensor \"%s\" is no F32 of at most %d codewords within "
                              "%u dimensions",
                              name, TABLE, head->d);
        head->book_first[m] = first[m];
    }
    return status;
}

static vq_status load(vq_head *head, const vq_tensors *tensors, const char *prefix,
                      const vq_limits *limits)
{
    char name[VQI_NAME_SIZE];
    const vq_tensor *first = NULL, *codes = NULL;
    uint64_t d = 0;
    vq_status status = vqi_head_ids_rise(head);
    if (!status)
        status = vqi_head_load_uint(&d, tensors, prefix, "dim", 1, limits->max_dim);
    if (!status)
        status = vqi_head_load_array(&first, tensors, prefix, "book.first", VQ_DTYPE_U32, 0);
    if (!status && first->count > VQI_MAX_LEVELS)
        status = vqi_fail(VQ_E_LIMIT, "tensor \"%s\" has %zu levels (the limit is %d)", first->name,
                          first->count, VQI_MAX_LEVELS);
    if (!status)
        status = vqi_quantizer_name(name, prefix, "row.codes");
    if (status)
        return status;
    head->d = (uint32_t)d;
    codes = vq_tensors_find(tensors, name);
    if (!codes || codes->dtype != VQ_DTYPE_U8 || codes->ndim != 2 || codes->shape[0] != head->v ||
        codes->shape[1] != first->count)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" is missing, or no U8 of the head's size", name);
    status = load_books(head, tensors, prefix, first->data, (uint32_t)first->count, limits);
    if (!status)
        status = set_codes(head, NULL, codes->data, NULL, VQ_E_FORMAT);
    if (!status)
        status = vqi_head_load_numbers(&head->rows.bias, tensors, prefix, "bias", head->v, 0);
    if (!status)
        measure(head);
    return status;
}

const vqi_head_kind vqi_head_rvq = {.mode = VQ_HEAD_RVQ,
                                    .all = all,
                                    .rank = rank,
                                    .score = score,
                                    .decode = decode,
                                    .draw = draw,
                                    .save = save,
                                    .load = load,
                                    .describe = describe};
