/* SPDX-License-Identifier: Apache-2.0 */
/* The kind "fsq": each number goes to the bin whose thresholds it lies between. */
#include <math.h>
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/scalar_internal.h"

/* Four lanes: what every processor has; of wider vectors gcc makes single numbers where it has no such registers. */
enum { LANES = 4, GROUP = 4 * LANES /* rows that are compared together, in registers */ };

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t ints __attribute__((vector_size(4 * LANES)));

typedef struct fsq {
    vqi_scalar s;
    vq_fsq_bound bound;
    uint32_t *bins;    /* d */
    uint32_t *weight;  /* d: what a bin of this number counts in the code */
    uint64_t *inverse; /* d: 2^64 / bins, rounded up */
    float **threshold; /* d: bins - 1 each */
    float **value;     /* d: bins each, what they decode to */
    float *numbers;    /* all of the last two */
} fsq;

const char *vq_fsq_bound_name(vq_fsq_bound bound)
{
    static const char *const names[] = {"tanh", "symmetric", "clamp"};
    return (unsigned)bound <= VQ_FSQ_CLAMP ? names[bound] : "?";
}

static void fsq_free(vq_quantizer *q)
{
    fsq *f = (fsq *)q;
    vq_free(f->bins);
    vq_free(f->weight);
    vq_free(f->inverse);
    vq_free(f->threshold);
    vq_free(f->value);
    vq_free(f->numbers);
    vq_free(f);
}

static floats column(const float *const *row, size_t j)
{
    return (floats){row[0][j], row[1][j], row[2][j], row[3][j]};
}

/* One level of GROUP rows. */
static void quantize_group(uint32_t code[GROUP], const fsq *f, const float *const *row,
                           uint32_t level)
{
    ints c0 = {0}, c1 = {0}, c2 = {0}, c3 = {0};
    for (size_t j = f->s.first[level]; j < f->s.first[level + 1]; j++) {
        const floats x0 = column(row, j), x1 = column(row + 4, j), x2 = column(row + 8, j),
                     x3 = column(row + 12, j);
        const float *threshold = f->threshold[j];
        const uint32_t count = f->bins[j] - 1;
        ints n0 = {0}, n1 = {0}, n2 = {0}, n3 = {0};
        for (uint32_t t = 0; t < count; t++) {
            n0 -= (ints)(x0 >= threshold[t]); /* true is -1 */
            n1 -= (ints)(x1 >= threshold[t]);
            n2 -= (ints)(x2 >= threshold[t]);
            n3 -= (ints)(x3 >= threshold[t]);
        }
        const uint32_t weight = f->weight[j];
        c0 += n0 * weight;
        c1 += n1 * weight;
        c2 += n2 * weight;
        c3 += n3 * weight;
    }
    memcpy(code, &c0, sizeof c0);
    memcpy(code + 4, &c1, sizeof c1);
    memcpy(code + 8, &c2, sizeof c2);
    memcpy(code + 12, &c3, sizeof c3);
}

static void quantize_rows(uint32_t *codes, const vq_quantizer *q, const float *x, size_t count,
                          uint32_t levels)
{
    uint32_t code[GROUP];
    const float *row[GROUP];
    for (size_t first = 0; first < count; first += GROUP) {
        const size_t rows = count - first < GROUP ? count - first : GROUP;
        for (size_t r = 0; r < GROUP; r++) /* what is missing repeats the last row */
            row[r] = x + (first + (r < rows ? r : rows - 1)) * q->dim;
        for (uint32_t l = 0; l < levels; l++) {
            quantize_group(code, (const fsq *)q, row, l);
            for (size_t r = 0; r < rows; r++)
                codes[(first + r) * levels + l] = code[r];
        }
    }
}

static vq_status fsq_quantize(uint32_t *codes, const vq_quantizer *q, const float *x, size_t n,
                              const vq_quantize_opts *opts)
{
    return vqi_scalar_quantize(codes, q, x, n, opts, quantize_rows);
}

static vq_status fsq_dequantize(float *x, const vq_quantizer *q, const uint32_t *codes, size_t n,
                                const vq_quantize_opts *opts)
{
    const fsq *f = (const fsq *)q;
    const size_t d = q->dim, levels = opts->levels, end = f->s.first[levels];
    const int threads = vqi_threads(opts->threads, n * d / 16384 + 1);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; i++) {
        float *row = x + i * d;
        for (size_t l = 0; l < levels; l++) {
            uint32_t rest = codes[i * levels + l];
            for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
                /* rest / bins, exactly: the inverse is too large by less than 1, its product by less than 2^-32. */
                const uint32_t quotient = (uint32_t)((unsigned __int128)rest * f->inverse[j] >> 64);
                row[j] = f->value[j][rest - quotient * f->bins[j]];
                rest = quotient;
            }
        }
        for (size_t j = end; j < d; j++)
            row[j] = 0;
    }
    return VQ_OK;
}

static vq_status check_bins(fsq *f, const uint32_t *bins, size_t *total)
{
    const uint32_t least = f->bound == VQ_FSQ_TANH ? 3 : 2;
    *total = 0;
    for (uint32_t l = 0; l < f->s.base.levels; l++) {
        uint64_t k = 1;
        for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
            if (bins[j] < least || bins[j] > VQ_FSQ_MAX_BINS)
                return vqi_fail(VQ_E_ARG, "number %u has %u bins (%s: %u to %d)", j, bins[j],
                                vq_fsq_bound_name(f->bound), least, VQ_FSQ_MAX_BINS);
            k *= bins[j];
            if (k > UINT32_MAX)
                return vqi_fail(VQ_E_ARG,
                                "level %u has 2^32 codes or more (give it fewer numbers, and the "
                                "others to more levels)",
                                l);
            *total += 2 * (size_t)bins[j] - 1;
        }
        f->s.k[l] = (uint32_t)k;
    }
    return VQ_OK;
}

static void fill(fsq *f, const uint32_t *bins)
{
    float *numbers = f->numbers;
    memcpy(f->bins, bins, f->s.base.dim * sizeof *bins);
    for (uint32_t l = 0; l < f->s.base.levels; l++) {
        uint32_t weight = 1;
        for (uint32_t j = f->s.first[l]; j < f->s.first[l + 1]; j++) {
            f->weight[j] = weight;
            f->inverse[j] = UINT64_MAX / bins[j] + 1;
            weight *= bins[j];
            f->threshold[j] = numbers;
            f->value[j] = numbers + bins[j] - 1;
            numbers = f->value[j] + bins[j];
            vqi_fsq_thresholds(f->threshold[j], bins[j], f->bound);
            const int32_t half = (int32_t)(bins[j] / 2), last = (int32_t)bins[j] - 1;
            for (int32_t i = 0; i <= last; i++)
                f->value[j][i] = f->bound == VQ_FSQ_TANH ? (float)(i - half) / (float)half
                                                         : (float)(2 * i - last) / (float)last;
        }
    }
}

vq_status vq_fsq_create(vq_quantizer **out, const uint32_t *bins, uint32_t d,
                        const vq_fsq_opts *opts)
{
    *out = NULL;
    vq_fsq_opts own;
    size_t total = 0;
    vq_status status = vqi_options(&own, sizeof own, opts, "vq_fsq_opts");
    if (status)
        return status;
    if ((unsigned)own.bound > VQ_FSQ_CLAMP)
        return vqi_fail(VQ_E_ARG, "vq_fsq_opts.bound is %d (see vq_fsq_bound)", (int)own.bound);
    fsq *f = vqi_calloc(1, sizeof *f);
    if (!f)
        return vqi_fail_nomem(sizeof *f);
    f->bound = own.bound;
    status = vqi_scalar_divide(&f->s, &vqi_fsq_kind, d, own.levels, own.dims, "vq_fsq_opts");
    if (!status)
        status = check_bins(f, bins, &total);
    if (!status) {
        f->bins = vqi_alloc(d, sizeof *f->bins);
        f->weight = vqi_alloc(d, sizeof *f->weight);
        f->inverse = vqi_alloc(d, sizeof *f->inverse);
        f->threshold = vqi_alloc(d, sizeof *f->threshold);
        f->value = vqi_alloc(d, sizeof *f->value);
        f->numbers = vqi_alloc(total, sizeof *f->numbers);
        if (!f->bins || !f->weight || !f->inverse || !f->threshold || !f->value || !f->numbers)
            status = vqi_fail_nomem(total * sizeof *f->numbers);
    }
    if (status) {
        fsq_free(&f->s.base);
        return status;
    }
    fill(f, bins);
    *out = &f->s.base;
    return VQ_OK;
}

static vq_status fsq_save(vq_tensors *tensors, const vq_quantizer *q, const char *prefix)
{
    const fsq *f = (const fsq *)q;
    char name[VQI_NAME_SIZE];
    vq_status status = vqi_quantizer_name(name, prefix, "bound");
    if (!status)
        status = vq_tensors_set(tensors, name, vq_fsq_bound_name(f->bound));
    if (!status)
        status = vqi_scalar_save_array(tensors, prefix, "bins", f->bins, q->dim);
    return status ? status : vqi_scalar_save_dims(tensors, q, prefix);
}

static vq_status get_bound(vq_fsq_bound *bound, const vq_tensors *tensors, const char *prefix)
{
    char name[VQI_NAME_SIZE];
    const vq_status status = vqi_quantizer_name(name, prefix, "bound");
    if (status)
        return status;
    const char *text = vq_tensors_get(tensors, name);
    for (int b = VQ_FSQ_TANH; text && b <= VQ_FSQ_CLAMP; b++)
        if (!strcmp(text, vq_fsq_bound_name((vq_fsq_bound)b))) {
            *bound = (vq_fsq_bound)b;
            return VQ_OK;
        }
    return vqi_fail(VQ_E_FORMAT, "setting \"%s\" is \"%.40s\" (not tanh, symmetric or clamp)", name,
                    text ? text : "");
}

static vq_status fsq_load(vq_quantizer **out, const vq_tensors *tensors, const char *prefix,
                          const vq_limits *limits)
{
    vq_fsq_opts opts = VQ_FSQ_OPTS_INIT;
    const vq_tensor *bins = NULL;
    uint32_t d = 0;
    vq_status status = get_bound(&opts.bound, tensors, prefix);
    if (!status)
        status = vqi_scalar_load_dims(&opts.dims, &opts.levels, &d, tensors, prefix, limits);
    if (!status)
        status = vqi_scalar_load_array(&bins, tensors, prefix, "bins", VQ_DTYPE_U32);
    if (status)
        return status;
    if (bins->count != d)
        return vqi_fail(VQ_E_FORMAT, "tensor \"%s\" has %zu numbers, and the levels have %u",
                        bins->name, bins->count, d);
    status = vq_fsq_create(out, bins->data, d, &opts);
    /* What is the caller's fault in a call is the bytes' fault in a file; the sentence stays. */
    return status == VQ_E_ARG ? VQ_E_FORMAT : status;
}

void vqi_fsq_gradient(float *gradient_x, const vq_quantizer *q, const float *x,
                      const float *gradient)
{
    const fsq *f = (const fsq *)q;
    for (uint32_t j = 0; j < q->dim; j++) {
        double shift = 0, scale = 1;
        if (f->bound == VQ_FSQ_CLAMP) {
            gradient_x[j] = x[j] >= -1 && x[j] <= 1 ? gradient[j] : 0;
            continue;
        }
        if (f->bound == VQ_FSQ_TANH) {
            const double half = 1.001 * (f->bins[j] - 1) / 2;
            shift = f->bins[j] % 2 ? 0 : atanh(0.5 / half);
            scale = half / floor(f->bins[j] / 2.0);
        }
        const double bounded = tanh(x[j] + shift);
        gradient_x[j] = (float)(gradient[j] * scale * (1 - bounded * bounded));
    }
}

const vqi_quantizer_kind vqi_fsq_kind = {
    .name = "fsq",
    .free = fsq_free,
    .k = vqi_scalar_k,
    .codebook = vqi_scalar_codebook,
    .workspace = vqi_scalar_workspace,
    .quantize = fsq_quantize,
    .dequantize = fsq_dequantize,
    .save = fsq_save,
    .load = fsq_load,
};
