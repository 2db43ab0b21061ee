/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ by gradient steps on rows that do not change. */
#include <string.h>

#include "vq/error_internal.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/random_internal.h"
#include "vq/simvq_internal.h"
#include "vq/simvq_learn.h"

enum { DEFAULT_BATCH = 4096, DEFAULT_STEPS = 1000 };

vq_status vq_simvq_begin(vq_quantizer **out, const vq_simvq_form *form, int no_bias)
{
    vq_simvq_form own;
    size_t count = 0;
    *out = NULL;
    vq_status status = vqi_simvq_check(&own, form);
    if (status)
        return status;
    float *map = vqi_mul(&count, own.basis_dim, own.dim) ? vqi_alloc(count, sizeof *map) : NULL;
    float *bias = no_bias ? NULL : vqi_alloc(own.dim, sizeof *bias);
    if (map && (bias || no_bias)) {
        vqi_simvq_start_uniform(map, bias, own.basis_dim, own.dim, own.seed);
        status = vqi_simvq_create(out, &own, map, bias, VQ_SIMVQ_SEARCH_CODEWORDS);
    } else {
        status = vqi_fail_nomem((unsigned long long)own.basis_dim * own.dim * sizeof *map);
    }
    vqi_free(map);
    vqi_free(bias);
    return status;
}

static vq_status check(vq_simvq_descend_opts *own, const vq_simvq_descend_opts *opts,
                       const float *x, size_t n, uint32_t d, const vq_quantizer *start)
{
    const vq_status status = vqi_options(own, sizeof *own, opts, "vq_simvq_descend_opts");
    if (status)
        return status;
    if (!opts)
        own->learn.struct_size = sizeof own->learn;
    if (own->learn.method != VQ_SIMVQ_GRADIENT || own->learn.learned != VQ_SIMVQ_LEARN_MAP)
        return vqi_fail(VQ_E_ARG, "vq_simvq_descend_opts.learn: gradient steps on the map, only");
    if (own->threads < 0)
        return vqi_fail(VQ_E_ARG, "vq_simvq_descend_opts.threads is %d (0 = all)", own->threads);
    if (!x || !n)
        return vqi_fail(VQ_E_ARG, "SimVQ on no rows (give some)");
    if (d != vq_quantizer_dim(start))
        return vqi_fail(VQ_E_ARG, "rows of %u floats for codewords of %u", d,
                        vq_quantizer_dim(start));
    own->batch = own->batch ? own->batch : DEFAULT_BATCH;
    own->steps = own->steps ? own->steps : DEFAULT_STEPS;
    return VQ_OK;
}

vq_status vq_simvq_descend(vq_quantizer **out, const vq_quantizer *start, const float *x, size_t n,
                           uint32_t d, const vq_simvq_descend_opts *opts)
{
    vq_simvq_descend_opts own;
    vq_simvq_learner *learner = NULL;
    *out = NULL;
    vq_status status = check(&own, opts, x, n, d, start);
    if (!status)
        status = vq_simvq_learner_create(&learner, start, &own.learn);
    if (status)
        return status;
    float *rows = vqi_alloc((size_t)own.batch * d, sizeof *rows);
    if (!rows)
        status = vqi_fail_nomem((unsigned long long)own.batch * d * sizeof *rows);
    vqi_random random = vqi_random_from(own.seed);
    for (uint32_t step = 0; step < own.steps && !status; step++) {
        vq_simvq_learn_report report;
        for (uint32_t i = 0; i < own.batch; i++)
            memcpy(rows + (size_t)i * d, x + vqi_random_next(&random) % n * d, d * sizeof *rows);
        status =
            vq_simvq_learner_update(learner, NULL, NULL, &report, rows, own.batch, own.threads);
        if (!status && own.progress && own.progress(own.progress_context, &report))
            status = vqi_fail(VQ_E_CANCELLED, "the training of SimVQ was stopped after step %u",
                              step + 1);
    }
    if (!status)
        status = vq_simvq_learner_snapshot(out, learner);
    vqi_free(rows);
    vq_simvq_learner_free(learner);
    return status;
}
