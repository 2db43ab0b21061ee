/* SPDX-License-Identifier: Apache-2.0 */
#include "codecs/action_metrics.h"

#include <math.h>
#include <string.h>

#include "vq/error_internal.h"

/* Root mean square of the third difference of dimension i. */
static double jerk(const vq_signal *s, size_t i)
{
    const size_t d = s->shape[s->ndim - 1], steps = s->shape[s->ndim - 2];
    const size_t episodes = s->ndim == 3 ? s->shape[0] : 1;
    double sum = 0;
    size_t count = 0;
    for (size_t e = 0; e < episodes; e++)
        for (size_t t = 3; t < steps; t++, count++) {
            const float *x = s->data + (e * steps + t) * d + i;
            const double third = (double)x[0] - 3 * (double)*(x - d) + 3 * (double)*(x - 2 * d) -
                                 (double)*(x - 3 * d);
            sum += third * third;
        }
    return count ? sqrt(sum / (double)count) : 0;
}

static void compare_one(vq_action_error *out, const vq_signal *a, const vq_signal *b,
                        const vq_dimensions *ranges, size_t i)
{
    const size_t d = a->shape[a->ndim - 1], n = vq_signal_count(a) / d;
    const double span = (double)ranges->high[i] - (double)ranges->low[i];
    const double scale = span > 0 ? 2 / span : 0;
    double squares = 0, largest = 0;
    for (size_t r = 0; r < n; r++) {
        const double off = fabs((double)a->data[r * d + i] - (double)b->data[r * d + i]);
        squares += off * off;
        largest = fmax(largest, off);
    }
    out->rmse = sqrt(squares / (double)n);
    out->largest = largest;
    out->rmse_mapped = out->rmse * scale;
    out->largest_mapped = largest * scale;
    out->jerk_original = jerk(a, i);
    out->jerk_decoded = jerk(b, i);
}

vq_status vq_action_compare(vq_action_error *out, const vq_signal *original,
                            const vq_signal *decoded, const vq_dimensions *ranges)
{
    const size_t d = original->shape[original->ndim - 1];
    if (original->kind != VQ_KIND_ACTION || decoded->kind != VQ_KIND_ACTION ||
        original->ndim != decoded->ndim ||
        memcmp(original->shape, decoded->shape, sizeof original->shape) != 0)
        return vqi_fail(VQ_E_ARG, "not two actions of one shape");
    if (ranges && (ranges->count != d || !ranges->scaled))
        return vqi_fail(VQ_E_ARG, "ranges for %zu dimensions, not %zu", ranges->count, d);
    vq_dimensions *own;
    vq_status status = vq_dimensions_create(&own, d);
    if (status)
        return status;
    const size_t rows = vq_signal_count(original) / d;
    const float *data[2] = {original->data, decoded->data};
    /* The fit also sees whether all numbers are finite. */
    status = vq_dimensions_fit(own, &data[1], &rows, 1);
    if (!status)
        status = vq_dimensions_fit(own, &data[0], &rows, 1);
    for (size_t i = 0; !status && i < d; i++)
        compare_one(&out[i], original, decoded, ranges ? ranges : own, i);
    vq_dimensions_free(own);
    return status;
}
