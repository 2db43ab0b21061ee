/* SPDX-License-Identifier: Apache-2.0 */
/* Old files for ever: what past releases wrote is read, encoded and decoded to the same bits. */
#include "codecs/codec.h"
#include "io/digest.h"
#include "io/image.h"
#include "io/tokens_file.h"
#include "test_support.h"

static const char *in_golden(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", LIBVQ_SOURCE_DIR, name);
    return path;
}

static void release_0_1_0(void **state)
{
    (void)state;
    vq_codec *codec;
    vq_signal *picture;
    vq_tokens *encoded;
    char path[512];
    snprintf(path, sizeof path, "%s/examples/samples/picture.png", LIBVQ_SOURCE_DIR);
    assert_ok(vq_image_read(&picture, path, NULL));
    assert_ok(vq_codec_open(&codec, in_golden("model-0.1.0.safetensors"), NULL));
    assert_ok(vq_codec_encode(&encoded, codec, picture, NULL));
    const char *const files[] = {"tokens-0.1.0-raw.bin", "tokens-0.1.0-bits.bin"};
    for (int i = 0; i < 2; i++) {
        vq_tokens *tokens;
        vq_signal *decoded;
        vq_tokens_info info;
        assert_ok(vq_tokens_read(&tokens, &info, in_golden(files[i]), NULL));
        assert_int_equal(info.packing, i ? VQ_PACKING_BITS : VQ_PACKING_RAW);
        assert_int_equal(tokens->levels, encoded->levels);
        assert_memory_equal(tokens->grid, encoded->grid, sizeof tokens->grid);
        assert_memory_equal(tokens->codes, encoded->codes,
                            tokens->levels * vq_tokens_positions(tokens) * sizeof *tokens->codes);
        assert_ok(vq_codec_decode(&decoded, codec, tokens, NULL));
        uint8_t digest[VQ_SHA256_SIZE];
        char digits[2 * VQ_SHA256_SIZE + 1];
        vq_sha256(digest, decoded->data, vq_signal_count(decoded) * sizeof *decoded->data);
        for (int b = 0; b < VQ_SHA256_SIZE; b++)
            snprintf(digits + 2 * b, 3, "%02x", digest[b]);
        assert_string_equal(digits,
                            "4fca16f443bf1d962567ec348ae32e7dacc627939aaa5fd10f849122fa773387");
        vq_signal_free(decoded);
        vq_tokens_free(tokens);
    }
    vq_tokens_free(encoded);
    vq_codec_free(codec);
    vq_signal_free(picture);
}

static void builtin_models_know_their_digests(void **state)
{
    (void)state;
    const char *name;
    size_t count = 0;
    for (; (name = vq_codec_builtin(count)); count++) {
        const void *data;
        size_t size;
        uint8_t said[VQ_SHA256_SIZE], digest[VQ_SHA256_SIZE];
        assert_ok(vq_codec_builtin_model(&data, &size, name));
        assert_ok(vq_codec_builtin_sha256(said, name));
        vq_sha256(digest, data, size);
        assert_memory_equal(said, digest, sizeof said);
        vq_codec *codec;
        vq_codec_info info;
        assert_ok(vq_codec_open(&codec, name, NULL));
        vq_codec_get_info(&info, codec);
        assert_memory_equal(info.model_sha256, digest, sizeof digest);
        vq_codec_free(codec);
    }
    assert_true(count >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(release_0_1_0),
                                       cmocka_unit_test(builtin_models_know_their_digests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
