/* SPDX-License-Identifier: Apache-2.0 */
/* The codec "fast": signals to FAST's tokens and back. */
#include "action_support.h"
#include "io/tokens_file.h"

/* Chunks are found again in their tokens, and tokens that spell none are refused. */
static void fast_tokens_come_back(void **state)
{
    (void)state;
    const vq_signal_source source = {4, read_signal, NULL};
    vq_codec_train_opts opts = VQ_CODEC_TRAIN_OPTS_INIT;
    vq_tensors *model;
    opts.k = 600;
    assert_ok(vq_codec_train(&model, "fast", &source, &opts));
    vq_codec *codec = open_tensors(model);
    vq_tensors_free(model);
    static const size_t shapes[][2] = {{0, 1}, {0, 400}, {3, 20}};
    for (size_t s = 0; s < 3; s++) {
        vq_signal *signal = make_signal(shapes[s][0], shapes[s][1], 2), *back;
        vq_tokens *tokens, *read;
        vq_bytes bytes;
        assert_ok(vq_codec_encode(&tokens, codec, signal, NULL));
        assert_int_equal(tokens->grid_ndim, 1);
        assert_ok(vq_tokens_serialize(&bytes, tokens, VQ_PACKING_BITS));
        assert_ok(vq_tokens_parse(&read, NULL, bytes.data, bytes.size, NULL, NULL));
        assert_ok(vq_codec_decode(&back, codec, read, NULL));
        assert_memory_equal(back->shape, signal->shape, sizeof back->shape);
        for (size_t i = 0; i < 3; i++)
            assert_true(rmse(signal, back, i) < 0.05 * (double)(i + 1));
        vq_signal_free(back);
        read->codes[0] = (read->codes[0] + 1) % read->k[0];
        if (!vq_codec_decode(&back, codec, read, NULL)) /* another token may spell a chunk, too */
            vq_signal_free(back);
        read->source_shape[read->source_ndim - 2] += 160;
        assert_status(VQ_E_ARG, vq_codec_decode(&back, codec, read, NULL));
        tokens->source_shape[tokens->source_ndim - 1]++;
        assert_status(VQ_E_ARG, vq_codec_decode(&back, codec, tokens, NULL));
        vq_bytes_clear(&bytes);
        vq_tokens_free(read);
        vq_tokens_free(tokens);
        vq_signal_free(signal);
    }
    vq_codec_free(codec);
}

/* Its tokens that spell no chunk, and all after them, become what the policy says. */
static void malformed_tokens_follow_the_policy(void **state)
{
    (void)state;
    const vq_signal_source source = {4, read_signal, NULL};
    vq_codec_train_opts training = VQ_CODEC_TRAIN_OPTS_INIT;
    vq_coding_opts opts = VQ_CODING_OPTS_INIT;
    vq_tensors *model;
    vq_tokens *tokens;
    size_t made = 9;
    training.k = 600;
    assert_ok(vq_codec_train(&model, "fast", &source, &training));
    vq_codec *codec = open_tensors(model);
    vq_tensors_free(model);
    vq_signal *signal = make_signal(0, 400, 2), *whole, *back;
    assert_ok(vq_codec_encode(&tokens, codec, signal, NULL));
    opts.malformed_chunks = &made;
    opts.malformed = VQ_FAST_PAD;
    assert_ok(vq_codec_decode(&whole, codec, tokens, &opts));
    assert_int_equal(made, 0);

    for (size_t i = tokens->grid[0] / 2; i < tokens->grid[0]; i++)
        tokens->codes[i] = tokens->k[0] - 1;
    assert_ok(vq_codec_decode(&back, codec, tokens, &opts));
    const size_t chunks = made, dims = back->shape[1], good = 400 - 16 * made;
    assert_in_range(chunks, 1, 24);
    assert_memory_equal(back->data, whole->data, good * dims * sizeof *back->data);
    vq_signal_free(back);
    opts.malformed = VQ_FAST_HOLD;
    assert_ok(vq_codec_decode(&back, codec, tokens, &opts));
    assert_int_equal(made, chunks);
    for (size_t t = 0; t < 400; t++)
        assert_memory_equal(back->data + t * dims, whole->data + (t < good ? t : good - 1) * dims,
                            dims * sizeof(float));
    vq_signal_free(back);
    opts.malformed = VQ_FAST_STRICT;
    assert_status(VQ_E_ARG, vq_codec_decode(&back, codec, tokens, &opts));
    opts.malformed = (vq_fast_policy)3;
    assert_status(VQ_E_ARG, vq_codec_decode(&back, codec, tokens, &opts));

    /* Nothing comes before the first chunk. */
    opts.malformed = VQ_FAST_HOLD;
    for (size_t i = 0; i < tokens->grid[0]; i++)
        tokens->codes[i] = tokens->k[0] - 1;
    assert_status(VQ_E_FORMAT, vq_codec_decode(&back, codec, tokens, &opts));
    vq_signal_free(signal);
    vq_signal_free(whole);
    vq_tokens_free(tokens);
    vq_codec_free(codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_tokens_come_back),
        cmocka_unit_test(malformed_tokens_follow_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
