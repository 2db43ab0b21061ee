/* SPDX-License-Identifier: Apache-2.0 */
/* k-means on an array of features: train_codebook features.npy 64 codebook.safetensors */
#include <stdio.h>
#include <stdlib.h>

#include "io/npy.h"
#include "io/safetensors.h"
#include "vq/vq.h"

/** The array as float32 rows: features[n][d]. */
static vq_status read_features(float **features, size_t *n, uint32_t *d, const char *path)
{
    vq_tensors *file;
    vq_status status = vq_npy_read(&file, path, "features", NULL);
    if (status)
        return status;
    const vq_tensor *array = vq_tensors_at(file, 0);
    *features = array->ndim == 2 ? malloc(array->count * sizeof **features) : NULL;
    if (*features) {
        *n = array->shape[0];
        *d = (uint32_t)array->shape[1];
        status = vq_tensor_to_f32(*features, array, 0, array->count);
    } else {
        fprintf(stderr, "%s: not an array of [n, d], or too large\n", path);
        status = VQ_E_ARG;
    }
    vq_tensors_free(file);
    return status;
}

/** Called after each iteration; anything but 0 would stop the training. */
static int show(void *context, const vq_kmeans_progress *progress)
{
    (void)context;
    if (progress->iteration)
        printf("iteration %2u: mse %.6f\n", progress->iteration, progress->mse);
    return 0;
}

int main(int argc, char **argv)
{
    float *features = NULL;
    size_t n = 0;
    uint32_t d = 0;
    vq_codebook *codebook = NULL;
    vq_quantizer *quantizer = NULL;
    vq_tensors *model = NULL;
    vq_kmeans_report report = {0};
    vq_kmeans_opts opts = VQ_KMEANS_OPTS_INIT;

    if (argc != 4) {
        fprintf(stderr, "usage: %s features.npy K codebook.safetensors\n", argv[0]);
        return 2;
    }
    opts.k = (uint32_t)strtoul(argv[2], NULL, 10);
    opts.seed = 1;
    opts.progress = show;

    vq_status status = read_features(&features, &n, &d, argv[1]);
    if (!status)
        status = vq_kmeans_train(&codebook, &report, features, n, d, &opts);
    if (!status) {
        printf("%zu vectors, %u of %u codewords used, perplexity %.1f\n", n, report.used, opts.k,
               report.perplexity);
        status = vq_quantizer_from_codebook(&quantizer, codebook);
        if (!status)
            codebook = NULL; /* the quantizer owns it now */
    }
    if (!status)
        status = vq_tensors_create(&model);
    if (!status)
        status = vq_quantizer_save(model, quantizer, "");
    if (!status)
        status = vq_safetensors_write(argv[3], model, NULL);
    if (status)
        fprintf(stderr, "%s: %s\n", argv[0], vq_last_error());

    vq_tensors_free(model);
    vq_quantizer_free(quantizer);
    vq_codebook_free(codebook);
    vq_kmeans_report_clear(&report);
    free(features);
    return status ? 1 : 0;
}
