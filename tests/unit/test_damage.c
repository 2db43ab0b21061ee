/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small damage, exhaustively: every prefix and every single flipped bit of three token files and two model
 * files of at most 4 KiB must give an error or exactly the undamaged result. Every input lies in a block of
 * exactly its size, so that the sanitizers see a read past its end.
 */
#include "io/file.h"
#include "io/safetensors.h"
#include "io/tokens_file.h"
#include "rvq/residual.h"
#include "test_support.h"

enum { MOST_BYTES = 4096, DIM = 4 };

static vq_code_tables *tables; /* for the token files */

static vq_tokens *make_tokens(void)
{
    const size_t grid[3] = {1, 5, 7};
    const uint32_t k[3] = {1024, 300, 5};
    vq_tokens *tokens;
    assert_ok(vq_tokens_create(&tokens, 3, grid, 3, k));
    tokens->kind = VQ_KIND_IMAGE;
    tokens->source_ndim = 3;
    tokens->source_shape[0] = 80;
    tokens->source_shape[1] = 100;
    tokens->source_shape[2] = 3;
    tokens->model_sha256[3] = 77;
    uint64_t random = 1;
    for (uint32_t l = 0; l < 3; l++)
        for (size_t i = 0; i < 35; i++)
            tokens->codes[l * 35 + i] = (uint32_t)(test_random(&random) % k[l]);
    return tokens;
}

static void make_tables(const vq_tokens *tokens)
{
    static float codewords[1024 * DIM];
    vq_codebook *codebooks[3];
    vq_quantizer *quantizer;
    vq_table_counts *counts;
    uint64_t seed = 11;
    for (int i = 0; i < 1024 * DIM; i++)
        codewords[i] = (float)test_uniform(&seed);
    for (uint32_t l = 0; l < 3; l++)
        assert_ok(vq_codebook_create(&codebooks[l], codewords, tokens->k[l], DIM,
                                     VQ_METRIC_EUCLIDEAN, VQ_DTYPE_F32));
    assert_ok(vq_residual_create(&quantizer, codebooks, 3));
    assert_ok(vq_table_counts_create(&counts, quantizer));
    assert_ok(vq_table_counts_add(counts, 0, tokens));
    assert_ok(vq_code_tables_create(&tables, counts, 1));
    vq_table_counts_free(counts);
    vq_quantizer_free(quantizer);
}

static vq_bytes make_tokens_file(const vq_tokens *tokens, vq_packing packing)
{
    vq_bytes bytes;
    assert_ok(vq_tokens_serialize_with(&bytes, tokens, packing, tables));
    assert_true(bytes.size <= MOST_BYTES);
    return bytes;
}

static vq_codebook *make_codebook(uint32_t k, vq_dtype storage, uint64_t seed)
{
    float codewords[32 * DIM];
    vq_codebook *codebook;
    for (uint32_t i = 0; i < k * DIM; i++)
        codewords[i] = (float)(test_uniform(&seed) * 2 - 1);
    assert_ok(vq_codebook_create(&codebook, codewords, k, DIM, VQ_METRIC_EUCLIDEAN, storage));
    return codebook;
}

static vq_bytes make_model_file(int residual)
{
    vq_quantizer *quantizer;
    if (residual) {
        vq_codebook *levels[2] = {make_codebook(32, VQ_DTYPE_F16, 1),
                                  make_codebook(20, VQ_DTYPE_F16, 2)};
        assert_ok(vq_residual_create(&quantizer, levels, 2));
    } else
        assert_ok(vq_quantizer_from_codebook(&quantizer, make_codebook(32, VQ_DTYPE_F32, 3)));
    vq_tensors *tensors;
    vq_bytes bytes;
    assert_ok(vq_tensors_create(&tensors));
    assert_ok(vq_quantizer_save(tensors, quantizer, ""));
    assert_ok(vq_safetensors_serialize(&bytes, tensors));
    vq_tensors_free(tensors);
    vq_quantizer_free(quantizer);
    assert_true(bytes.size <= MOST_BYTES);
    return bytes;
}

/* What a file means, as numbers: 0 = it was refused. */
typedef size_t (*meaning)(uint32_t *out, const uint8_t *data, size_t size);

static size_t meaning_of_tokens(uint32_t *out, const uint8_t *data, size_t size)
{
    vq_tokens *tokens;
    if (vq_tokens_parse_with(&tokens, NULL, data, size, "damaged", tables, NULL))
        return 0;
    const size_t count = tokens->levels * vq_tokens_positions(tokens);
    size_t n = 0;
    out[n++] = tokens->kind;
    for (int i = 0; i < 3; i++)
        out[n++] = (uint32_t)tokens->source_shape[i];
    out[n++] = tokens->model_sha256[3];
    memcpy(out + n, tokens->codes, count * sizeof *out);
    vq_tokens_free(tokens);
    return n + count;
}

/* The codes that the model gives to fixed vectors, and the bits of what they decode to. */
static size_t meaning_of_model(uint32_t *out, const uint8_t *data, size_t size)
{
    enum { VECTORS = 16 };
    vq_tensors *tensors;
    vq_quantizer *quantizer = NULL;
    if (vq_safetensors_parse(&tensors, data, size, "damaged", NULL))
        return 0;
    const vq_status status = vq_quantizer_load(&quantizer, tensors, "", NULL);
    vq_tensors_free(tensors);
    if (status)
        return 0;
    size_t n = 0;
    if (vq_quantizer_dim(quantizer) == DIM && vq_quantizer_levels(quantizer) <= 2) {
        float x[VECTORS * DIM];
        uint64_t seed = 9;
        for (int i = 0; i < VECTORS * DIM; i++)
            x[i] = (float)(test_uniform(&seed) * 2 - 1);
        const size_t levels = vq_quantizer_levels(quantizer);
        assert_ok(vq_quantize(out, quantizer, x, VECTORS, NULL));
        assert_ok(vq_dequantize(x, quantizer, out, VECTORS, NULL));
        n = VECTORS * levels;
        memcpy(out + n, x, sizeof x);
        n += VECTORS * DIM;
    } else
        out[n++] = 1; /* a model, but surely not the undamaged one */
    vq_quantizer_free(quantizer);
    return n;
}

static void check(const vq_bytes *file, meaning meaning_of)
{
    uint32_t *expected = malloc(2 * MOST_BYTES * sizeof *expected);
    uint32_t *found = malloc(2 * MOST_BYTES * sizeof *found);
    const size_t count = meaning_of(expected, file->data, file->size);
    assert_true(count > 1);
    for (size_t size = 0; size < file->size; size++) {
        uint8_t *prefix = malloc(size ? size : 1);
        memcpy(prefix, file->data, size);
        if (meaning_of(found, prefix, size))
            fail_msg("the first %zu of %zu bytes were taken for the whole", size, file->size);
        free(prefix);
    }
    int refused = 0;
    for (size_t bit = 0; bit < 8 * file->size; bit++) {
        uint8_t *damaged = malloc(file->size);
        memcpy(damaged, file->data, file->size);
        damaged[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const size_t n = meaning_of(found, damaged, file->size);
        refused += n == 0;
        if (n && (n != count || memcmp(found, expected, n * sizeof *found)))
            fail_msg("byte %zu, bit %zu: another result without an error", bit / 8, bit % 8);
        free(damaged);
    }
    assert_true((size_t)refused > 7 * file->size);
    free(expected);
    free(found);
}

static void damaged_token_files(void **state)
{
    (void)state;
    vq_tokens *tokens = make_tokens();
    make_tables(tokens);
    for (int packing = VQ_PACKING_RAW; packing <= VQ_PACKING_ENTROPY; packing++) {
        vq_bytes file = make_tokens_file(tokens, (vq_packing)packing);
        check(&file, meaning_of_tokens);
        vq_bytes_clear(&file);
    }
    vq_code_tables_free(tables);
    vq_tokens_free(tokens);
}

static void damaged_model_files(void **state)
{
    (void)state;
    for (int residual = 0; residual < 2; residual++) {
        vq_bytes file = make_model_file(residual);
        check(&file, meaning_of_model);
        vq_bytes_clear(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_token_files),
        cmocka_unit_test(damaged_model_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
