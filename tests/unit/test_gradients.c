/* SPDX-License-Identifier: Apache-2.0 */
/* Backward functions against finite differences of what they are derivatives of. */
#include <math.h>

#include "test_support.h"

enum { N = 5, D = 4, K = 6, R = 3 };
static const double step = 1e-3, near = 2e-4;

static void fill(float *x, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(2 * test_uniform(&seed) - 1);
}

/* out = s (x - 2 r r.x + 2 f e.x) with s, r, e and f of the rows at which it is taken: the paper's definition. */
static void rotate(double *out, const double *x, const float *at, const float *q)
{
    double norm = 0, q_norm = 0, r[D], length = 0, r_x = 0, e_x = 0;
    for (int j = 0; j < D; j++) {
        norm += (double)at[j] * at[j];
        q_norm += (double)q[j] * q[j];
    }
    norm = sqrt(norm);
    q_norm = sqrt(q_norm);
    for (int j = 0; j < D; j++) {
        r[j] = at[j] / norm + q[j] / q_norm;
        length += r[j] * r[j];
    }
    for (int j = 0; j < D; j++) {
        r[j] /= sqrt(length);
        r_x += r[j] * x[j];
        e_x += at[j] / norm * x[j];
    }
    for (int j = 0; j < D; j++)
        out[j] = q_norm / norm * (x[j] - 2 * r[j] * r_x + 2 * q[j] / q_norm * e_x);
}

static void test_estimators(void **state)
{
    (void)state;
    float x[N * D], q[N * D], g[N * D], out[N * D], grad[N * D];
    fill(x, N * D, 1);
    fill(q, N * D, 2);
    fill(g, N * D, 3);
    for (int e = 0; e < 2; e++) {
        vq_estimate_forward(out, x, q, N, D, (vq_estimator)e);
        assert_memory_equal(out, q, sizeof q);
        fill(grad, N * D, 4); /* gradients are added */
        float before[N * D];
        memcpy(before, grad, sizeof grad);
        vq_estimate_backward(grad, g, x, q, N, D, (vq_estimator)e);
        for (size_t i = 0; i < N; i++) {
            double here[D], at[D];
            for (size_t j = 0; j < D; j++)
                here[j] = x[i * D + j];
            if (e == VQ_ESTIMATOR_ROTATION) { /* the value that it is a derivative of is q */
                rotate(at, here, x + i * D, q + i * D);
                for (size_t j = 0; j < D; j++)
                    assert_float_equal(at[j], q[i * D + j], 1e-6);
            }
            for (size_t j = 0; j < D; j++) {
                double up[D], down[D], slope = 0;
                for (int side = 0; side < 2; side++) {
                    double *to = side ? down : up;
                    here[j] += side ? -2 * step : step;
                    if (e == VQ_ESTIMATOR_ROTATION)
                        rotate(to, here, x + i * D, q + i * D);
                    else /* x + (q - x held fast) */
                        for (size_t l = 0; l < D; l++)
                            to[l] = here[l] + (double)q[i * D + l] - (double)x[i * D + l];
                }
                here[j] += step;
                for (size_t l = 0; l < D; l++)
                    slope += g[i * D + l] * (up[l] - down[l]) / (2 * step);
                assert_float_equal(grad[i * D + j] - before[i * D + j], slope, near);
            }
        }
    }
}

static void test_rotation_edges(void **state)
{
    (void)state;
    const float g[2] = {3, -5}, zero[2] = {0, 0}, x[2] = {0.6f, 0.8f}, q[2] = {-1.2f, -1.6f};
    float grad[2] = {0, 0};
    vq_estimate_backward(grad, g, zero, q, 1, 2, VQ_ESTIMATOR_ROTATION); /* straight through */
    assert_true(grad[0] == 3 && grad[1] == -5);
    grad[0] = grad[1] = 0;
    vq_estimate_backward(grad, g, x, zero, 1, 2, VQ_ESTIMATOR_ROTATION); /* scaled by 0 */
    assert_true(grad[0] == 0 && grad[1] == 0);
    /* Opposite: s (g + 2 e (f.g)), f = -e: a reflection, which keeps lengths but for s = 2. */
    vq_estimate_backward(grad, g, x, q, 1, 2, VQ_ESTIMATOR_ROTATION);
    const double e_g = 0.6 * 3 - 0.8 * 5;
    assert_float_equal(grad[0], 2 * (3 - 2 * 0.6 * e_g), 1e-5);
    assert_float_equal(grad[1], 2 * (-5 - 2 * 0.8 * e_g), 1e-5);
    /* x = q: nothing turns and nothing is scaled. */
    grad[0] = grad[1] = 0;
    vq_estimate_backward(grad, g, x, x, 1, 2, VQ_ESTIMATOR_ROTATION);
    assert_float_equal(grad[0], 3, 1e-6);
    assert_float_equal(grad[1], -5, 1e-6);
    /* A rotation keeps the length of g but for s, whatever the angle. */
    for (uint64_t seed = 1; seed < 50; seed++) {
        float a[D], b[D], h[D], out[D] = {0};
        double from = 0, to = 0, a_norm = 0, b_norm = 0;
        fill(a, D, seed);
        fill(b, D, seed * 1000);
        fill(h, D, seed * 7777);
        vq_estimate_backward(out, h, a, b, 1, D, VQ_ESTIMATOR_ROTATION);
        for (int j = 0; j < D; j++) {
            from += (double)h[j] * h[j];
            to += (double)out[j] * out[j];
            a_norm += (double)a[j] * a[j];
            b_norm += (double)b[j] * b[j];
        }
        assert_float_equal(to / (from * b_norm / a_norm), 1, 1e-4);
    }
}

static void test_loss(void **state)
{
    (void)state;
    float x[N * D], q[N * D], grad_x[N * D] = {0}, grad_q[N * D] = {0};
    const vq_loss_weights published = VQ_LOSS_WEIGHTS_PUBLISHED, both = {0.7, 0.3},
                          codebook = {0.7, 0}, commitment = {0, 0.3};
    fill(x, N * D, 5);
    fill(q, N * D, 6);
    double mean = 0;
    for (size_t i = 0; i < N * D; i++)
        mean += ((double)x[i] - q[i]) * ((double)x[i] - q[i]) / (N * D);
    assert_float_equal(vq_loss_forward(x, q, N, D, &published), 1.25 * mean, 1e-9);
    assert_true(vq_loss_forward(x, q, 0, D, &both) == 0);
    vq_loss_backward(grad_x, grad_q, x, q, N, D, &both, 2);
    for (size_t i = 0; i < N * D;
         i++) { /* x sees the commitment alone, q the codebook term alone */
        double slope[2];
        for (int side = 0; side < 2; side++) {
            float *at = side ? &q[i] : &x[i];
            const vq_loss_weights *seen = side ? &codebook : &commitment;
            const float here = *at;
            *at = here + (float)step;
            const double up = vq_loss_forward(x, q, N, D, seen), above = *at;
            *at = here - (float)step;
            slope[side] = 2 * (up - vq_loss_forward(x, q, N, D, seen)) / (above - *at);
            *at = here;
        }
        assert_float_equal(grad_x[i], slope[0], near);
        assert_float_equal(grad_q[i], slope[1], near);
    }
    vq_loss_backward(NULL, NULL, x, q, N, D, &both, 1); /* neither is asked for */
}

/* The loss of SimVQ's lookup as a function of map, bias and basis, with fixed codes. */
static double lookup_loss(const float *basis, const float *map, const float *bias, const float *g)
{
    static const uint32_t codes[N] = {2, 0, 2, 5, 1};
    float codewords[K * D], q[N * D];
    double loss = 0;
    vq_simvq_forward(codewords, basis, map, bias, K, R, D, 1);
    vq_lookup_forward(q, codewords, codes, N, D);
    for (size_t i = 0; i < N * D; i++)
        loss += (double)q[i] * g[i];
    return loss;
}

static void test_simvq(void **state)
{
    (void)state;
    static const uint32_t codes[N] = {2, 0, 2, 5, 1};
    float basis[K * R], map[R * D], bias[D], g[N * D], grad_codewords[K * D] = {0};
    float grad_basis[K * R] = {0}, grad_map[R * D] = {0}, grad_bias[D] = {0};
    fill(basis, K * R, 7);
    fill(map, R * D, 8);
    fill(bias, D, 9);
    fill(g, N * D, 10);
    vq_lookup_backward(grad_codewords, g, codes, N, D);
    for (size_t j = 0; j < D; j++) { /* two rows chose code 2; none chose 3 */
        assert_float_equal(grad_codewords[2 * D + j], g[j] + g[2 * D + j], 1e-6);
        assert_true(grad_codewords[3 * D + j] == 0);
    }
    vq_simvq_backward(grad_map, grad_bias, grad_basis, grad_codewords, basis, map, K, R, D, 2);
    struct {
        float *value, *gradient;
        size_t count;
    } all[3] = {{basis, grad_basis, K * R}, {map, grad_map, R * D}, {bias, grad_bias, D}};
    for (int p = 0; p < 3; p++)
        for (size_t i = 0; i < all[p].count; i++) {
            const float here = all[p].value[i];
            all[p].value[i] = here + 0.125f;
            const double up = lookup_loss(basis, map, bias, g);
            all[p].value[i] = here - 0.125f;
            const double slope = (up - lookup_loss(basis, map, bias, g)) / 0.25;
            all[p].value[i] = here;
            assert_float_equal(all[p].gradient[i], slope, near);
        }
    /* Any number of threads, any part left out: the same bits. */
    float again[R * D] = {0};
    vq_simvq_backward(again, NULL, NULL, grad_codewords, basis, map, K, R, D, 1);
    assert_memory_equal(again, grad_map, sizeof again);
    vq_simvq_backward(NULL, NULL, NULL, grad_codewords, basis, map, K, R, D, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_estimators),
        cmocka_unit_test(test_rotation_edges),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_simvq),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
