/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk of steps to one vector per dimension, and back. */
#include <math.h>
#include <string.h>

#include "codecs/action_internal.h"

/* What is further out than this says nothing more, and its square is still a number. */
static const float farthest = 0x1p20f;

float vqi_action_normalise(const vq_dimensions *d, size_t i, float x)
{
    const float span = d->high[i] - d->low[i];
    if (!(span > 0))
        return 0;
    const float u = (x - d->low[i]) / span * 2 - 1;
    return u > farthest ? farthest : u < -farthest ? -farthest : u;
}

float vqi_action_restore(const vq_dimensions *d, size_t i, float u)
{
    const float span = d->high[i] - d->low[i];
    if (!(span > 0))
        return d->low[i];
    if (d->binary[i])
        return u > 0 ? d->high[i] : d->low[i];
    const float margin = VQ_DIMENSIONS_MARGIN * (d->max[i] - d->min[i]);
    const float least = d->min[i] - margin, most = d->max[i] + margin;
    const float x = d->low[i] + (u + 1) * 0.5f * span;
    return x > most ? most : x >= least ? x : least; /* NaN too */
}

/* Position u in [-1, 1] among quantile bins: which share of the bins lies below it. */
static float to_quantile(const float *edges, uint32_t bins, float u)
{
    uint32_t low = 0, high = bins;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (u < edges[middle])
            high = middle;
        else
            low = middle;
    }
    const float width = edges[low + 1] - edges[low];
    float part = width > 0 ? (u - edges[low]) / width : 0.5f;
    part = part > 1 ? 1 : part > 0 ? part : 0;
    return ((float)low + part) * 2 / (float)bins - 1;
}

static float from_quantile(const float *edges, uint32_t bins, float q)
{
    const float at = (q + 1) * 0.5f * (float)bins;
    uint32_t low = at > 0 ? at < (float)bins ? (uint32_t)at : bins - 1 : 0;
    const float part = at - (float)low;
    return edges[low] + (part > 1 ? 1 : part > 0 ? part : 0) * (edges[low + 1] - edges[low]);
}

long vqi_action_analyse(float *latents, const vqi_action_model *model, const vq_dimensions *d,
                        const float *chunk, size_t steps)
{
    const size_t horizon = model->horizon, count = d->count;
    for (size_t i = 0; i < steps * count; i++)
        if (!isfinite(chunk[i]))
            return (long)i;
    float line[VQI_MAX_HORIZON] = {0};
    for (size_t i = 0; i < count; i++) {
        for (size_t t = 0; t < horizon; t++)
            line[t] =
                t < steps ? vqi_action_normalise(d, i, chunk[t * count + i]) : line[steps - 1];
        for (size_t t = 0; model->edges && t < horizon; t++)
            line[t] = to_quantile(model->edges + i * (model->bins + 1), model->bins, line[t]);
        for (size_t k = 0; k < horizon; k++) {
            float sum = 0;
            for (size_t t = 0; t < horizon; t++)
                sum += model->basis[k * horizon + t] * line[t];
            latents[i * horizon + k] = sum;
        }
    }
    return -1;
}

void vqi_action_synthesise(float *chunk, const vqi_action_model *model, const vq_dimensions *d,
                           const float *latents, size_t steps)
{
    const size_t horizon = model->horizon, count = d->count;
    float line[VQI_MAX_HORIZON];
    for (size_t i = 0; i < count; i++) {
        memset(line, 0, horizon * sizeof *line);
        for (size_t k = 0; k < horizon; k++)
            for (size_t t = 0; t < horizon; t++)
                line[t] += model->basis[k * horizon + t] * latents[i * horizon + k];
        for (size_t t = 0; t < steps; t++) {
            const float u = model->edges ? from_quantile(model->edges + i * (model->bins + 1),
                                                         model->bins, line[t])
                                         : line[t];
            chunk[t * count + i] = vqi_action_restore(d, i, u);
        }
    }
}

void vqi_action_store_codes(uint32_t *to, size_t positions, const uint32_t *codes, size_t first,
                            size_t n, uint32_t levels)
{
    for (uint32_t l = 0; l < levels; l++)
        for (size_t i = 0; i < n; i++)
            to[l * positions + first + i] = codes[i * levels + l];
}

void vqi_action_fetch_codes(uint32_t *codes, const uint32_t *from, size_t positions, size_t first,
                            size_t n, uint32_t levels)
{
    for (uint32_t l = 0; l < levels; l++)
        for (size_t i = 0; i < n; i++)
            codes[i * levels + l] = from[l * positions + first + i];
}
