/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that give logits: states in groups of 16, each answered by what the mode does. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/logits_internal.h"

vq_status vq_head_logits(float *logits, float *log_partition, vq_head_report *report,
                         const vq_head *head, const float *states, size_t n,
                         const vq_head_call *call)
{
    vqi_head_call c;
    vq_status status = vqi_head_begin(&c, head, states, n, 0, call);
    for (size_t first = 0, count; first < n && !status; first += count) {
        count = vqi_head_group(&c, first);
        vqi_mass mass[VQI_STATES];
        status = vqi_head_take(&c, first, count);
        if (status)
            break;
        head->kind->all(logits + first * head->v, log_partition ? mass : NULL, &c, count);
        for (size_t s = 0; log_partition && s < count; s++)
            log_partition[first + s] = (float)vqi_mass_log(mass[s]);
    }
    vqi_head_end(&c, report);
    return status;
}

vq_status vq_head_topk(uint32_t *ids, float *logits, float *log_partition, vq_head_report *report,
                       const vq_head *head, const float *states, size_t n, size_t k,
                       const vq_head_call *call)
{
    if (!k || k > head->v)
        return vqi_fail(VQ_E_ARG, "the %zu best of %zu tokens (1 to as many as there are)", k,
                        head->v);
    vqi_head_call c;
    vq_status status = vqi_head_begin(&c, head, states, n, k, call);
    for (size_t first = 0, count; first < n && !status; first += count) {
        count = vqi_head_group(&c, first);
        vqi_mass mass[VQI_STATES];
        status = vqi_head_take(&c, first, count);
        if (status)
            break;
        head->kind->rank(log_partition ? mass : NULL, &c, count, 1);
        for (size_t s = 0; s < count; s++) {
            for (size_t i = 0; i < k; i++) {
                ids[(first + s) * k + i] = c.best[s].heap[i].id;
                if (logits)
                    logits[(first + s) * k + i] = c.best[s].heap[i].logit;
            }
            if (log_partition)
                log_partition[first + s] = (float)vqi_mass_log(mass[s]);
        }
    }
    vqi_head_end(&c, report);
    return status;
}

/* Are all ids there? */
static vq_status check_ids(const vq_head *head, const uint32_t *ids, size_t count)
{
    size_t place;
    for (size_t i = 0; i < count; i++)
        if (!vqi_head_find(&place, head, ids[i]))
            return vqi_fail(VQ_E_RANGE, "the head has no id %u (number %zu of those asked for)",
                            ids[i], i);
    return VQ_OK;
}

/* @param mass NULL = the logits only. @param probable 1 = log-probabilities. */
static vq_status score_ids(float *out, float *log_partition, vq_head_report *report,
                           const vq_head *head, const float *states, size_t n, const uint32_t *ids,
                           size_t count, const vq_head_call *call, int probable)
{
    vqi_head_call c;
    vq_status status = check_ids(head, ids, n * count);
    if (status)
        return status;
    status = vqi_head_begin(&c, head, states, n, 0, call);
    for (size_t first = 0, some; first < n && !status; first += some) {
        some = vqi_head_group(&c, first);
        vqi_mass mass[VQI_STATES];
        status = vqi_head_take(&c, first, some);
        if (status)
            break;
        if (probable || log_partition)
            head->kind->rank(mass, &c, some, 1);
        for (size_t s = 0; s < some; s++) {
            const double log_mass = probable || log_partition ? vqi_mass_log(mass[s]) : 0;
            for (size_t i = (first + s) * count; i < (first + s + 1) * count; i++) {
                size_t place = 0;
                vqi_head_find(&place, head, ids[i]);
                if (probable && head->kind->log_prob)
                    out[i] = (float)head->kind->log_prob(&c, s, place, mass[s]);
                else
                    out[i] = (float)(head->kind->score(&c, s, place) - (probable ? log_mass : 0));
            }
            if (log_partition)
                log_partition[first + s] = (float)log_mass;
        }
    }
    vqi_head_end(&c, report);
    return status;
}

vq_status vq_head_scores(float *logits, float *log_partition, vq_head_report *report,
                         const vq_head *head, const float *states, size_t n, const uint32_t *ids,
                         size_t count, const vq_head_call *call)
{
    return score_ids(logits, log_partition, report, head, states, n, ids, count, call, 0);
}

vq_status vq_head_log_probs(float *log_probs, vq_head_report *report, const vq_head *head,
                            const float *states, size_t n, const uint32_t *ids, size_t count,
                            const vq_head_call *call)
{
    return score_ids(log_probs, NULL, report, head, states, n, ids, count, call, 1);
}
