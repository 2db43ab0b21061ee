/* SPDX-License-Identifier: Apache-2.0 */
/* What a head gives away against the reference, on hidden states of text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vqlogits.h"

enum {
    TOP = 10,
    KL_TOKENS = 1024, /* of the reference's best; all others count as one, so that V is no matter */
    TOGETHER = 64     /* states of one call */
};
/* Enough of a clock's ticks, and of the caches' moods. */
#define SECONDS_OF_TIMING 0.3

static vq_head_call a_call(const cli_common *common, uint32_t probes)
{
    vq_head_call call = VQ_HEAD_CALL_INIT;
    call.threads = common->threads;
    call.probes = probes;
    return call;
}

static size_t some_of(size_t n, size_t first)
{
    return n - first < TOGETHER ? n - first : TOGETHER;
}

/* The bytes of all rows, and only of them, by asking for all V logits once. */
static vq_status bytes_of_all(double *bytes, const vq_head *head, const vqlogits_text *text,
                              const vq_head_call *call, size_t v)
{
    vq_head_report report = {0};
    float *logits = cli_need(malloc(v * sizeof *logits));
    const vq_status status = vq_head_logits(logits, NULL, &report, head, text->states, 1, call);
    free(logits);
    *bytes = (double)report.bytes;
    return status;
}

int vqlogits_reference_measure(vqlogits_reference *out, const cli_common *common, const char *path,
                               const vq_head *head, const vqlogits_text *text)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&info, head);
    const vq_head_call call = a_call(common, UINT32_MAX); /* rerank: all clusters, which is exact */
    const size_t k = info.v < KL_TOKENS ? info.v : KL_TOKENS;
    *out = (vqlogits_reference){.k = k, .perplexity = NAN};
    out->best = cli_need(calloc(text->n * k, sizeof *out->best));
    out->log_probs = cli_need(calloc(text->n * k, sizeof *out->log_probs));
    vq_status status = bytes_of_all(&out->bytes, head, text, &call, info.v);
    double loss = 0;
    for (size_t i = 0, some; i < text->n && !status; i += some) {
        float whole[TOGETHER], target[TOGETHER] = {0};
        some = some_of(text->n, i);
        float *log_probs = out->log_probs + i * k;
        status = vq_head_topk(out->best + i * k, log_probs, whole, NULL, head,
                              text->states + i * info.d, some, k, &call);
        for (size_t s = 0; s < some && !status; s++)
            for (size_t t = 0; t < k; t++)
                log_probs[s * k + t] -= whole[s];
        if (!status && text->targets)
            status = vq_head_log_probs(target, NULL, head, text->states + i * info.d, some,
                                       text->targets + i, 1, &call);
        for (size_t s = 0; s < some && !status && text->targets; s++)
            loss -= (double)target[s];
        if (!status && cli_interrupted())
            return cli_fail(common, NULL, VQ_E_CANCELLED);
    }
    if (text->targets)
        out->perplexity = exp(loss / (double)text->n);
    return status ? cli_fail(common, path, status) : CLI_DONE;
}

void vqlogits_reference_clear(vqlogits_reference *reference)
{
    free(reference->best);
    free(reference->log_probs);
    *reference = (vqlogits_reference){0};
}

/* Of the reference's best tokens and of the rest as one token: never more than that of all V. */
static double divergence(const float *p, const float *q, size_t k, size_t v)
{
    double sum = 0, rest_p = 1, rest_q = 1;
    for (size_t t = 0; t < k; t++) {
        sum += exp((double)p[t]) * ((double)p[t] - (double)q[t]);
        rest_p -= exp((double)p[t]);
        rest_q -= exp((double)q[t]);
    }
    if (k < v && rest_p > 1e-6)
        sum += rest_p * log(rest_p / fmax(rest_q, 1e-7));
    return sum;
}

/* How many of the head's 10 best are among the reference's. */
static size_t shared(const uint32_t *ours, const uint32_t *theirs, size_t top)
{
    size_t count = 0;
    for (size_t i = 0; i < top; i++)
        for (size_t j = 0; j < top; j++)
            count += ours[i] == theirs[j];
    return count;
}

/* Sums over the states, which become means. */
static vq_status measure_some(vqlogits_figures *sum, const vqlogits_trial *trial,
                              const vqlogits_reference *ref, const vqlogits_text *text,
                              size_t first, float *log_probs, const vq_head_call *call,
                              const vq_head_info *info)
{
    uint32_t ids[TOGETHER * TOP];
    float target[TOGETHER] = {0};
    const size_t some = some_of(text->n, first), k = ref->k, top = info->v < TOP ? info->v : TOP;
    const float *states = text->states + first * info->d;
    vq_head_report report = {0};
    vq_status status = vq_head_topk(ids, NULL, NULL, &report, trial->head, states, some, top, call);
    if (!status)
        status = vq_head_log_probs(log_probs, NULL, trial->head, states, some,
                                   ref->best + first * k, k, call);
    if (!status && text->targets)
        status = vq_head_log_probs(target, NULL, trial->head, states, some, text->targets + first,
                                   1, call);
    if (status)
        return status;
    for (size_t s = 0; s < some; s++) {
        const uint32_t *best = ref->best + (first + s) * k;
        const float *p = ref->log_probs + (first + s) * k;
        sum->kl += divergence(p, log_probs + s * k, k, info->v);
        sum->recall1 += ids[s * top] == best[0];
        sum->recall10 += (double)shared(ids + s * top, best, top) / (double)top;
        sum->perplexity -= text->targets ? (double)target[s] : 0;
    }
    sum->bytes += (double)report.bytes;
    sum->rows += (double)report.rows;
    sum->codes += (double)report.codes;
    return VQ_OK;
}

static vq_status time_it(double *seconds, const vqlogits_trial *trial, const vqlogits_text *text,
                         const vq_head_call *call, const vq_head_info *info)
{
    uint32_t ids[TOP];
    const size_t top = info->v < TOP ? info->v : TOP;
    vq_head_call own = *call;
    own.workspace_size = vq_head_workspace(trial->head, 1, top, call);
    const size_t room = (own.workspace_size + 63) / 64 * 64;
    own.workspace = room ? cli_need(aligned_alloc(64, room)) : NULL;
    vq_status status = vq_head_topk(ids, NULL, NULL, NULL, trial->head, text->states, 1, top, &own);
    const double start = cli_seconds();
    double now = start;
    size_t done = 0, at = 0;
    for (; !status && (now - start < SECONDS_OF_TIMING || done < 10); done++) {
        status = vq_head_topk(ids, NULL, NULL, NULL, trial->head, text->states + at * info->d, 1,
                              top, &own);
        at = at + 1 < text->n ? at + 1 : 0;
        now = cli_seconds();
    }
    free(own.workspace);
    *seconds = done ? (now - start) / (double)done : NAN;
    return status;
}

int vqlogits_measure(vqlogits_figures *out, const cli_common *common, const vqlogits_trial *trial,
                     const vqlogits_reference *ref, const vqlogits_text *text)
{
    vq_head_info info = VQ_HEAD_INFO_INIT;
    vq_head_get_info(&info, trial->head);
    const vq_head_call call = a_call(common, trial->probes);
    float *log_probs = cli_need(malloc(TOGETHER * ref->k * sizeof *log_probs));
    const double n = (double)text->n;
    vq_status status = VQ_OK;
    *out = (vqlogits_figures){0};
    for (size_t i = 0; i < text->n && !status; i += TOGETHER) {
        status = measure_some(out, trial, ref, text, i, log_probs, &call, &info);
        if (!status && cli_interrupted())
            status = VQ_E_CANCELLED;
    }
    free(log_probs);
    if (!status)
        status = time_it(&out->seconds, trial, text, &call, &info);
    if (status)
        return cli_fail(common, trial->path, status);
    out->perplexity = text->targets ? exp(out->perplexity / n) : NAN;
    out->kl /= n;
    out->recall1 /= n;
    out->recall10 /= n;
    out->bytes /= n;
    out->rows /= n;
    out->codes /= n;
    return CLI_DONE;
}
