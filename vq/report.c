/* SPDX-License-Identifier: Apache-2.0 */
#include "vq/report.h"

#include <math.h>
#include <string.h>

#include "vq/code_counts_internal.h"
#include "vq/error_internal.h"
#include "vq/memory_internal.h"

enum { CHUNK = 1024 }; /* vectors that are decoded at once */

struct vq_report {
    uint32_t levels;
    uint32_t k[VQ_MAX_LEVELS];
    vqi_code_counts counts[VQ_MAX_LEVELS];
    uint64_t codes[VQ_MAX_LEVELS]; /* codes counted at each level */
    uint64_t vectors;
    uint64_t compared;           /* vectors of which the error is known */
    uint32_t dim;                /* of those; 0 = none yet */
    double error[VQ_MAX_LEVELS]; /* sum of squared errors */
    double energy;               /* sum of squares of the data */
};

vq_status vq_report_create(vq_report **out, uint32_t levels, const uint32_t *k)
{
    *out = NULL;
    if (levels < 1 || levels > VQ_MAX_LEVELS)
        return vqi_fail(VQ_E_ARG, "a report has 1 to %d levels, not %u", VQ_MAX_LEVELS, levels);
    for (uint32_t l = 0; l < levels; l++)
        if (!k[l])
            return vqi_fail(VQ_E_ARG, "level %u has a codebook of 0 codewords", l);
    vq_report *report = vqi_calloc(1, sizeof *report);
    if (!report)
        return vqi_fail_nomem(sizeof *report);
    report->levels = levels;
    memcpy(report->k, k, levels * sizeof *k);
    for (uint32_t l = 0; l < levels; l++) {
        const vq_status status = vqi_code_counts_init(&report->counts[l], k[l]);
        if (status) {
            vq_report_free(report);
            return status;
        }
    }
    *out = report;
    return VQ_OK;
}

void vq_report_free(vq_report *report)
{
    if (!report)
        return;
    for (uint32_t l = 0; l < report->levels; l++)
        vqi_code_counts_clear(&report->counts[l]);
    vq_free(report);
}

static vq_status reserve(vq_report *report, uint32_t levels, size_t n)
{
    vq_status status = VQ_OK;
    for (uint32_t l = 0; l < levels && !status; l++)
        status = vqi_code_counts_reserve(&report->counts[l], n);
    return status;
}

static vq_status check_vectors(const vq_report *report, const vq_quantizer *q,
                               const uint32_t *codes, size_t n)
{
    if (report->levels > vq_quantizer_levels(q))
        return vqi_fail(VQ_E_ARG, "the report has %u levels, the quantizer %u", report->levels,
                        vq_quantizer_levels(q));
    for (uint32_t l = 0; l < report->levels; l++)
        if (report->k[l] != vq_quantizer_k(q, l))
            return vqi_fail(VQ_E_ARG, "level %u: the report has K = %u, the quantizer K = %u", l,
                            report->k[l], vq_quantizer_k(q, l));
    if (report->dim && report->dim != vq_quantizer_dim(q))
        return vqi_fail(VQ_E_ARG, "vectors of %u dimensions after vectors of %u",
                        vq_quantizer_dim(q), report->dim);
    for (size_t i = 0; i < n; i++)
        for (uint32_t l = 0; l < report->levels; l++)
            if (codes[i * report->levels + l] >= report->k[l])
                return vqi_fail(VQ_E_RANGE, "row %zu, level %u: code %u is not below K = %u", i, l,
                                codes[i * report->levels + l], report->k[l]);
    return VQ_OK;
}

static double square_distance(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = (double)a[i] - b[i];
        sum += difference * difference;
    }
    return sum;
}

/* Sum the error of each level's vectors into error[]. */
static vq_status measure(double *error, const vq_report *report, const vq_quantizer *q,
                         const float *x, const uint32_t *codes, size_t n)
{
    const size_t d = vq_quantizer_dim(q), levels = report->levels;
    const size_t most = n < CHUNK ? n : CHUNK;
    size_t count = 0;
    float *decoded = vqi_mul(&count, most, d) ? vqi_alloc(count, sizeof *decoded) : NULL;
    uint32_t *prefix = vqi_alloc(most * levels, sizeof *prefix);
    vq_status status =
        decoded && prefix ? VQ_OK : vqi_fail_nomem((unsigned long long)count * sizeof *decoded);
    for (size_t begin = 0; begin < n && !status; begin += most) {
        const size_t rows = n - begin < most ? n - begin : most;
        for (uint32_t l = 0; l < levels && !status; l++) {
            for (size_t i = 0; i < rows; i++)
                memcpy(prefix + i * (l + 1), codes + (begin + i) * levels,
                       (l + 1) * sizeof *prefix);
            vq_quantize_opts opts = VQ_QUANTIZE_OPTS_INIT;
            opts.levels = l + 1;
            status = vq_dequantize(decoded, q, prefix, rows, &opts);
            if (!status)
                error[l] += square_distance(x + begin * d, decoded, rows * d);
        }
    }
    vq_free(decoded);
    vq_free(prefix);
    return status;
}

vq_status vq_report_add(vq_report *report, const vq_quantizer *quantizer, const float *x,
                        const uint32_t *codes, size_t n)
{
    vq_status status = check_vectors(report, quantizer, codes, n);
    if (status || !n)
        return status;
    double error[VQ_MAX_LEVELS] = {0};
    status = measure(error, report, quantizer, x, codes, n);
    if (!status)
        status = reserve(report, report->levels, n);
    if (status)
        return status;
    /* From here on nothing fails: the report has all of the data or none of it. */
    report->dim = vq_quantizer_dim(quantizer);
    for (size_t i = 0; i < n * report->dim; i++)
        report->energy += (double)x[i] * x[i];
    for (uint32_t l = 0; l < report->levels; l++) {
        report->error[l] += error[l];
        report->codes[l] += n;
        for (size_t i = 0; i < n; i++)
            vqi_code_counts_add(&report->counts[l], codes[i * report->levels + l]);
    }
    report->vectors += n;
    report->compared += n;
    return VQ_OK;
}

vq_status vq_report_add_tokens(vq_report *report, const vq_tokens *tokens)
{
    vq_status status = vq_tokens_validate(tokens);
    if (status)
        return status;
    if (tokens->levels > report->levels)
        return vqi_fail(VQ_E_ARG, "the tokens have %u levels, the report %u", tokens->levels,
                        report->levels);
    for (uint32_t l = 0; l < tokens->levels; l++)
        if (tokens->k[l] != report->k[l])
            return vqi_fail(VQ_E_ARG, "level %u: the tokens have K = %u, the report K = %u", l,
                            tokens->k[l], report->k[l]);
    const size_t positions = vq_tokens_positions(tokens);
    status = reserve(report, tokens->levels, positions);
    if (status)
        return status;
    for (uint32_t l = 0; l < tokens->levels; l++) {
        for (size_t i = 0; i < positions; i++)
            vqi_code_counts_add(&report->counts[l], tokens->codes[l * positions + i]);
        report->codes[l] += positions;
    }
    report->vectors += positions;
    return VQ_OK;
}

uint64_t vq_report_vectors(const vq_report *report)
{
    return report->vectors;
}

vq_status vq_report_level(vq_level_report *out, const vq_report *report, uint32_t level)
{
    memset(out, 0, sizeof *out);
    if (level >= report->levels)
        return vqi_fail(VQ_E_ARG, "there is no level %u (the report has %u)", level,
                        report->levels);
    out->k = report->k[level];
    size_t at = 0;
    for (uint64_t count; (count = vqi_code_counts_next(&report->counts[level], &at));) {
        const double share = (double)count / (double)report->codes[level];
        out->used++;
        out->entropy_bits -= share * log2(share);
    }
    out->dead = out->k - out->used;
    out->utilisation = (double)out->used / out->k;
    out->perplexity = exp2(out->entropy_bits);
    out->mse = out->snr_db = NAN;
    if (report->compared) {
        const double elements = (double)report->compared * report->dim;
        out->mse = report->error[level] / elements;
        out->snr_db = out->mse > 0 ? 10 * log10(report->energy / elements / out->mse) : INFINITY;
    }
    return VQ_OK;
}
