/* SPDX-License-Identifier: Apache-2.0 */
/* SimVQ that learns batch by batch. Both ways need only the count and the sum of the rows of each code. */
#include "vq/simvq_learn.h"

#include <math.h>
#include <string.h>

#include "vq/adam_internal.h"
#include "vq/batch_internal.h"
#include "vq/error_internal.h"
#include "vq/gradients.h"
#include "vq/memory_internal.h"
#include "vq/options_internal.h"
#include "vq/parallel_internal.h"
#include "vq/simvq_internal.h"

/* An array that Adam moves: one of the map, the bias and the basis. */
typedef struct parameter {
    float *value;
    size_t count;
    float *gradient, *first, *second; /* NULL if it does not learn */
} parameter;

struct vq_simvq_learner {
    vq_simvq_learn_opts opts;
    vq_simvq_form form;
    int seeded; /* 1 = the basis is that of form.seed */
    uint64_t updates;
    parameter map, bias, basis; /* bias.value is NULL if there is none */
    float *codewords;           /* k x d: as they are now */
    float *gradient;            /* k x d: of the codewords */
    vq_codebook *codebook;
    vqi_batch batch;
    double *counts, *sums; /* k, k x d: moving averages */
    vqi_simvq_solver solver;
};

static vq_status check_rate(double *value, double standard, const char *name)
{
    if (!(*value < 1)) /* also a NaN */
        return vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.%s is %g (below 1)", name, *value);
    *value = *value == 0 ? standard : *value < 0 ? 0 : *value;
    return VQ_OK;
}

static vq_status check_positive(double *value, double standard, const char *name)
{
    if (!(*value >= 0) || !isfinite(*value))
        return vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.%s is %g (0 or more)", name, *value);
    *value = *value > 0 ? *value : standard;
    return VQ_OK;
}

static vq_status resolve(vq_simvq_learn_opts *own, const vq_simvq_learn_opts *opts)
{
    vq_status status = vqi_options(own, sizeof *own, opts, "vq_simvq_learn_opts");
    if (status)
        return status;
    if (own->method != VQ_SIMVQ_GRADIENT && own->method != VQ_SIMVQ_AVERAGES)
        return vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.method is %d (see vq_simvq_method)",
                        (int)own->method);
    if ((int)own->learned < VQ_SIMVQ_LEARN_MAP || own->learned > VQ_SIMVQ_LEARN_BOTH)
        return vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.learned is %d (see vq_simvq_learned)",
                        (int)own->learned);
    if (own->method == VQ_SIMVQ_AVERAGES && own->learned == VQ_SIMVQ_LEARN_BASIS)
        return vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.learned: averages of the basis alone are "
                                  "those of vq/online.h");
    status = check_rate(&own->beta1, 0.5, "beta1");
    if (!status)
        status = check_rate(&own->beta2, 0.9, "beta2");
    if (!status)
        status = check_rate(&own->decay, 0.99, "decay");
    if (!status)
        status = check_positive(&own->learning_rate, 1e-4, "learning_rate");
    if (!status)
        status = check_positive(&own->epsilon, 1e-8, "epsilon");
    if (!status)
        status = check_positive(&own->codebook_weight, 1, "codebook_weight");
    if (!status)
        status = check_positive(&own->ridge, 1e-6, "ridge");
    if (!status && isnan(own->growth))
        status = vqi_fail(VQ_E_ARG, "vq_simvq_learn_opts.growth is not a number");
    own->growth = own->growth == 0 ? 8 : own->growth;
    return status ? status : check_positive(&own->shrinkage, 0, "shrinkage");
}

static int make_parameter(parameter *p, size_t count, int learns)
{
    p->count = count;
    p->value = vqi_alloc(count, sizeof *p->value);
    if (!learns)
        return p->value != NULL;
    p->gradient = vqi_alloc(count, sizeof *p->gradient);
    p->first = vqi_calloc(count, sizeof *p->first);
    p->second = vqi_calloc(count, sizeof *p->second);
    return p->value && p->gradient && p->first && p->second;
}

static void clear_parameter(parameter *p)
{
    vqi_free(p->value);
    vqi_free(p->gradient);
    vqi_free(p->first);
    vqi_free(p->second);
}

void vq_simvq_learner_free(vq_simvq_learner *l)
{
    if (!l)
        return;
    clear_parameter(&l->map);
    clear_parameter(&l->bias);
    clear_parameter(&l->basis);
    vqi_free(l->codewords);
    vqi_free(l->gradient);
    vqi_free(l->counts);
    vqi_free(l->sums);
    vq_codebook_free(l->codebook);
    vqi_batch_clear(&l->batch);
    vqi_simvq_solver_clear(&l->solver);
    vqi_free(l);
}

/* The codewords of the parameters as they are, and a codebook of them. */
static vq_status refresh(vq_simvq_learner *l, int threads)
{
    const size_t k = l->form.k, d = l->form.dim;
    vqi_simvq_apply(l->codewords, l->basis.value, k, l->map.value, l->bias.value, l->form.basis_dim,
                    l->form.dim, threads);
    if (l->opts.shrinkage > 0 && l->updates && l->opts.learned == VQ_SIMVQ_LEARN_MAP) {
        double total = 0;
        for (size_t c = 0; c < k; c++)
            total += l->counts[c];
        const double t = l->opts.shrinkage * total / (double)k;
        for (size_t c = 0; c < k; c++)
            for (size_t j = 0; j < d; j++) {
                float *to = l->codewords + c * d + j;
                *to = (float)((l->sums[c * d + j] + t * (double)*to) / (l->counts[c] + t));
            }
    }
    vq_codebook *next;
    const vq_status status = vq_codebook_create(&next, l->codewords, l->form.k, l->form.dim,
                                                VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (status)
        return status;
    vq_codebook_free(l->codebook);
    l->codebook = next;
    return VQ_OK;
}

static vq_status make_room(vq_simvq_learner *l, int has_bias)
{
    const size_t k = l->form.k, r = l->form.basis_dim, d = l->form.dim;
    const int gradient = l->opts.method == VQ_SIMVQ_GRADIENT,
              map = gradient && l->opts.learned != VQ_SIMVQ_LEARN_BASIS,
              basis = gradient && l->opts.learned != VQ_SIMVQ_LEARN_MAP;
    size_t of_map, of_basis, of_codewords;
    if (!vqi_mul(&of_map, r, d) || !vqi_mul(&of_basis, k, r) || !vqi_mul(&of_codewords, k, d))
        return vqi_fail(VQ_E_ARG, "SimVQ of %zu codewords of %zu floats", k, d);
    int made = make_parameter(&l->map, of_map, map) && make_parameter(&l->basis, of_basis, basis);
    if (made && has_bias)
        made = make_parameter(&l->bias, d, map);
    l->codewords = vqi_alloc(of_codewords, sizeof *l->codewords);
    made = made && l->codewords;
    if (gradient) {
        l->gradient = vqi_alloc(of_codewords, sizeof *l->gradient);
        made = made && l->gradient;
    } else {
        l->counts = vqi_calloc(k, sizeof *l->counts);
        l->sums = vqi_calloc(of_codewords, sizeof *l->sums);
        made = made && l->counts && l->sums;
    }
    if (!made)
        return vqi_fail_nomem((unsigned long long)of_codewords * sizeof(double));
    vq_status status = vqi_batch_create(&l->batch, l->form.k, l->form.dim, VQ_METRIC_EUCLIDEAN);
    if (!status && !gradient)
        status = vqi_simvq_solver_create(&l->solver, l->form.k, l->form.basis_dim, l->form.dim,
                                         has_bias);
    return status;
}

static void set_identity(vq_simvq_learner *l)
{
    for (size_t i = 0; i < l->map.count; i++)
        l->map.value[i] = i % ((size_t)l->form.dim + 1) == 0;
    memset(l->bias.value, 0, l->form.dim * sizeof *l->bias.value);
}

/* Averages of basis and map both: the basis is the codewords, whatever map and basis they came from. */
static vq_status fold(vq_simvq_learner *l, const vq_simvq_form *from, const float *basis,
                      const float *map, const float *bias)
{
    set_identity(l);
    if (!basis)
        return vqi_simvq_codewords(l->basis.value, from, map, bias);
    if (map)
        vqi_simvq_apply(l->basis.value, basis, from->k, map, bias, from->basis_dim, from->dim, 0);
    else
        for (size_t i = 0; i < l->basis.count; i++)
            l->basis.value[i] = basis[i] + (bias ? bias[i % from->dim] : 0);
    return VQ_OK;
}

static vq_status create(vq_simvq_learner **out, const vq_simvq_form *form, const float *basis,
                        const float *map, const float *bias, const vq_simvq_learn_opts *opts)
{
    vq_simvq_learn_opts own;
    vq_simvq_form shape;
    *out = NULL;
    vq_status status = resolve(&own, opts);
    if (!status)
        status = vqi_simvq_check(&shape, form);
    if (status)
        return status;
    if (!map && shape.basis_dim != shape.dim)
        return vqi_fail(VQ_E_ARG, "the identity as a map of %u to %u dimensions", shape.basis_dim,
                        shape.dim);
    vq_simvq_learner *l = vqi_calloc(1, sizeof *l);
    if (!l)
        return vqi_fail_nomem(sizeof *l);
    const int together = own.method == VQ_SIMVQ_AVERAGES && own.learned == VQ_SIMVQ_LEARN_BOTH;
    l->opts = own;
    l->form = shape;
    l->form.basis_dim = together ? shape.dim : shape.basis_dim;
    l->seeded = !basis && !together;
    status = make_room(l, together || bias);
    if (!status && together) {
        l->solver.ridge_bias = 1;
        status = fold(l, &shape, basis, map, bias);
    } else if (!status) {
        if (basis)
            memcpy(l->basis.value, basis, l->basis.count * sizeof *basis);
        else
            vq_simvq_basis(l->basis.value, shape.seed, shape.basis_dim, 0, shape.k);
        for (size_t i = 0; i < l->map.count; i++)
            l->map.value[i] = map ? map[i] : i % ((size_t)shape.dim + 1) == 0;
        if (bias)
            memcpy(l->bias.value, bias, l->bias.count * sizeof *bias);
    }
    if (!status)
        status = refresh(l, 0);
    if (status) {
        vq_simvq_learner_free(l);
        return status;
    }
    *out = l;
    return VQ_OK;
}

vq_status vq_simvq_learner_create(vq_simvq_learner **out, const vq_quantizer *simvq,
                                  const vq_simvq_learn_opts *opts)
{
    vq_simvq_form form;
    *out = NULL;
    const vq_status status = vq_simvq_get_form(&form, simvq);
    return status ? status
                  : create(out, &form, NULL, vq_simvq_map(simvq), vq_simvq_bias(simvq), opts);
}

vq_status vq_simvq_learner_create_from_basis(vq_simvq_learner **out, const vq_simvq_form *form,
                                             const float *basis, const float *map,
                                             const float *bias, const vq_simvq_learn_opts *opts)
{
    *out = NULL;
    if (!basis)
        return vqi_fail(VQ_E_ARG, "no basis was given (see vq_simvq_learner_create())");
    return create(out, form, basis, map, bias, opts);
}

static void step(parameter *p, const vqi_adam_rates *rates, uint64_t number)
{
    if (p->gradient)
        vqi_adam_step(p->value, p->gradient, p->first, p->second, p->count, rates, number);
}

static void zero(parameter *p)
{
    if (p->gradient)
        memset(p->gradient, 0, p->count * sizeof *p->gradient);
}

static void step_by_gradient(vq_simvq_learner *l, size_t n, int threads)
{
    const size_t k = l->form.k, d = l->form.dim;
    const double unit = 2 * l->opts.codebook_weight / (double)(n * d);
    for (size_t c = 0; c < k; c++)
        for (size_t j = 0; j < d; j++)
            l->gradient[c * d + j] =
                l->batch.weight[c] > 0
                    ? (float)(unit * (l->batch.weight[c] * (double)l->codewords[c * d + j] -
                                      l->batch.sum[c * d + j]))
                    : 0;
    zero(&l->map);
    zero(&l->bias);
    zero(&l->basis);
    vq_simvq_backward(l->map.gradient, l->bias.gradient, l->basis.gradient, l->gradient,
                      l->basis.value, l->map.value, k, l->form.basis_dim, l->form.dim, threads);
    const vqi_adam_rates rates = {l->opts.learning_rate, l->opts.beta1, l->opts.beta2,
                                  l->opts.epsilon};
    step(&l->map, &rates, l->updates);
    step(&l->bias, &rates, l->updates);
    step(&l->basis, &rates, l->updates);
}

/* The averages reach over a share of the updates so far, so that they follow an encoder that is young and do not
 * waver with one that is old. */
static double kept(const vq_simvq_learner *l)
{
    const double least = 0.9, grown = 1 - l->opts.growth / ((double)l->updates + l->opts.growth),
                 some = grown > least ? grown : least;
    return l->opts.growth > 0 && some < l->opts.decay ? some : l->opts.decay;
}

/* Basis and map both: the basis is the codebook itself, and the map is how the rows of its codes have moved since. All
 * codewords move with it, and then each towards its own rows. */
static vq_status move_together(vq_simvq_learner *l, size_t n, int threads)
{
    const size_t k = l->form.k, d = l->form.dim;
    const double *weight = l->batch.weight, keep = kept(l), even = (double)n / (double)k,
                 t = l->opts.shrinkage * even;
    /* What few rows say of many unknowns is noise, and it would move codewords that have no rows. */
    const double ridge = l->opts.ridge + 100 * (double)(d + 1) / (double)n;
    float *c = l->basis.value, *move = l->map.value;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < d; j++)
            l->sums[i * d + j] = l->batch.sum[i * d + j] - weight[i] * (double)c[i * d + j];
    const vq_status status =
        vqi_simvq_solve(move, l->bias.value, &l->solver, c, weight, l->sums, ridge, threads);
    if (status)
        return status;
    vqi_simvq_apply(l->codewords, c, k, move, l->bias.value, l->form.dim, l->form.dim, threads);
    for (size_t i = 0; i < k; i++) {
        const double before = keep * (l->updates > 1 ? l->counts[i] : even);
        l->counts[i] = before + (1 - keep) * weight[i];
        const double own = before + t, all = l->counts[i] + t;
        for (size_t j = 0; j < d; j++) {
            const double moved = (double)c[i * d + j] + (double)l->codewords[i * d + j];
            c[i * d + j] =
                (float)(all > 0 ? (own * moved + (1 - keep) * l->batch.sum[i * d + j]) / all
                                : moved);
        }
    }
    set_identity(l);
    return VQ_OK;
}

static vq_status step_by_averages(vq_simvq_learner *l, int threads)
{
    const size_t k = l->form.k, sums = k * l->form.dim;
    /* The first batch counts in full, as there is nothing yet to average it with. */
    const double keep = l->updates > 1 ? kept(l) : 0, add = 1 - keep;
    for (size_t c = 0; c < k; c++)
        l->counts[c] = keep * l->counts[c] + add * l->batch.weight[c];
    for (size_t i = 0; i < sums; i++)
        l->sums[i] = keep * l->sums[i] + add * l->batch.sum[i];
    return vqi_simvq_solve(l->map.value, l->bias.value, &l->solver, l->basis.value, l->counts,
                           l->sums, l->opts.ridge, threads);
}

static void fill_report(vq_simvq_learn_report *report, const vq_simvq_learner *l, size_t n)
{
    double bits = 0;
    *report = (vq_simvq_learn_report){.updates = l->updates};
    for (uint32_t c = 0; c < l->form.k; c++) {
        const double share = l->batch.weight[c] / (double)n;
        report->used += share > 0;
        bits -= share > 0 ? share * log2(share) : 0;
    }
    report->mse = l->batch.error / (double)n / l->form.dim;
    report->perplexity = exp2(bits);
}

vq_status vq_simvq_learner_update(vq_simvq_learner *l, uint32_t *codes, float *quantized,
                                  vq_simvq_learn_report *report, const float *x, size_t n,
                                  int threads)
{
    if (threads < 0)
        return vqi_fail(VQ_E_ARG, "threads is %d (0 = all)", threads);
    if (!n)
        return VQ_OK;
    vq_status status = vqi_batch_check(x, n, l->form.dim, NULL);
    if (!status)
        status = vqi_batch_assign(&l->batch, l->codebook, x, n, NULL,
                                  threads ? threads : omp_get_max_threads());
    if (status)
        return status;
    if (codes)
        memcpy(codes, l->batch.codes, n * sizeof *codes);
    if (quantized)
        vq_lookup_forward(quantized, l->codewords, l->batch.codes, n, l->form.dim);
    l->updates++;
    if (report)
        fill_report(report, l, n);
    if (l->opts.method == VQ_SIMVQ_GRADIENT)
        step_by_gradient(l, n, threads);
    else
        status = l->opts.learned == VQ_SIMVQ_LEARN_BOTH ? move_together(l, n, threads)
                                                        : step_by_averages(l, threads);
    return status ? status : refresh(l, threads);
}

const vq_codebook *vq_simvq_learner_codebook(const vq_simvq_learner *l)
{
    return l->codebook;
}

const float *vq_simvq_learner_map(const vq_simvq_learner *l)
{
    return l->map.value;
}

const float *vq_simvq_learner_bias(const vq_simvq_learner *l)
{
    return l->bias.value;
}

const float *vq_simvq_learner_basis(const vq_simvq_learner *l)
{
    return l->basis.value;
}

vq_status vq_simvq_learner_snapshot(vq_quantizer **out, const vq_simvq_learner *l)
{
    *out = NULL;
    if (l->seeded && !l->basis.gradient && !(l->opts.shrinkage > 0))
        return vqi_simvq_create(out, &l->form, l->map.value, l->bias.value,
                                VQ_SIMVQ_SEARCH_CODEWORDS);
    vq_codebook *codebook;
    vq_status status = vq_codebook_create(&codebook, l->codewords, l->form.k, l->form.dim,
                                          VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32);
    if (status)
        return status;
    status = vq_quantizer_from_codebook(out, codebook);
    if (status)
        vq_codebook_free(codebook);
    return status;
}
